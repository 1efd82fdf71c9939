"""Features that images are compared by: those of a small network trained on their own labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmgen.data.samples import Samples
from mmgen.models.classifiers import ConvNet
from mmgen.models.modality import Modality
from mmgen.names import AugmentationName
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
