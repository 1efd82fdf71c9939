"""Subsets of the real images, the floor that every method of condensation must beat, and the features that images are
compared by: those of a small network trained on their own labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self, get_args

import numpy as np
import torch

from mmgen.condensation.condenser import Condenser
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ConvNet
from mmgen.models.modality import Modality
from mmgen.models.stored import StoredImages
from mmgen.names import AugmentationName, Selection
from mmgen.training.classifier import LEARNING_RATES, ClassifierConfig, train_classifier
from mmgen.training.run import Run

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class FeatureConfig:
    """Size and training of the network.

    Attributes:
        width: channels; a feature vector has ``width`` numbers for each of 16 to 49 places.
        updates: optimiser steps; with validation images a multiple of ten.
        batch_size: images a step, of all classes equally often.
        augmentation: strategy by name, for this kind of picture.
    """

    width: int = 32
    updates: int = 200
    batch_size: int = 32
    augmentation: AugmentationName = "none"


@dataclass(frozen=True)
class SubsetConfig:
    """Number and choice of the images that are kept.

    Attributes:
        images_per_class: real images of each class, or all of a class that has fewer.
        selection: "random", :func:`herding` or :func:`k_center`; the latter two on the features of a ConvNet that is
            trained on all the images.
        features: that network.
        augmentation: strategy by name with which that network is trained.
    """

    images_per_class: int = 10
    selection: Selection = "random"
    features: FeatureConfig = field(default_factory=FeatureConfig)
    augmentation: AugmentationName = "none"

    def __post_init__(self) -> None:
        if self.images_per_class < 1:
            raise UserError(f"At least 1 image a class is kept, not {self.images_per_class}.")
        if self.selection not in get_args(Selection):
            raise UserError(f"Selection is one of {', '.join(get_args(Selection))}, not {self.selection!r}.")


PRESETS: dict[str, SubsetConfig] = {
    "quick": SubsetConfig(features=FeatureConfig(width=16, updates=60)),
    "small": SubsetConfig(),
    "paper": SubsetConfig(features=FeatureConfig(width=128, updates=2000, batch_size=128)),
}


class Subset(Condenser):
    """Keeps real images of every class. A set of fewer with the same settings is the beginning of one of more.

    For the arguments see :class:`Condenser`.
    """

    method = "subset"
    presets = PRESETS
    options = ("selection",)
    stages = ("features",)
    fits_one_size = True
    config: SubsetConfig

    _kept: StoredImages | None = None

    @property
    def model(self) -> StoredImages:
        """The kept images.

        Raises:
            UserError: before :meth:`fit`.
        """
        if self._kept is None:
            raise UserError("Nothing has been chosen yet; call fit() first.")
        return self._kept

    def fit(self) -> Self:
        """Choose."""
        members = [np.flatnonzero(self.train.labels == label) for label in range(len(self.train.label_names))]
        if self.config.selection == "random":
            rng = np.random.default_rng(self.run.seed)
            chosen = [rows[rng.permutation(len(rows))[: self.config.images_per_class]] for rows in members]
        else:
            choose = _BY_FEATURES[self.config.selection]
            config = replace(self.config.features, augmentation=self.config.augmentation)
            network = trained_network(self.train, self.modality, config, self.run.stage("features"), self.validation)
            features = embed(network, self.modality, self.train, self.run.accelerator)
            chosen = [rows[choose(features[rows], self.config.images_per_class)] for rows in members]
        rows = np.concatenate(chosen)
        images, labels = np.asarray(self.train.values[rows]), self.train.labels[rows]
        self._kept = StoredImages.build(images, labels, self.train.label_names, "subset")
        return self


def trained_network(
    train: Samples, modality: Modality, config: FeatureConfig, run: Run, validation: Samples | None = None
) -> ConvNet:
    """A ConvNet trained on real images and their labels, frozen, in evaluation mode, on the accelerator's device.

    For ``validation`` and what is raised see :func:`mmgen.training.classifier.train_classifier`.
    """
    learning = ClassifierConfig(
        updates=config.updates,
        batch_size=config.batch_size,
        lr=LEARNING_RATES["convnet"],
        balance="sampling",
        augmentation=config.augmentation,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        network = ConvNet(train.values.shape[1:], len(train.label_names), config.width)
    train_classifier(network, modality, train, learning, run, validation)
    return network.requires_grad_(False)


@torch.no_grad()
def embed(
    network: ConvNet, modality: Modality, samples: Samples, accelerator: Accelerator, batch_size: int = 128
) -> np.ndarray:
    """Features (N, F) float32 of samples in raw units, which are read a batch at a time."""
    network = network.to(accelerator.device).eval()
    rows = []
    for start in range(0, len(samples), batch_size):
        x = torch.from_numpy(samples.values[start : start + batch_size]).to(accelerator.device)
        with accelerator.autocast():
            rows.append(network.embed(modality.normalise(x)).float().cpu())
    return torch.cat(rows).numpy()


def herding(features: np.ndarray, count: int) -> np.ndarray:
    """Indices of rows whose mean is that of all (Welling 2009): each next one brings the mean of the chosen nearest.

    Args:
        features: (N, F).
        count: as many, or all of fewer, in the order in which they are chosen.
    """
    centred = features - features.mean(0)
    squares = (centred**2).sum(1)
    left, total, chosen = np.ones(len(centred), dtype=bool), np.zeros_like(centred[0]), []
    for _ in range(min(count, len(centred))):
        # The squared norm of the sum with each row, less that of the sum so far, which is the same for all.
        norms = np.where(left, squares + 2 * centred @ total, np.inf)
        chosen.append(int(norms.argmin()))
        left[chosen[-1]] = False
        total += centred[chosen[-1]]
    return np.array(chosen)


def k_center(features: np.ndarray, count: int) -> np.ndarray:
    """Indices of rows near which all others are (Sener and Savarese 2018, greedy): each next one is the farthest from
    those chosen, the first the nearest to the mean.

    Args:
        features: (N, F).
        count: as many, or all of fewer, in the order in which they are chosen.
    """
    centred = features - features.mean(0)
    chosen = [int((centred**2).sum(1).argmin())]
    nearest = _squared_distances(centred, chosen[0])
    while len(chosen) < min(count, len(centred)):
        nearest[chosen] = -1.0  # among equal images none is chosen twice
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _squared_distances(centred, chosen[-1]))
    return np.array(chosen)


def _squared_distances(rows: np.ndarray, index: int) -> np.ndarray:
    """(N,) from each row to one of them."""
    return ((rows - rows[index]) ** 2).sum(1)


_BY_FEATURES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"herding": herding, "k_center": k_center}
