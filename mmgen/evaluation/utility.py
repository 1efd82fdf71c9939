"""Utility: is a synthetic set good for training? Classifiers trained on synthetic or real data, tested on real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

from mmgen.data.progress import progress_bar
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ClassifierName, build_classifier
from mmgen.models.modality import Modality
from mmgen.training.augmentation import AugmentationName
from mmgen.training.classifier import LEARNING_RATES, VALIDATIONS, ClassifierConfig, predict, train_classifier

if TYPE_CHECKING:
    from accelerate import Accelerator

# Fewer of a label than this are no basis to choose weights by.
LEAST_HELD_OUT = 4


@dataclass(frozen=True)
class UtilityConfig:
    """How the measuring classifiers are trained; identical for every training set.

    Attributes:
        classifier: network by name.
        updates: optimiser steps of every training, whatever the size of the set.
        batch_size: samples a step.
        seeds: trainings, with different initial weights and orders, that mean and deviation are taken over.
        max_side: larger samples are reduced (antialiased) so that their longer side has this many pixels; 32 at least.
        balance: see :class:`ClassifierConfig`.
        augmentation: strategy by modality; without augmentation where a modality is not named.
        validation_share: share of each training set that is held out, to keep the best weights instead of the last; of
            sets that are too small nothing is. 0: never.
    """

    classifier: ClassifierName = "resnet18"
    updates: int = 150
    batch_size: int = 32
    seeds: int = 3
    max_side: int = 64
    balance: Literal["none", "weights", "sampling"] = "none"
    augmentation: Mapping[str, AugmentationName] = field(default_factory=dict)
    validation_share: float = 0.0

    def __post_init__(self) -> None:
        # At 16 px, bf16 convolutions of torch 2.11 on a CPU gave NaN gradients in one training step of six.
        if self.max_side < 32:
            raise UserError(f"Classifiers need max_side of at least 32, got {self.max_side}.")
        if not 0 <= self.validation_share < 1 or (self.validation_share and self.updates % VALIDATIONS):
            raise UserError(
                f"validation_share lies between 0 and 1 and needs updates in multiples of {VALIDATIONS}, "
                f"got {self.validation_share} and {self.updates}."
            )


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
    modality: Modality,
    train: Samples,
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    seed: int,
    backbone: VisionTransformer | None = None,
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
    train, test = reduced(train, config.max_side), reduced(test, config.max_side)
    kept, validation = hold_out(train, config.validation_share, seed)
    learning = ClassifierConfig(
        updates=config.updates,
        batch_size=config.batch_size,
        lr=LEARNING_RATES[config.classifier],
        balance=config.balance,
        augmentation=config.augmentation.get(modality.name, "none"),
        seed=seed,
    )
    torch.manual_seed(seed)
    model = build_classifier(config.classifier, train.values.shape[1:], classes, backbone)
    model = train_classifier(model, modality, kept, learning, accelerator, validation)
    return classification_scores(predict(model, modality, test, accelerator), test.labels)


def utility(
    modality: Modality,
    training_sets: Mapping[str, Samples | Sequence[Samples]],
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    backbone: VisionTransformer | None = None,
) -> dict[str, dict[str, Any]]:
    """Scores of a classifier for each training set, mean and deviation over seeds.

    Args:
        training_sets: by name; a set that is drawn at random may come as one draw a seed, so that the deviation holds
            the chance of the draw too.
        backbone: what "vit_lora" starts from, see :func:`build_classifier`.

    Returns:
        {training set: {"accuracy": {"mean", "std"}, "balanced_accuracy": ..., "auc": ..., "seeds", "n_train",
        "n_test", "updates", "max_side"}}
    """
    draws = {
        name: [reduced(drawn, config.max_side) for drawn in ([sets] if isinstance(sets, Samples) else sets)]
        for name, sets in training_sets.items()
    }
    test = reduced(test, config.max_side)
    jobs = [(name, seed) for name in draws for seed in range(config.seeds)]
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in draws}
    for name, seed in progress_bar(jobs, total=len(jobs), description=f"{config.classifier} on {modality.name}"):
        train = draws[name][seed % len(draws[name])]
        scores[name].append(train_and_test(modality, train, test, config, accelerator, seed, backbone))
    return {
        name: {
            **{key: _spread([row[key] for row in rows]) for key in rows[0]},
            "seeds": config.seeds,
            "n_train": len(draws[name][0]),
            "n_test": len(test),
            "updates": config.updates,
            "max_side": min(config.max_side, max(modality.shape[1:])),
        }
        for name, rows in scores.items()
    }


def reduced(samples: Samples, max_side: int) -> Samples:
    """Samples of which no side is longer than ``max_side``, in their own dtype; the same object if none is."""
    factor = max_side / max(samples.values.shape[2:])
    if factor >= 1:
        return samples
    parts = []
    for start in range(0, len(samples), 256):
        x = torch.from_numpy(samples.values[start : start + 256])
        small = F.interpolate(
            x.float(), scale_factor=factor, mode="bilinear", antialias=True, recompute_scale_factor=True
        )
        # Averages of bytes are bytes; float16 needs no rounding.
        parts.append((small if x.is_floating_point() else small.round()).to(x.dtype))
    return replace(samples, values=torch.cat(parts).numpy())


def hold_out(samples: Samples, share: float, seed: int) -> tuple[Samples, Samples | None]:
    """Training and validation part: ``share`` of every label's files, with all their segments.

    The second is None, and the first everything, where a label would give fewer than :data:`LEAST_HELD_OUT` files.
    """
    rng, taken = np.random.default_rng(seed), []
    for label in np.unique(samples.labels):
        files = np.unique(samples.rows[samples.labels == label])
        count = round(share * len(files))
        if count < LEAST_HELD_OUT:
            return samples, None
        taken.append(rng.choice(files, count, replace=False))
    held = np.isin(samples.rows, np.concatenate(taken))
    return samples.select(~held), samples.select(held)


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}
