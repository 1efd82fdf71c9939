from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmgen.data.labels import align_labels
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.training_sets import fold_of, four_sets, hold_out, random_subset, reduced
from mmgen.models.modality import Modality

SIDE, DRAWS = 32, 3


def samples(per_class: tuple[int, ...], names: tuple[str, ...], seed: int = 0, side: int = 32) -> Samples:
    labels = np.repeat(np.arange(len(per_class)), per_class)
    values = np.random.default_rng(seed).integers(0, 256, (len(labels), 1, side, side), dtype=np.uint8)
    return Samples(values, labels, names, 100 + np.arange(len(labels)))


REAL = samples((20, 12, 4), ("Akne", "nævus", "δ"))


def test_the_four_sets() -> None:
    made = samples((5, 5, 5), REAL.label_names, seed=1)
    sets = four_sets(REAL, made, SIDE, DRAWS)
    assert list(sets) == ["real", "synthetic", "real+synthetic", "random_subset"]
    assert sets["real"] is REAL
    both = sets["real+synthetic"]
    assert np.array_equal(both.values, np.concatenate([REAL.values, made.values]))
    assert both.values.dtype == np.uint8 and np.bincount(both.labels).tolist() == [25, 17, 9]
    assert len(np.unique(both.rows)) == len(both)  # nothing made is taken for a segment of a real file
    subsets = sets["random_subset"]
    assert [np.bincount(subset.labels).tolist() for subset in subsets] == [[5, 5, 4]] * 3
    assert len({tuple(subset.rows) for subset in subsets}) == 3
    again = four_sets(REAL, made, SIDE, DRAWS, seed=1)["random_subset"]
    assert np.array_equal(again[0].rows, subsets[1].rows)


def test_a_subset_of_everything_is_everything() -> None:
    """Then a classifier trained on it is the one trained on all real data, to the bit."""
    subset = random_subset(REAL, (30, 12, 4), seed=3)
    assert np.array_equal(subset.values, REAL.values) and np.array_equal(subset.rows, REAL.rows)


def test_labels_in_another_order_and_spelling_are_the_same_ones() -> None:
    made = samples((2, 3, 4, 0), ("Δ", "AKNE", " Nævus ", "unused"), seed=1)
    aligned = align_labels(made, REAL)
    assert aligned.label_names == REAL.label_names
    assert np.bincount(aligned.labels).tolist() == [3, 4, 2]
    before = {made.label_names[label].strip().casefold() for label in made.labels[:2]}
    assert before == {REAL.label_names[label].casefold() for label in aligned.labels[:2]}
    assert np.array_equal(aligned.values, made.values)
    subset = four_sets(REAL, made, SIDE, DRAWS)["random_subset"][0]
    assert np.bincount(subset.labels).tolist() == [3, 4, 2]


def test_classes_that_one_side_lacks_are_named() -> None:
    with pytest.raises(UserError, match=r"no synthetic samples of δ; .*--label-map"):
        four_sets(REAL, samples((2, 2), ("akne", "nævus")), SIDE, DRAWS)
    with pytest.raises(UserError, match=r"no real samples of Wart; .*--label-map"):
        four_sets(REAL, samples((2, 2, 2, 2), ("akne", "nævus", "δ", "Wart")), SIDE, DRAWS)


def test_samples_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match=r"\(1, 32, 32\), synthetic ones \(1, 48, 48\)"):
        four_sets(REAL, samples((2, 2, 2), REAL.label_names, side=48), SIDE, DRAWS)


def test_large_samples_are_reduced_first() -> None:
    real, made = (samples((3, 3), ("a", "b"), seed, side=64) for seed in (0, 1))
    sets = four_sets(real, made, SIDE, DRAWS)
    assert sets["real+synthetic"].values.shape == (12, 1, 32, 32)
    assert sets["random_subset"][0].values.shape[1:] == (1, 32, 32)


def test_read_back_sounds_join_decoded_ones() -> None:
    made = samples((2, 2, 2), REAL.label_names, seed=1)
    sounds = replace(REAL, values=REAL.values.astype(np.float16)), replace(made, values=made.values.astype(np.float32))
    assert four_sets(*sounds, SIDE, DRAWS)["real+synthetic"].values.dtype == np.float16


# -- sizes and parts


def test_larger_samples_are_reduced_in_their_own_type() -> None:
    modality = Modality("audio", (1, 100, 50), (10, 10), (-6.0,), (2.0,))
    values = np.random.default_rng(0).normal(-6, 2, (300, 1, 100, 50)).astype(np.float16)
    samples = Samples(values, np.arange(300) % 2, ("a", "b"), np.arange(300))
    small = reduced(samples, 25)
    assert small.values.shape[2:] in {(25, 12), (25, 13)} and small.values.dtype == np.float16
    assert abs(float(small.values.mean(dtype=np.float64) - values.mean(dtype=np.float64))) < 0.01
    # Antialiased: the deviation of noise falls with the root of the pixels averaged.
    assert float(small.values.std(dtype=np.float64)) < 0.35 * modality.std[0]
    assert reduced(samples, 100) is samples and reduced(samples, 400) is samples  # never enlarged
    assert np.array_equal(small.labels, samples.labels) and np.array_equal(small.rows, samples.rows)


def test_reduced_bytes_are_rounded() -> None:
    values = np.full((2, 3, 64, 64), 255, np.uint8)
    values[1] = 101
    values[1, :, ::2, ::2] = 100  # the average is 100.75
    small = reduced(Samples(values, np.arange(2), ("a", "b"), np.arange(2)), 32).values
    assert small.dtype == np.uint8 and small.shape == (2, 3, 32, 32)
    assert (small[0] == 255).all() and (small[1] == 101).all()


def segments(files: tuple[int, ...], of_each: int = 3) -> Samples:
    """So many files of each label, each of three segments."""
    labels = np.repeat(np.arange(len(files)), files)
    rows = np.repeat(np.arange(len(labels)), of_each)
    return Samples(np.zeros((len(rows), 1, 2, 2)), labels[rows], tuple("abc"[: len(files)]), rows + 50)


def test_files_are_held_out_whole_by_label() -> None:
    samples = segments((40, 20))
    kept, held = hold_out(samples, 0.2, seed=0)
    assert held is not None
    assert not set(kept.rows) & set(held.rows) and set(kept.rows) | set(held.rows) == set(samples.rows)
    assert len(kept) + len(held) == len(samples)
    assert [len(set(held.rows[held.labels == c])) for c in (0, 1)] == [8, 4]
    again, other = (hold_out(samples, 0.2, seed)[1] for seed in (0, 1))
    assert again is not None and np.array_equal(again.rows, held.rows)
    assert other is not None and not np.array_equal(other.rows, held.rows)


@pytest.mark.parametrize(("files", "share"), [((40, 17), 0.2), ((40, 40), 0.0), ((3, 3), 0.5)])
def test_of_small_sets_nothing_is_held_out(files: tuple[int, ...], share: float) -> None:
    samples = segments(files)
    kept, held = hold_out(samples, share, seed=0)
    assert kept is samples and held is None


def test_subjects_are_in_one_fold_and_labels_in_all() -> None:
    real = samples((40, 23), ("a", "b"))
    subjects = np.arange(63) // 3  # the fourteenth has samples of both labels
    part = fold_of(real, subjects, 4)
    assert all(len(set(part[subjects == person])) == 1 for person in subjects)
    assert all(set(part[real.labels == label]) == set(range(4)) for label in (0, 1))
    sizes = np.bincount(part)
    assert sizes.sum() == 63 and sizes.max() - sizes.min() <= 6
    assert np.array_equal(part, fold_of(real, subjects, 4)) and not np.array_equal(
        part, fold_of(real, subjects, 4, seed=1)
    )


def test_without_subjects_files_stay_whole() -> None:
    files = samples((10, 10), ("a", "b"))
    segments = files.select(np.repeat(np.arange(20), 3))
    part = fold_of(segments, None, 5)
    assert np.bincount(part).tolist() == [12] * 5
    assert all(len(set(part[segments.rows == row])) == 1 for row in files.rows)


def test_too_many_folds_are_refused() -> None:
    with pytest.raises(UserError, match=r"label 'b' is in 3 of 4 folds only.*take fewer folds"):
        fold_of(samples((9, 3), ("a", "b")), None, 4)
    with pytest.raises(UserError, match="at least 2 folds, got 0"):
        fold_of(samples((9, 3), ("a", "b")), None, 0)
