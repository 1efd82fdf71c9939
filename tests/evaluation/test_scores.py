"""Scores as dataclasses, and what is refused when they are read back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from mmgen.errors import UserError
from mmgen.evaluation.scores import Confusion, Statistic, UtilityScores, recovery, utility_from_json, with_recovery
from mmgen.evaluation.typed_json import from_json

SCORES = UtilityScores(
    Statistic(0.75, 0.1, (0.5, 0.9)),
    Statistic(0.7, 0.1, (0.5, 0.9)),
    Statistic(0.8, 0.1, (0.5, 0.9)),
    {"a": Statistic(0.5, 0.0), "b": Statistic(1.0, 0.0)},
    Confusion(("a", "b"), ((2, 2), (0, 4))),
    3,
    2,
    80,
    8,
    100,
    32,
    0.25,
)


def test_intervals_are_students_and_end_at_the_scale() -> None:
    values = [0.5, 0.6, 0.7]
    expected = stats.t.interval(0.95, 2, 0.6, stats.sem(values))
    assert Statistic.of(values).ci95 == pytest.approx(expected)
    assert Statistic.of([0.9, 1.0]).ci95[1] == 1.0 and Statistic.of([0.0, 0.1]).ci95[0] == 0.0
    assert Statistic.of([0.7]) == Statistic(0.7, 0.0) and Statistic.of(values, interval=False).ci95 is None
    same = Statistic.of([0.7312] * 3)  # trainings without chance
    assert same.mean == pytest.approx(0.7312) and same.std == 0 and same.ci95 is None


def test_recovery_is_the_share_of_the_way() -> None:
    assert recovery(0.9, 0.6, 0.75) == pytest.approx(0.5)
    assert recovery(0.9, 0.6, 0.5) == pytest.approx(-1 / 3)
    assert recovery(0.9, 0.9, 0.95) is None and recovery(0.6, 0.7, 0.8) is None


def test_a_recovery_that_says_nothing_is_asked_for_all_the_same() -> None:
    sets = {name: UtilityScores(auc=Statistic(auc)) for name, auc in (("real", 0.9), ("subset", 0.9), ("made", 0.8))}
    assert np.isnan(with_recovery(sets, "made", "subset").recovery)
    assert "recovery" in with_recovery(sets, "made", "subset").to_json() and "recovery" not in sets["made"].to_json()


def test_scores_come_back_from_json_in_the_order_of_reports() -> None:
    content = SCORES.to_json()
    scores = ["accuracy", "balanced_accuracy", "auc", "recall", "confusion"]
    assert list(content) == [*scores, "folds", "seeds", "n_train", "n_test", "updates", "max_side", "recovery"]
    assert content["recovery"] == 0.25 and content["auc"] == {"mean": 0.8, "std": 0.1, "ci95": [0.5, 0.9]}
    assert utility_from_json({"image": {"convnet": {"real": content}}}) == {"image": {"convnet": {"real": SCORES}}}


def test_what_is_not_there_is_none() -> None:
    scores = from_json(UtilityScores, {"auc": {"mean": 0.7}, "paper": {"auc": 0.9}}, "x")
    assert scores == UtilityScores(auc=Statistic(0.7)) and "recovery" not in scores.to_json()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "the utility section is not an object"),
        ({"image": 3}, "the utility section, image is not an object but '3'"),
        ({"image": {"convnet": {"real": None}}}, "the utility section, image, convnet, real is not an object"),
        (
            {"image": {"convnet": {"real": {"auc": {"mean": "high"}}}}},
            "real, auc, mean is not a number but 'high'",
        ),
        ({"image": {"convnet": {"real": {"seeds": 1.5}}}}, "real, seeds is not a whole number"),
        (
            {"image": {"convnet": {"real": {"auc": {"mean": 1, "ci95": [1]}}}}},
            "ci95 is not a list of the right length",
        ),
        ({"image": {"convnet": {"real": {"confusion": {"counts": [[1, "2"]]}}}}}, "counts is not a whole number"),
        ({"image": {"convnet": {"real": {"confusion": {"counts": [[1, 2]]}}}}}, "is no square of their number"),
    ],
)
def test_another_form_is_refused_in_one_sentence(content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        utility_from_json(content)
