from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny import same_weights
from tiny_medsynth import tiny_samples
from torch import nn

from mmgen.condensation.condenser import image_modality
from mmgen.condensation.features import FeatureConfig, embed, trained_network
from mmgen.training.classifier import VALIDATIONS, ClassifierTask, predict

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
    network = trained_network(TRAIN, MODALITY, CONFIG, accelerator)
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    other = tiny_samples((10, 10, 10), seed=1)
    logits = network(MODALITY.normalise(torch.from_numpy(other.values)))
    assert (logits.argmax(1).numpy() == other.labels).mean() > 0.9


def test_it_is_a_function_of_the_seed(accelerator: Accelerator) -> None:
    torch.manual_seed(5)
    first = trained_network(TRAIN, MODALITY, CONFIG, accelerator, seed=1).state_dict()
    torch.manual_seed(6)
    assert same_weights(trained_network(TRAIN, MODALITY, CONFIG, accelerator, seed=1).state_dict(), first)
    assert not same_weights(trained_network(TRAIN, MODALITY, CONFIG, accelerator, seed=2).state_dict(), first)


@pytest.mark.parametrize("with_folder", [False, True])
def test_validation_images_choose_the_weights(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, with_folder: bool
) -> None:
    """With labels that contradict the training images every further look is worse than the first."""
    scores: list[float] = []
    validate = ClassifierTask.validate

    def noting(task: ClassifierTask, model: nn.Module) -> dict[str, float]:
        result = validate(task, model)
        scores.append(result["score"])
        return result

    monkeypatch.setattr(ClassifierTask, "validate", noting)
    images = tiny_samples((4, 4, 4), seed=1)
    against = replace(images, labels=(images.labels + 1) % 3)
    chosen = trained_network(TRAIN, MODALITY, CONFIG, accelerator, against, tmp_path if with_folder else None)
    assert len(scores) == VALIDATIONS and min(scores) < scores[-1] - 0.1
    last = trained_network(TRAIN, MODALITY, CONFIG, accelerator)
    for network, score in ((chosen, min(scores)), (last, scores[-1])):
        probabilities = predict(network, MODALITY, against, accelerator)
        loss = -np.log(probabilities[np.arange(len(against)), against.labels])
        assert loss.mean() == pytest.approx(score, rel=1e-4)


def test_features_are_those_before_the_linear_layer_whatever_the_batch(accelerator: Accelerator) -> None:
    network = trained_network(TRAIN, MODALITY, CONFIG, accelerator)
    features = embed(network, MODALITY, TRAIN, accelerator)
    assert features.shape == (56, 8 * 16) and features.dtype == np.float32
    values = CountedRows(TRAIN.values)
    few = embed(network, MODALITY, replace(TRAIN, values=values), accelerator, batch_size=9)
    np.testing.assert_allclose(few, features, rtol=1e-4, atol=1e-5)
    assert max(values.reads) == 9 and sum(values.reads) == 56
    logits = network(MODALITY.normalise(torch.from_numpy(TRAIN.values)))
    np.testing.assert_allclose(network.head(torch.from_numpy(features)).numpy(), logits.numpy(), rtol=1e-3, atol=1e-4)
