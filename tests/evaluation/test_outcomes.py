from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from mmgen.evaluation.outcomes import Outcome, paired_differences
from mmgen.evaluation.scores import Statistic, UtilityScores

LABELS = np.repeat([0, 1], 10)


def run(right: int) -> list[Outcome]:
    """A training whose AUC is ``right / 10``: so many positives stand above all negatives, the others below."""
    second = np.where(LABELS == 1, np.where(np.arange(20) < 10 + right, 0.9, 0.1), 0.5)
    return [Outcome(np.stack([1 - second, second], 1), LABELS)]


def test_differences_are_paired_by_seed() -> None:
    """Seeds differ by much more than the sets do."""
    runs = {
        "real": [run(5), run(7), run(10)],
        "random_subset": [run(3), run(4), run(8)],
        "synthetic": [run(4), run(6), run(9)],
    }
    found = paired_differences(runs, set())
    below, above = found["synthetic"]["hard_label_recovery"], found["synthetic"]["improvement_over_random"]
    assert below.mean == pytest.approx(0.1) and below.std < 1e-9
    assert above.mean == pytest.approx(4 / 30) and above.std == pytest.approx(np.std([0.1, 0.2, 0.1], ddof=1))
    half = student.ppf(0.975, 2) * above.std / 3**0.5
    assert above.ci95 == pytest.approx((4 / 30 - half, 4 / 30 + half)) and above.ci95[0] < 0
    assert found["real"] == found["random_subset"] == {}
    UtilityScores(**found["synthetic"]).to_json()


def test_a_set_that_loses_has_a_negative_improvement() -> None:
    found = paired_differences({"random_subset": [run(8), run(9)], "synthetic": [run(3), run(1)]}, set())
    assert found["synthetic"]["improvement_over_random"].mean == pytest.approx(-0.65)
    assert "hard_label_recovery" not in found["synthetic"]


def test_sizes_are_compared_with_their_own() -> None:
    runs = {"real": [run(9)], "random_subset@2": [run(2)], "random_subset@5": [run(6)], "synthetic@5": [run(8)]}
    found = paired_differences(runs, set())
    assert found["synthetic@5"]["improvement_over_random"].mean == pytest.approx(0.2)
    assert found["synthetic@5"]["hard_label_recovery"].mean == pytest.approx(0.1)


def test_soft_labels_are_no_hard_label_recovery() -> None:
    runs = {"real": [run(9)], "random_subset": [run(2)], "synthetic": [run(8)]}
    assert set(paired_differences(runs, {"synthetic", "random_subset"})["synthetic"]) == {"improvement_over_random"}


def test_the_interval_of_a_difference_goes_below_zero() -> None:
    assert Statistic.of([-0.5, 0.4, 0.1], least=-1.0).ci95[0] == -1.0 and Statistic.of([0.0, 0.4, 0.1]).ci95[0] == 0.0
