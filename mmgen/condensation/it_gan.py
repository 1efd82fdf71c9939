"""IT-GAN: latents of a trained generator, made informative (Zhao and Bilen 2022, "Synthesizing Informative Training
Samples with GAN")."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.condensation import dcgan
from mmgen.condensation.condenser import Condenser, loop_of
from mmgen.condensation.dcgan import DCGAN, DCGANConfig
from mmgen.condensation.subset import FeatureConfig, trained_network
from mmgen.errors import UserError
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.modality import Modality
from mmgen.models.stored import StoredLatents
from mmgen.names import AugmentationName
from mmgen.training.batches import repeated
from mmgen.training.distribution_matching import DistributionConfig, match_distributions
from mmgen.training.inversion import InversionConfig, invert

Choice = Literal["k_means", "random"]

_TUNING = DistributionConfig("adam", lr=1e-3)
_SHORT_TUNING = DistributionConfig("adam", lr=0.02, width=16, real_per_class=16)


@dataclass(frozen=True)
class ITGANConfig:
    """Sizes and lengths of an IT-GAN fit.

    Published are one latent for every real image, all of which are tuned and kept. Here a number of each class is
    chosen from these and tuned, so that the set is as small as that of the other methods.

    Attributes:
        images_per_class: latents that are kept of each class.
        gan: the generator and its training.
        features: the network whose features are compared in inversion.
        inverted_per_class: latents of each class that are found by inversion of real images: of random ones where a
            class has more, of some more than once where it has fewer. None: one of every real image.
        inversion: how latents are found.
        choice: which of them are kept: "k_means" the one nearest to each centre of so many clusters, or "random".
        tuning_updates: steps of matching, which also have real and synthetic images looked at by random networks.
        tuning: how the latents are matched.
        augmentation: strategy by name, for this kind of picture.
    """

    images_per_class: int = 10
    gan: DCGANConfig = field(default_factory=DCGANConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    inverted_per_class: int | None = None
    inversion: InversionConfig = field(default_factory=InversionConfig)
    choice: Choice = "k_means"
    tuning_updates: int = 5000
    tuning: DistributionConfig = _TUNING
    augmentation: AugmentationName = "none"

    def __post_init__(self) -> None:
        if self.images_per_class < 1 or self.tuning_updates < 1:
            raise UserError(
                "IT-GAN keeps at least 1 latent a class and tunes it in at least 1 update, "
                f"not {self.images_per_class} in {self.tuning_updates}."
            )
        if self.choice not in get_args(Choice):
            raise UserError(f"Latents are chosen by {' or '.join(get_args(Choice))}, not {self.choice!r}.")


# A latent of N(0, 1) has far to go in steps of 1e-3, so the short presets take larger ones: on phantom lesions (64 px,
# ten of each of 7 classes, 60 updates, one seed) the matching loss in other networks fell from 36.7 to 31.0 at 1e-3,
# 23.4 at 5e-3, 18.8 at 0.02 and 18.2 at 0.06. Before, it was 35.1 as k-means chose (mean of three seeds), 37.4 at
# random, and 72 for latents that no inversion had found.
PRESETS: dict[str, ITGANConfig] = {
    "quick": ITGANConfig(
        gan=dcgan.PRESETS["quick"],
        features=FeatureConfig(16, 50),
        inverted_per_class=20,
        inversion=InversionConfig(updates=30),
        tuning_updates=40,
        tuning=_SHORT_TUNING,
    ),
    "small": ITGANConfig(
        images_per_class=50,
        gan=dcgan.PRESETS["small"],
        features=FeatureConfig(16, 200),
        inverted_per_class=60,
        inversion=InversionConfig(updates=50),
        tuning_updates=60,
        tuning=_SHORT_TUNING,
    ),
    "paper": ITGANConfig(features=FeatureConfig(128, 3000), inversion=InversionConfig(updates=1000)),
}


class DecodedLatents(nn.Module):
    """Images of latents that are learnt; the generator is frozen and stays in evaluation mode.

    Args:
        generator: decodes; its parameters are frozen.
        latents: (N, noise).
        labels: (N,) of the latents.
        modality: normalises images.
    """

    labels: Tensor

    def __init__(self, generator: ConditionalGenerator, latents: Tensor, labels: Tensor, modality: Modality) -> None:
        super().__init__()
        self.generator, self.modality = generator.eval().requires_grad_(False), modality
        self.latents = nn.Parameter(latents.clone())
        self.register_buffer("labels", labels)

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but not of the generator: its batch normalisation would make images depend on each other."""
        super().train(mode)
        self.generator.eval()
        return self

    def forward(self) -> Tensor:
        """All images (N, C, H, W), normalised."""
        return self.modality.normalise((self.generator(self.latents, self.labels).float() + 1.0) * 127.5)


class ITGAN(Condenser):
    """Trains a generator, finds the latents of real images, and tunes some of each class to match the real set.

    For the arguments see :class:`Condenser`; ``subjects`` make no difference, and of ``validation`` the network of
    features makes use.
    """

    method = "it_gan"
    presets = PRESETS
    stages = (*DCGAN.stages, "features", "inversion", "tuning")
    fits_one_size = True
    config: ITGANConfig

    def _begin(self) -> None:
        self._gan = DCGAN(self.config.gan, self.run, self.train, name=self.modality.name)
        self._inverted: list[Tensor] = []
        self._model: StoredLatents | None = None

    @property
    def model(self) -> StoredLatents:
        """Generator and latents."""
        if self._model is None:
            raise UserError("There are no latents before fit().")
        return self._model

    def fit(self) -> Self:
        """All stages."""
        self.invert()
        self.tune()
        return self

    def invert(self) -> None:
        """Train generator and features, then find latents of real images."""
        config = self.config
        generator = self._gan.fit().model
        learning = replace(config.features, augmentation=config.augmentation)
        network = trained_network(self.train, self.modality, learning, self.run.stage("features"), self.validation)
        rows = self._rows()
        samples = self.train.select(np.concatenate(rows))
        latents = invert(generator, network, samples, self.modality, config.inversion, self.run.stage("inversion"))
        self._inverted = list(latents.split([len(part) for part in rows]))

    def tune(self) -> None:
        """Choose latents of each class and match their images to real ones."""
        config, generator = self.config, self._gan.model
        count, classes = config.images_per_class, len(self.train.label_names)
        # A generator does not look at the first entries of a latent.
        rows = [choose(part[:, classes:].numpy(), count, config.choice, self.run.seed) for part in self._inverted]
        chosen = [part[kept] for part, kept in zip(self._inverted, rows, strict=True)]
        labels = torch.arange(classes).repeat_interleave(count)
        images = DecodedLatents(generator, torch.cat(chosen), labels, self.modality)
        learning = replace(config.tuning, augmentation=config.augmentation)
        loop = loop_of(config.tuning_updates)
        match_distributions(images, self.train, self.modality, learning, loop, self.run.stage("tuning"))
        latents = images.latents.detach().cpu().unflatten(0, (classes, count))
        self._model = StoredLatents.build(images.generator.cpu(), latents)

    def _rows(self) -> list[np.ndarray]:
        """Training images of each class that are inverted."""
        rng = np.random.default_rng(self.run.seed)
        rows = []
        for label in range(len(self.train.label_names)):
            members = np.flatnonzero(self.train.labels == label)
            count = max(self.config.inverted_per_class or len(members), self.config.images_per_class)
            rows.append(repeated(rng, members, count))
        return rows


def choose(points: np.ndarray, count: int, choice: Choice, seed: int = 0) -> np.ndarray:
    """(count,) different rows of points (N, D): the nearest one to each centre of k-means, or random ones."""
    if choice == "random":
        return np.random.default_rng(seed).permutation(len(points))[:count]
    from sklearn.cluster import KMeans

    distances = KMeans(count, n_init=1, random_state=seed).fit(points).transform(points)
    rows: list[int] = []
    for centre in range(count):
        distances[rows, centre] = np.inf  # two centres may have one nearest point
        rows.append(int(distances[:, centre].argmin()))
    return np.array(rows)
