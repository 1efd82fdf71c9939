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
from mmgen.errors import UserError, first_few
from mmgen.models.classifiers import build_classifier
from mmgen.models.modality import Modality
from mmgen.names import AugmentationName, ClassifierName
from mmgen.training.classifier import LEARNING_RATES, VALIDATIONS, ClassifierConfig, predict, train_classifier
from mmgen.training.run import Run

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
        folds: parts that :func:`mmgen.evaluation.folds.utility_by_folds` cuts the real data into, at least 2; 0 where
            there is a fixed test set, which :func:`utility` takes.
    """

    classifier: ClassifierName = "resnet18"
    updates: int = 150
    batch_size: int = 32
    seeds: int = 3
    max_side: int = 64
    balance: Literal["none", "weights", "sampling"] = "none"
    augmentation: Mapping[str, AugmentationName] = field(default_factory=dict)
    validation_share: float = 0.0
    folds: int = 0

    def __post_init__(self) -> None:
        # At 16 px, bf16 convolutions of torch 2.11 on a CPU gave NaN gradients in one training step of six.
        if self.max_side < 32:
            raise UserError(f"Classifiers need max_side of at least 32, got {self.max_side}.")
        if not 0 <= self.validation_share < 1 or (self.validation_share and self.updates % VALIDATIONS):
            raise UserError(
                f"validation_share lies between 0 and 1 and needs updates in multiples of {VALIDATIONS}, "
                f"got {self.validation_share} and {self.updates}."
            )
        if self.folds < 0 or self.folds == 1:
            raise UserError(f"folds is 0 (a fixed test set) or at least 2, got {self.folds}.")


@dataclass(frozen=True)
class Outcome:
    """What a trained classifier said of the test samples.

    Attributes:
        probabilities: (N, classes).
        labels: (N,) true classes.
    """

    probabilities: np.ndarray
    labels: np.ndarray

    @property
    def confusion(self) -> np.ndarray:
        """(classes, classes) int64 counts; rows are true classes, columns predicted ones."""
        classes = self.probabilities.shape[1]
        pairs = self.labels * classes + self.probabilities.argmax(1)
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


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


def train_and_predict(
    modality: Modality,
    train: Samples,
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    seed: int,
    backbone: VisionTransformer | None = None,
) -> Outcome:
    """Train one classifier on ``train`` and apply it to ``test``; nothing is selected on the test data.

    Raises:
        UserError: label names that differ, one class only, or a class that training or test data lack.
    """
    if train.label_names != test.label_names:
        raise UserError(f"Training labels {train.label_names} and test labels {test.label_names} differ; rename them.")
    classes = len(train.label_names)
    if set(np.unique(test.labels)) - set(np.unique(train.labels)) or classes < 2:
        raise UserError("A classifier needs at least two labels, and every test label among the training labels.")
    if untested := [name for label, name in enumerate(test.label_names) if label not in test.labels]:
        raise UserError(
            f"There is no test sample of {first_few(untested)}, so no AUC; add some or leave the label out."
        )
    train, test = reduced(train, config.max_side), reduced(test, config.max_side)
    kept, validation = hold_out(train, config.validation_share, seed)
    learning = ClassifierConfig(
        updates=config.updates,
        batch_size=config.batch_size,
        lr=LEARNING_RATES[config.classifier],
        balance=config.balance,
        augmentation=config.augmentation.get(modality.name, "none"),
    )
    torch.manual_seed(seed)
    model = build_classifier(config.classifier, train.values.shape[1:], classes, backbone)
    model = train_classifier(model, modality, kept, learning, Run(accelerator, seed=seed), validation)
    return Outcome(predict(model, modality, test, accelerator), test.labels)


def train_and_test(
    modality: Modality,
    train: Samples,
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    seed: int,
    backbone: VisionTransformer | None = None,
) -> dict[str, float]:
    """:func:`classification_scores` of one classifier, see :func:`train_and_predict`."""
    tested = train_and_predict(modality, train, test, config, accelerator, seed, backbone)
    return classification_scores(tested.probabilities, tested.labels)


def utility(
    modality: Modality,
    training_sets: Mapping[str, Samples | Sequence[Samples]],
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    backbone: VisionTransformer | None = None,
) -> dict[str, dict[str, Any]]:
    """Scores of a classifier for each training set on a fixed test set, mean and deviation over seeds.

    Args:
        training_sets: by name; a set that is drawn at random may come as one draw a seed, so that the deviation holds
            the chance of the draw too. :func:`mmgen.evaluation.training_sets.four_sets` makes the usual ones.
        backbone: what "vit_lora" starts from, see :func:`build_classifier`.

    Returns:
        {training set: {"accuracy": {"mean", "std", "ci95"}, "balanced_accuracy": ..., "auc": ..., "recall": {label:
        {"mean", "std"}}, "confusion": {"labels", "counts"}, "seeds", "n_train", "n_test", "updates", "max_side"}}.
        Scores are 0..1, higher is better. ``ci95`` is Student's interval for the mean over seeds, absent with one seed;
        it holds the chance of training and not that of the test samples. Rows of ``counts`` are true labels, columns
        predicted ones, summed over seeds. "synthetic" has "recovery" beside "real" and "random_subset".
    """
    draws = as_draws(training_sets, config.max_side)
    test = reduced(test, config.max_side)
    found = measure_all(modality, draws, test, config, accelerator, backbone, f"{config.classifier} on {modality.name}")
    entries = {
        name: {
            **summary([[tested] for tested in runs], test.label_names),
            "seeds": config.seeds,
            "n_train": len(draws[name][0]),
            "n_test": len(test),
            "updates": config.updates,
            "max_side": min(config.max_side, max(modality.shape[1:])),
        }
        for name, runs in found.items()
    }
    add_recovery(entries)
    return entries


def as_draws(training_sets: Mapping[str, Samples | Sequence[Samples]], max_side: int) -> dict[str, list[Samples]]:
    """Every training set as a list of its draws, reduced to ``max_side``."""
    return {
        name: [reduced(drawn, max_side) for drawn in ([sets] if isinstance(sets, Samples) else sets)]
        for name, sets in training_sets.items()
    }


def measure_all(
    modality: Modality,
    draws: Mapping[str, Sequence[Samples]],
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    backbone: VisionTransformer | None,
    description: str,
) -> dict[str, list[Outcome]]:
    """Train on each set, once a seed, and test: {training set: [one of each seed]}."""
    jobs = [(name, seed) for name in draws for seed in range(config.seeds)]
    found: dict[str, list[Outcome]] = {name: [] for name in draws}
    for name, seed in progress_bar(jobs, total=len(jobs), description=description):
        train = draws[name][seed % len(draws[name])]
        found[name].append(train_and_predict(modality, train, test, config, accelerator, seed, backbone))
    return found


def summary(runs: Sequence[Sequence[Outcome]], label_names: Sequence[str]) -> dict[str, Any]:
    """Scores, recalls and confusion of one training set; see :func:`utility`.

    Args:
        runs: what mean and deviation are taken over; of each the mean of its own trainings counts.
    """
    scores = [[classification_scores(tested.probabilities, tested.labels) for tested in run] for run in runs]
    confusions = [[tested.confusion for tested in run] for run in runs]
    # (runs, labels): a recall is the diagonal's share of its row, and every label is among the test samples.
    recalls = np.array([np.mean([c.diagonal() / c.sum(1) for c in run], axis=0) for run in confusions])
    entry: dict[str, Any] = {
        key: spread([float(np.mean([row[key] for row in run])) for run in scores]) for key in scores[0][0]
    }
    entry["recall"] = {
        name: {"mean": float(of_label.mean()), "std": _deviation(of_label)}
        for name, of_label in zip(label_names, recalls.T, strict=True)
    }
    counts = np.sum([confusion for run in confusions for confusion in run], axis=0)
    entry["confusion"] = {"labels": list(label_names), "counts": counts.tolist()}
    return entry


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation (n - 1) and, of two values or more, Student's 95 % interval for the mean of scores 0..1,
    mean ± t(0.975, n - 1) std / sqrt(n), cut off at 0 and 1."""
    from scipy.stats import t

    mean, std = float(np.mean(values)), _deviation(values)
    if len(values) < 2:
        return {"mean": mean, "std": std}
    half = float(t.ppf(0.975, len(values) - 1)) * std / len(values) ** 0.5
    return {"mean": mean, "std": std, "ci95": [max(mean - half, 0.0), min(mean + half, 1.0)]}


def recovery(real: float, random: float, score: float) -> float | None:
    """Share of the way from a random real subset to all real data that a synthetic set of the subset's size goes.

    (score - random) / (real - random) of AUCs: 1 is as good as all real data, 0 as the subset, less is worse. None
    where all real data are not better than the subset by more than 0.01: the share says nothing then.
    """
    room = real - random
    return (score - random) / room if room > 0.01 else None


def add_recovery(entries: Mapping[str, dict[str, Any]]) -> None:
    """Store :func:`recovery` in the entry "synthetic" where "real" and "random_subset" stand beside it."""
    if {"real", "random_subset", "synthetic"} <= entries.keys():
        real, random, score = (entries[name]["auc"]["mean"] for name in ("real", "random_subset", "synthetic"))
        entries["synthetic"]["recovery"] = recovery(real, random, score)


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


def _deviation(values: Sequence[float] | np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
