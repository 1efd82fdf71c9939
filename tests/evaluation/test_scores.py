"""Scores as dataclasses, and what is refused when they are read back."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from mmgen.errors import UserError
from mmgen.evaluation.json_fields import Fields
from mmgen.evaluation.scores import Confusion, Statistic, UtilityScores, recovery, utility_from_json

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
    None,
    True,
)


def test_intervals_are_students_and_end_at_the_scale() -> None:
    values = [0.5, 0.6, 0.7]
    expected = stats.t.interval(0.95, 2, 0.6, stats.sem(values))
    assert Statistic.of(values).ci95 == pytest.approx(expected)
    assert Statistic.of([0.9, 1.0]).ci95[1] == 1.0 and Statistic.of([0.0, 0.1]).ci95[0] == 0.0
    assert Statistic.of([0.7]) == Statistic(0.7, 0.0) and Statistic.of(values, interval=False).ci95 is None


def test_recovery_is_the_share_of_the_way() -> None:
    assert recovery(0.9, 0.6, 0.75) == pytest.approx(0.5)
    assert recovery(0.9, 0.6, 0.5) == pytest.approx(-1 / 3)
    assert recovery(0.9, 0.9, 0.95) is None and recovery(0.6, 0.7, 0.8) is None


def test_scores_come_back_from_json_in_the_order_of_reports() -> None:
    content = SCORES.to_json()
    scores = ["accuracy", "balanced_accuracy", "auc", "recall", "confusion"]
    assert list(content) == [*scores, "folds", "seeds", "n_train", "n_test", "updates", "max_side", "recovery"]
    assert content["recovery"] is None and content["auc"] == {"mean": 0.8, "std": 0.1, "ci95": [0.5, 0.9]}
    assert utility_from_json({"image": {"convnet": {"real": content}}}) == {"image": {"convnet": {"real": SCORES}}}


def test_what_is_not_there_is_none() -> None:
    scores = UtilityScores.from_json(Fields({"auc": {"mean": 0.7}, "paper": {"auc": 0.9}}, "x"))
    assert scores == UtilityScores(auc=Statistic(0.7)) and "recovery" not in scores.to_json()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "the utility section is not an object"),
        ({"image": 3}, "the utility section, image is not an object but '3'"),
        ({"image": {"convnet": {"real": None}}}, "the utility section, image, convnet, real is not an object"),
        (
            {"image": {"convnet": {"real": {"auc": {"mean": "high"}}}}},
            "'mean' of .*, auc is not a number but 'high'",
        ),
        ({"image": {"convnet": {"real": {"seeds": 1.5}}}}, "'seeds' of .* is not a whole number"),
        ({"image": {"convnet": {"real": {"auc": {"mean": 1, "ci95": [1]}}}}}, "'ci95' of .* is not a pair of numbers"),
        (
            {"image": {"convnet": {"real": {"confusion": {"labels": ["a"], "counts": [[1, 2]]}}}}},
            "'counts' of .* is not a square of the labels' size",
        ),
    ],
)
def test_another_form_is_refused_in_one_sentence(content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        utility_from_json(content)
