from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmgen.data.labels import align_labels
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.training_sets import four_sets, random_subset
from mmgen.evaluation.utility import UtilityConfig

CONFIG = UtilityConfig(seeds=3, max_side=32)


def samples(per_class: tuple[int, ...], names: tuple[str, ...], seed: int = 0, side: int = 32) -> Samples:
    labels = np.repeat(np.arange(len(per_class)), per_class)
    values = np.random.default_rng(seed).integers(0, 256, (len(labels), 1, side, side), dtype=np.uint8)
    return Samples(values, labels, names, 100 + np.arange(len(labels)))


REAL = samples((20, 12, 4), ("Akne", "nævus", "δ"))


def test_the_four_sets() -> None:
    made = samples((5, 5, 5), REAL.label_names, seed=1)
    sets = four_sets(REAL, made, CONFIG)
    assert list(sets) == ["real", "synthetic", "real+synthetic", "random_subset"]
    assert sets["real"] is REAL
    both = sets["real+synthetic"]
    assert np.array_equal(both.values, np.concatenate([REAL.values, made.values]))
    assert both.values.dtype == np.uint8 and np.bincount(both.labels).tolist() == [25, 17, 9]
    assert len(np.unique(both.rows)) == len(both)  # nothing made is taken for a segment of a real file
    subsets = sets["random_subset"]
    assert [np.bincount(subset.labels).tolist() for subset in subsets] == [[5, 5, 4]] * 3
    assert len({tuple(subset.rows) for subset in subsets}) == 3
    again = four_sets(REAL, made, CONFIG, seed=1)["random_subset"]
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
    subset = four_sets(REAL, made, CONFIG)["random_subset"][0]
    assert np.bincount(subset.labels).tolist() == [3, 4, 2]


def test_classes_that_one_side_lacks_are_named() -> None:
    with pytest.raises(UserError, match=r"no synthetic samples of δ; .*--label-map"):
        four_sets(REAL, samples((2, 2), ("akne", "nævus")), CONFIG)
    with pytest.raises(UserError, match=r"no real samples of Wart; .*--label-map"):
        four_sets(REAL, samples((2, 2, 2, 2), ("akne", "nævus", "δ", "Wart")), CONFIG)


def test_samples_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match=r"\(1, 32, 32\), synthetic ones \(1, 48, 48\)"):
        four_sets(REAL, samples((2, 2, 2), REAL.label_names, side=48), CONFIG)


def test_large_samples_are_reduced_first() -> None:
    real, made = (samples((3, 3), ("a", "b"), seed, side=64) for seed in (0, 1))
    sets = four_sets(real, made, CONFIG)
    assert sets["real+synthetic"].values.shape == (12, 1, 32, 32)
    assert sets["random_subset"][0].values.shape[1:] == (1, 32, 32)


def test_read_back_sounds_join_decoded_ones() -> None:
    made = samples((2, 2, 2), REAL.label_names, seed=1)
    sounds = replace(REAL, values=REAL.values.astype(np.float16)), replace(made, values=made.values.astype(np.float32))
    assert four_sets(*sounds, CONFIG)["real+synthetic"].values.dtype == np.float16
