"""Whether made images are of their classes."""

from __future__ import annotations

import numpy as np
import torch

from mmgen.condensation.condenser import Condenser
from mmgen.data.phantoms import phantom_lesion
from mmgen.data.samples import Samples
from mmgen.models.classifiers import ConvNet
from mmgen.training.classifier import ClassifierConfig, predict, train_classifier
from mmgen.training.run import Run


def lesions(count: int, labels: tuple[int, ...], size: int = 32, seed: int = 0) -> Samples:
    """So many phantom lesions of each label."""
    made = [phantom_lesion(k, np.random.default_rng([seed, k, i]), size) for k in labels for i in range(count)]
    known = np.repeat(np.arange(len(labels)), count)
    return Samples(np.stack(made).transpose(0, 3, 1, 2), known, tuple(map(str, labels)), np.arange(len(known)))


def share_recognised(made: Samples, real: Samples, condenser: Condenser, updates: int = 200) -> float:
    """Share of images that a network trained on real ones classifies as their label."""
    torch.manual_seed(0)
    network = ConvNet(real.values.shape[1:], len(real.label_names), 24)
    config = ClassifierConfig(updates=updates)
    train_classifier(network, condenser.modality, real, config, Run(condenser.run.accelerator))
    said = predict(network, condenser.modality, made, condenser.run.accelerator)
    return float((said.argmax(1) == made.labels).mean())


def share_nearest(made: Samples, real: Samples) -> float:
    """Share of images that are nearer to the mean real image of their class than to that of any other."""
    means = np.stack([real.values[real.labels == k].mean(0) for k in range(len(real.label_names))])
    distances = np.square(made.values[:, None] - means).mean((2, 3, 4))
    return float((distances.argmin(1) == made.labels).mean())
