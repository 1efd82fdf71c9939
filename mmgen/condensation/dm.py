"""DM: images condensed by distribution matching (Zhao and Bilen 2023)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.condensation.condenser import Condenser, loop_of
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.modality import Modality
from mmgen.models.stored import StoredImages
from mmgen.names import AugmentationName
from mmgen.training.batches import repeated
from mmgen.training.distribution_matching import DistributionConfig, match_distributions

# Standard deviation of what is added to a real image that is taken again, as a class may have too few; 0 to 255.
_REPEATED_NOISE = 8.0


@dataclass(frozen=True)
class DMConfig:
    """Sizes and lengths of a DM fit.

    Attributes:
        images_per_class: synthetic images of each class.
        updates: steps of matching.
        matching: how they are matched; the augmentation is the one given here, and its learning rate is that for ten
            images a class, see :attr:`lr`.
        augmentation: strategy of the changes made alike to real and synthetic images.
    """

    images_per_class: int = 10
    updates: int = 20_000
    matching: DistributionConfig = field(default_factory=DistributionConfig)
    augmentation: AugmentationName = "none"

    def __post_init__(self) -> None:
        if self.images_per_class < 1 or self.updates < 1:
            raise UserError(
                "DM makes at least 1 image a class in at least 1 update, "
                f"not {self.images_per_class} in {self.updates}."
            )

    @property
    def lr(self) -> float:
        """Learning rate for so many images. Each is a share of its class's mean, so its gradient falls as their number
        grows; with one rate for all, fifty would stay what they were to begin with."""
        return self.matching.lr * max(1.0, self.images_per_class / 10)


# quick: half a minute on one core at 32 px. small: five minutes on one core at 64 px, seven classes of fifty images.
# Few updates need larger steps: on phantom lesions (64 px, ten images a class, width 32, 60 updates) the squared
# distance of mean features, in networks not seen, fell from 39 to 25, 15 and 17 at learning rates 1, 5 and 20. paper:
# the published settings, but for the learning rate of more than ten images a class.
PRESETS: dict[str, DMConfig] = {
    "quick": DMConfig(updates=200, matching=DistributionConfig(lr=5.0, width=32, real_per_class=32)),
    "small": DMConfig(
        images_per_class=50, updates=200, matching=DistributionConfig(lr=5.0, width=32, real_per_class=32)
    ),
    "paper": DMConfig(),
}


class PixelImages(nn.Module):
    """Images whose pixels are learnt.

    Args:
        images: (N, C, H, W) normalised.
        labels: (N,), class after class.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images)
        self.register_buffer("labels", labels)

    def forward(self) -> Tensor:
        """All images."""
        return self.images


class DM(Condenser):
    """Optimises the pixels of synthetic images that begin as real ones.

    For the arguments see :class:`Condenser`; ``validation`` and ``subjects`` make no difference.

    Attributes:
        images: the synthetic images as they are learnt.
    """

    method = "dm"
    presets = PRESETS
    stages = ("match",)
    fits_one_size = True
    config: DMConfig

    def _begin(self) -> None:
        self.images = real_images(self.train, self.config.images_per_class, self.modality, self.run.seed)

    @property
    def model(self) -> StoredImages:
        """The images as bytes."""
        raw = self.modality.denormalise(self.images().detach()).round().byte()
        labels = self.images.labels.cpu().numpy()
        return StoredImages.build(raw.cpu().numpy(), labels, self.train.label_names, "dm")

    def fit(self) -> Self:
        """Match."""
        config = self.config
        learning = replace(config.matching, lr=config.lr, augmentation=config.augmentation)
        loop = loop_of(config.updates)
        match_distributions(self.images, self.train, self.modality, learning, loop, self.run.stage("match"))
        return self


def real_images(train: Samples, images_per_class: int, modality: Modality, seed: int = 0) -> PixelImages:
    """Random real images of every class to begin with; those of a class that has too few come again with noise."""
    rng = np.random.default_rng(seed)
    rows, again = [], []
    for label in range(len(train.label_names)):
        members = np.flatnonzero(train.labels == label)
        rows.append(repeated(rng, members, images_per_class))
        again.append(np.arange(images_per_class) >= len(members))
    chosen, noisy = np.concatenate(rows), np.concatenate(again)
    values = train.values[chosen].astype(np.float32)
    values[noisy] += rng.normal(0, _REPEATED_NOISE, values[noisy].shape).astype(np.float32)
    labels = torch.from_numpy(train.labels[chosen])
    return PixelImages(modality.normalise(torch.from_numpy(values)), labels)
