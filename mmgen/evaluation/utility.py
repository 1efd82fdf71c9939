"""Utility: is a synthetic set good for training? Classifiers trained on synthetic or real data, tested on real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.data.progress import progress_bar
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ClassifierName, build_classifier
from mmgen.models.modality import Modality
from mmgen.training.classifier import ClassifierConfig, ClassifierTask, LabelledBatches, predict
from mmgen.training.loop import Loop, LoopConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class UtilityConfig:
    """How the measuring classifiers are trained; identical for every training set.

    Attributes:
        classifier: network by name.
        updates: optimiser steps of every training, whatever the size of the set.
        batch_size: samples a step.
        seeds: trainings, with different initial weights and orders, that mean and deviation are taken over.
        max_side: larger samples are reduced (antialiased) so that their longer side has this many pixels; 32 at least.
    """

    classifier: ClassifierName = "resnet18"
    updates: int = 150
    batch_size: int = 32
    seeds: int = 3
    max_side: int = 64

    def __post_init__(self) -> None:
        # At 16 px, bf16 convolutions of torch 2.11 on a CPU gave NaN gradients in one training step of six.
        if self.max_side < 32:
            raise UserError(f"Classifiers need max_side of at least 32, got {self.max_side}.")


def classification_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro one-vs-rest ROC AUC, all 0..1, higher is better: (N, classes), (N,)."""
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    predicted = probabilities.argmax(1)
    binary = probabilities.shape[1] == 2
    auc = (
        roc_auc_score(labels, probabilities[:, 1])
        if binary
        else roc_auc_score(labels, probabilities, multi_class="ovr")
    )
    return {
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "auc": float(auc),
    }


def train_and_test(
    modality: Modality, train: Samples, test: Samples, config: UtilityConfig, accelerator: Accelerator, seed: int
) -> dict[str, float]:
    """Train one classifier on ``train``, test it on ``test``; nothing is selected on the test data.

    Raises:
        UserError: label names that differ, one class only, or test labels that training lacks.
    """
    if train.label_names != test.label_names:
        raise UserError(f"Training labels {train.label_names} and test labels {test.label_names} differ; rename them.")
    classes = len(train.label_names)
    if set(np.unique(test.labels)) - set(np.unique(train.labels)) or classes < 2:
        raise UserError("A classifier needs at least two labels, and every test label among the training labels.")
    torch.manual_seed(seed)
    model = build_classifier(config.classifier, modality.shape[0], classes)
    x = as_input(modality, train, config.max_side)
    batches = LabelledBatches(x, train.labels, config.batch_size, config.updates, seed)
    task = ClassifierTask(model, ClassifierConfig(), accelerator)
    Loop(task, batches, LoopConfig(epochs=1, seed=seed), accelerator).run()
    probabilities = predict(model, as_input(modality, test, config.max_side), accelerator)
    return classification_scores(probabilities, test.labels)


def utility(
    modality: Modality,
    training_sets: Mapping[str, Samples],
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
) -> dict[str, dict[str, Any]]:
    """Scores of a classifier for each training set, mean and deviation over seeds.

    Returns:
        {training set: {"accuracy": {"mean", "std"}, "balanced_accuracy": ..., "auc": ..., "seeds", "n_train",
        "n_test", "updates", "max_side"}}
    """
    jobs = [(name, seed) for name in training_sets for seed in range(config.seeds)]
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in training_sets}
    for name, seed in progress_bar(jobs, total=len(jobs), description=f"classifiers on {modality.name}"):
        scores[name].append(train_and_test(modality, training_sets[name], test, config, accelerator, seed))
    return {
        name: {
            **{key: _spread([row[key] for row in rows]) for key in rows[0]},
            "seeds": config.seeds,
            "n_train": len(training_sets[name]),
            "n_test": len(test),
            "updates": config.updates,
            "max_side": min(config.max_side, max(modality.shape[1:])),
        }
        for name, rows in scores.items()
    }


def as_input(modality: Modality, samples: Samples, max_side: int) -> Tensor:
    """Normalised (N, C, H, W) float32, reduced so that no side is longer than ``max_side``."""
    factor = max_side / max(modality.shape[1:])
    parts = []
    for start in range(0, len(samples), 256):
        x = modality.normalise(torch.from_numpy(samples.values[start : start + 256]))
        if factor < 1:
            x = F.interpolate(x, scale_factor=factor, mode="bilinear", antialias=True, recompute_scale_factor=True)
        parts.append(x)
    return torch.cat(parts)


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}
