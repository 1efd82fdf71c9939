from __future__ import annotations

import numpy as np
import pytest

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.comparison import class_mean, matched_rows

NAMES = ("a", "b", "rare")


def labelled(labels: list[int] | np.ndarray, rows: np.ndarray | None = None) -> Samples:
    labels = np.asarray(labels, dtype=np.int64)
    values = np.zeros((len(labels), 1, 1, 1), np.uint8)
    return Samples(values, labels, NAMES, np.arange(len(labels)) if rows is None else rows)


def test_all_three_have_the_same_labels_and_no_sample_twice() -> None:
    real, synthetic = labelled(np.repeat([0, 1, 2], (20, 11, 4))), labelled(np.repeat([0, 1, 2], (5, 30, 1)))
    first, second, made = matched_rows(real, synthetic, seed=3)
    expected = [0] * 5 + [1] * 5 + [2]
    for labels, rows in ((real.labels, first), (real.labels, second), (synthetic.labels, made)):
        assert labels[rows].tolist() == expected
    assert len({*first, *second}) == 22 and len({*made}) == 11


def test_the_seed_chooses_the_halves() -> None:
    real, synthetic = labelled(np.arange(60) % 2), labelled(np.arange(60) % 2)
    drawn = [np.concatenate(matched_rows(real, synthetic, seed=seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert set(drawn[0][:30]) != set(drawn[2][:30])


@pytest.mark.parametrize("by_person", [False, True])
def test_nobody_and_no_file_is_in_both_halves(by_person: bool) -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 40, 300)
    # Files have one label each, subjects several.
    labels = rng.integers(0, 2, 300) if by_person else group % 2
    real = labelled(labels) if by_person else labelled(labels, rows=group)
    for seed in range(5):
        first, second, _ = matched_rows(real, labelled(np.arange(400) % 2), group if by_person else None, seed)
        assert not set(group[first]) & set(group[second])
        assert len(first) == len(second) > 110  # of 150: halves are about even


def test_a_label_of_one_person_is_left_out() -> None:
    real = labelled([0, 0, 0, 0, 2, 2])
    subjects = np.array([1, 2, 3, 4, 9, 9])
    first, second, made = matched_rows(real, labelled([0, 0, 2, 2]), subjects)
    assert set(real.labels[first]) == set(real.labels[second]) == {0} and len(made) == 2


def test_the_rarest_label_is_split_before_its_subjects_are_taken() -> None:
    # Two subjects have the rare label and the common one; everybody else only the common one.
    real = labelled([0] * 12 + [2, 2])
    subjects = np.array([*range(12), 3, 7])
    for seed in range(10):
        first, second, _ = matched_rows(real, labelled([0] * 9 + [2] * 9), subjects, seed)
        assert {*real.labels[first]} == {*real.labels[second]} == {0, 2}


def test_large_sets_are_cut_and_rare_labels_stay() -> None:
    real = labelled(np.repeat([0, 1, 2], (4000, 1000, 2)))
    first, second, made = matched_rows(real, real, limit=100)
    assert len(first) == len(second) == len(made) <= 101
    assert np.bincount(real.labels[made]).tolist() == [79, 19, 1]


def test_class_mean_by_hand() -> None:
    labels = np.array([0, 1, 1, 2, 2, 2])
    a = np.arange(6.0)[:, None]

    def distance(x: np.ndarray, y: np.ndarray) -> float:
        return float((y - x).sum())

    assert class_mean(distance, a, a + np.array([[9], [1], [1], [2], [2], [2]]), labels) == pytest.approx((2 + 6) / 2)
    with pytest.raises(UserError, match="a class with at least 2 samples"):
        class_mean(distance, a[:3], a[:3], np.arange(3))
