"""Scores of classifiers on real test data by what they were trained on, and their form in ``report.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmgen.evaluation.json_fields import Fields, is_number

COUNTS = ("folds", "seeds", "n_train", "n_test", "updates", "max_side")


@dataclass(frozen=True)
class Statistic:
    """Mean of a score over trainings.

    Attributes:
        std: standard deviation (n - 1), 0 of a single training, None where it is not known.
        ci95: Student's 95 % interval for the mean; None of a single training.
    """

    mean: float
    std: float | None = None
    ci95: tuple[float, float] | None = None

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray, interval: bool = True) -> Statistic:
        """Of scores 0..1; the interval, mean ± t(0.975, n - 1) std / sqrt(n), is cut off at 0 and 1."""
        from scipy.stats import t

        mean = float(np.mean(values))
        std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        if not interval or len(values) < 2:
            return cls(mean, std)
        half = float(t.ppf(0.975, len(values) - 1)) * std / len(values) ** 0.5
        return cls(mean, std, (max(mean - half, 0.0), min(mean + half, 1.0)))

    def to_json(self) -> dict[str, Any]:
        """{"mean", "std"}, and "ci95" where there is one."""
        return {"mean": self.mean, "std": self.std} | ({} if self.ci95 is None else {"ci95": list(self.ci95)})

    @classmethod
    def from_json(cls, fields: Fields | None) -> Statistic | None:
        """None of nothing, and of a mean that was no number; raises UserError for any other form."""
        if fields is None or (mean := fields.number("mean")) is None:
            return None
        low, high = fields.pair("ci95") or (None, None)
        return cls(mean, fields.number("std"), None if low is None or high is None else (low, high))


@dataclass(frozen=True)
class Confusion:
    """What test samples were taken for, summed over trainings: rows are true labels, columns predicted ones."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def from_json(cls, fields: Fields) -> Confusion:
        """Raises UserError where the counts are no square of the labels' number."""
        labels, counts = (fields.sequence(key) for key in ("labels", "counts"))
        rows = [row if isinstance(row, list) and all(map(is_number, row)) else [] for row in counts]
        if {len(labels)} != {len(rows), *map(len, rows)}:
            raise fields.wrong("counts", "a square of the labels' size")
        return cls(tuple(map(str, labels)), tuple(map(tuple, counts)))


@dataclass(frozen=True)
class UtilityScores:
    """What classifiers trained on one set reach on real test data; of scores, 0..1, higher is better.

    Attributes:
        auc: macro average over classes, each against all others.
        recall: by label.
        folds: of a cross-validation, None of a fixed test set.
        seeds: trainings, or trainings a fold.
        n_train, n_test: samples; of folds the mean number and the number of all that were tested.
        updates, max_side: of each training.
        recovery: see :func:`recovery`.
        has_recovery: whether recovery was asked for; it may be None then too.
    """

    accuracy: Statistic | None = None
    balanced_accuracy: Statistic | None = None
    auc: Statistic | None = None
    recall: Mapping[str, Statistic] = field(default_factory=dict)
    confusion: Confusion | None = None
    folds: int | None = None
    seeds: int | None = None
    n_train: int | None = None
    n_test: int | None = None
    updates: int | None = None
    max_side: int | None = None
    recovery: float | None = None
    has_recovery: bool = False

    def to_json(self) -> dict[str, Any]:
        """An entry of section ``utility``."""
        scores = {name: getattr(self, name) for name in ("accuracy", "balanced_accuracy", "auc")}
        content: dict[str, Any] = {name: score.to_json() for name, score in scores.items() if score is not None}
        if self.recall:
            content["recall"] = {label: recall.to_json() for label, recall in self.recall.items()}
        if self.confusion is not None:
            rows = [list(row) for row in self.confusion.counts]
            content["confusion"] = {"labels": list(self.confusion.labels), "counts": rows}
        content |= {name: getattr(self, name) for name in COUNTS if getattr(self, name) is not None}
        return content | ({"recovery": self.recovery} if self.has_recovery else {})

    @classmethod
    def from_json(cls, fields: Fields) -> UtilityScores:
        """The scores of an entry; keys that are not known are left out. Raises UserError for another form."""
        recalls = {label: Statistic.from_json(part) for label, part in fields.parts("recall").items()}
        confusion = fields.part("confusion")
        return cls(
            *(Statistic.from_json(fields.part(name)) for name in ("accuracy", "balanced_accuracy", "auc")),
            recall={label: recall for label, recall in recalls.items() if recall is not None},
            confusion=None if confusion is None else Confusion.from_json(confusion),
            **{name: fields.count(name) for name in COUNTS},
            recovery=fields.number("recovery"),
            has_recovery="recovery" in fields.content,
        )


# modality -> classifier -> training set -> scores
Utility = Mapping[str, Mapping[str, Mapping[str, UtilityScores]]]


def scores_from_json(fields: Fields) -> dict[str, UtilityScores]:
    """Scores of one classifier by training set; raises UserError for another form."""
    return {name: UtilityScores.from_json(entry) for name, entry in fields.parts().items()}


def utility_from_json(section: Any) -> dict[str, dict[str, dict[str, UtilityScores]]]:
    """Section ``utility`` of a report; raises UserError for another form."""
    return {
        modality: {classifier: scores_from_json(by_set) for classifier, by_set in by_classifier.parts().items()}
        for modality, by_classifier in Fields(section, "the utility section").parts().items()
    }


def recovery(real: float, random: float, score: float) -> float | None:
    """Share of the way from a random real subset to all real data that a synthetic set of the subset's size goes.

    (score - random) / (real - random) of AUCs: 1 is as good as all real data, 0 as the subset, less is worse. None
    where all real data are not better than the subset by more than 0.01: the share says nothing then.
    """
    room = real - random
    return (score - random) / room if room > 0.01 else None


def with_recovery(scores: Mapping[str, UtilityScores], name: str, subset: str) -> UtilityScores:
    """The scores of a set with its :func:`recovery` beside "real" and a random real subset of its size."""
    real, random, synthetic = (scores[key].auc.mean for key in ("real", subset, name))
    return replace(scores[name], recovery=recovery(real, random, synthetic), has_recovery=True)
