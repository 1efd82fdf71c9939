"""Scores of classifiers on real test data by what they were trained on, and their form in ``report.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmgen.errors import UserError
from mmgen.evaluation import typed_json
from mmgen.evaluation.typed_json import from_json
from mmgen.names import LabelKind


@dataclass(frozen=True)
class Statistic:
    """Mean of a score over trainings.

    Attributes:
        std: standard deviation (n - 1), 0 of a single training, None where it is not known.
        ci95: Student's 95 % interval for the mean; None of a single training, and where all gave the same: trainings
            without chance say nothing of it.
    """

    mean: float | None
    std: float | None = None
    ci95: tuple[float, float] | None = None

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray, interval: bool = True, least: float = 0.0) -> Statistic:
        """Of scores 0..1, or of differences of such with -1 as the ``least``; the interval, mean ± t(0.975, n - 1) std
        / sqrt(n), is cut off there and at 1."""
        from scipy.stats import t

        mean = float(np.mean(values))
        std = float(np.std(values, ddof=1)) if np.ptp(values) > 0 else 0.0
        if not (interval and std):
            return cls(mean, std)
        half = float(t.ppf(0.975, len(values) - 1)) * std / len(values) ** 0.5
        return cls(mean, std, (max(mean - half, least), min(mean + half, 1.0)))

    def to_json(self) -> dict[str, Any]:
        """{"mean", "std"}, and "ci95" where there is one."""
        return typed_json.to_json(self)


@dataclass(frozen=True)
class Confusion:
    """Classes that test samples were taken for, summed over trainings: rows are true labels, columns predicted ones."""

    labels: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if {len(self.labels)} != {len(self.counts), *map(len, self.counts)}:
            raise UserError(f"A confusion of {self.labels} is no square of their number; measure it again.")


@dataclass(frozen=True)
class UtilityScores:
    """Scores that classifiers trained on one set reach on real test data; of scores, 0..1, higher is better.

    Attributes:
        auc: macro average over classes, each against all others.
        recall: by label.
        folds: of a cross-validation, None of a fixed test set.
        seeds: trainings, or trainings a fold.
        n_train: samples, of folds their mean number.
        n_test: files, whose segments are judged together; of folds all that were tested.
        updates, max_side: of each training; no updates of what is fitted at once.
        recovery: see :func:`recovery`; None where it was not asked for, NaN (null in JSON) where it says nothing.
        labels: "soft" where a teacher's probabilities were learnt; None where labels were.
        hard_label_recovery: AUC of all real data minus that of this set, both learnt by hard labels: lower is better;
            training by training, so that the interval is one of differences. Of synthetic sets.
        improvement_over_random: AUC of this set minus that of as many random real samples: higher is better. As
            DD-Ranking (Li et al. 2025) puts these two, here of AUC.
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
    labels: LabelKind | None = None
    hard_label_recovery: Statistic | None = None
    improvement_over_random: Statistic | None = None

    def to_json(self) -> dict[str, Any]:
        """An entry of section ``utility``."""
        return typed_json.to_json(self)


# modality -> classifier -> training set -> scores
Utility = Mapping[str, Mapping[str, Mapping[str, UtilityScores]]]


def utility_from_json(section: Any) -> dict[str, dict[str, dict[str, UtilityScores]]]:
    """Section ``utility`` of a report; raises UserError for another form."""
    return from_json(Utility, section, "the utility section")


def recovery(real: float, random: float, score: float) -> float | None:
    """Share of the way from a random real subset to all real data that a synthetic set of the subset's size goes.

    (score - random) / (real - random) of AUCs: 1 is as good as all real data, 0 as the subset, less is worse. None
    where all real data are not better than the subset by more than 0.01: the share says nothing then.
    """
    room = real - random
    return (score - random) / room if room > 0.01 else None


def with_recovery(scores: Mapping[str, UtilityScores], name: str, subset: str) -> UtilityScores:
    """The scores of a set with its :func:`recovery` beside "real" and a random real subset of its size."""
    share = recovery(*(scores[key].auc.mean for key in ("real", subset, name)))
    return replace(scores[name], recovery=float("nan") if share is None else share)
