from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny import same_weights
from tiny_medsynth import tiny_samples

from mmgen.condensation.condenser import image_modality
from mmgen.condensation.subset import FeatureConfig, embed, trained_network
from mmgen.training.classifier import ClassifierTask
from mmgen.training.run import Run

TRAIN = tiny_samples((20, 6, 30))
MODALITY = image_modality("image", TRAIN)
CONFIG = FeatureConfig(width=8, updates=30, batch_size=12)


class CountedRows:
    """An array that is read when it is indexed, and how many rows were read at once."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.reads = values, values.shape, []

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        self.reads.append(len(self.values[rows]))
        return self.values[rows]


def test_the_network_knows_the_labels_and_is_frozen(accelerator: Accelerator) -> None:
    network = trained_network(TRAIN, MODALITY, CONFIG, Run(accelerator))
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    other = tiny_samples((10, 10, 10), seed=1)
    logits = network(MODALITY.normalise(torch.from_numpy(other.values)))
    assert (logits.argmax(1).numpy() == other.labels).mean() > 0.9


def test_it_is_a_function_of_the_seed(accelerator: Accelerator) -> None:
    torch.manual_seed(5)
    first = trained_network(TRAIN, MODALITY, CONFIG, Run(accelerator, seed=1)).state_dict()
    torch.manual_seed(6)
    assert same_weights(trained_network(TRAIN, MODALITY, CONFIG, Run(accelerator, seed=1)).state_dict(), first)
    assert not same_weights(trained_network(TRAIN, MODALITY, CONFIG, Run(accelerator, seed=2)).state_dict(), first)


def test_validation_images_choose_the_weights(
    accelerator: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter((5.0, 4.0, 1.0, *(3.0,) * 7))  # the third look is the best
    monkeypatch.setattr(ClassifierTask, "validate", lambda self, model: {"score": next(scores)})
    run = Run(accelerator, tmp_path)
    network = trained_network(TRAIN, MODALITY, CONFIG, run, tiny_samples((2, 2, 2), seed=1))
    assert same_weights(network.state_dict(), run.checkpoints.load(run.checkpoints.best))
    assert not same_weights(network.state_dict(), run.checkpoints.load()["model"])


def test_features_are_those_before_the_linear_layer_whatever_the_batch(accelerator: Accelerator) -> None:
    network = trained_network(TRAIN, MODALITY, CONFIG, Run(accelerator))
    features = embed(network, MODALITY, TRAIN, accelerator)
    assert features.shape == (56, 8 * 16) and features.dtype == np.float32
    values = CountedRows(TRAIN.values)
    few = embed(network, MODALITY, replace(TRAIN, values=values), accelerator, batch_size=9)
    np.testing.assert_allclose(few, features, rtol=1e-4, atol=1e-5)
    assert max(values.reads) == 9 and sum(values.reads) == 56
    logits = network(MODALITY.normalise(torch.from_numpy(TRAIN.values)))
    np.testing.assert_allclose(network.head(torch.from_numpy(features)).numpy(), logits.numpy(), rtol=1e-3, atol=1e-4)
