"""Predictions of trained classifiers for test files, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmgen.data.samples import Samples
from mmgen.evaluation.scores import Confusion, Statistic, UtilityScores


@dataclass(frozen=True)
class Outcome:
    """Predictions of a trained classifier for the test files.

    Attributes:
        probabilities: (N, classes).
        labels: (N,) true classes.
    """

    probabilities: np.ndarray
    labels: np.ndarray

    @classmethod
    def by_file(cls, probabilities: np.ndarray, samples: Samples) -> Outcome:
        """Of predictions (M, classes) for samples: the mean over all segments of a file, files by their row."""
        _, first, file = np.unique(samples.rows, return_index=True, return_inverse=True)
        sums = np.zeros((len(first), probabilities.shape[1]))
        np.add.at(sums, file, probabilities)
        return cls(sums / np.bincount(file)[:, None], samples.labels[first])

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
    # Of two classes scikit-learn takes the scores of the second.
    given = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    auc = roc_auc_score(labels, given, multi_class="ovr")
    return {
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "auc": float(auc),
    }


def paired_differences(runs: Mapping[str, Sequence[Sequence[Outcome]]], soft: Collection[str]) -> dict[str, Any]:
    """Differences in AUC of every synthetic set from all real data and from random real samples, paired by run: fields
    of :class:`UtilityScores` by set.

    Args:
        runs: as those of :func:`summary`, by training set; "synthetic@10" is set beside "random_subset@10".
        soft: sets whose soft labels were learnt; all real data, learnt by hard labels, are not set beside these.
    """
    aucs = {
        name: np.array([np.mean([classification_scores(t.probabilities, t.labels)["auc"] for t in run]) for run in own])
        for name, own in runs.items()
    }
    differences: dict[str, Any] = {}
    for name in aucs:
        kind, at, size = name.partition("@")
        subset, own = f"random_subset{at}{size}", differences.setdefault(name, {})
        if kind == "synthetic" and subset in aucs:
            own["improvement_over_random"] = Statistic.of(aucs[name] - aucs[subset], least=-1.0)
        if kind == "synthetic" and "real" in aucs and name not in soft:
            own["hard_label_recovery"] = Statistic.of(aucs["real"] - aucs[name], least=-1.0)
    return differences


def summary(runs: Sequence[Sequence[Outcome]], label_names: Sequence[str]) -> UtilityScores:
    """Scores, recalls and confusion of one training set.

    Args:
        runs: what mean and deviation are taken over; of each the mean of its own trainings counts.
    """
    scores = [[classification_scores(tested.probabilities, tested.labels) for tested in run] for run in runs]
    confusions = [[tested.confusion for tested in run] for run in runs]
    # (runs, labels): a recall is the diagonal's share of its row, and every label is among the test samples.
    recalls = np.array([np.mean([c.diagonal() / c.sum(1) for c in run], axis=0) for run in confusions])
    counts = np.sum([confusion for run in confusions for confusion in run], axis=0)
    return UtilityScores(
        **{key: Statistic.of([float(np.mean([row[key] for row in run])) for run in scores]) for key in scores[0][0]},
        recall={
            name: Statistic.of(of_label, interval=False) for name, of_label in zip(label_names, recalls.T, strict=True)
        },
        confusion=Confusion(tuple(label_names), tuple(map(tuple, counts.tolist()))),
    )
