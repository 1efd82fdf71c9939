"""Nearest neighbours: exact whatever the chunks are, and copies are found."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mmgen.evaluation import neighbours
from mmgen.evaluation.neighbours import nearest, nearest_both, nearest_other


def images(count: int, seed: int, shape: tuple[int, ...] = (3, 24, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def brute_force(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    flat = [x.reshape(len(x), -1).astype(np.float64) for x in (queries, references)]
    return np.sqrt(((flat[0][:, None] - flat[1][None]) ** 2).mean(2))


class OnlySlices:
    """References that are read in slices and nothing else; remembers the largest one."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype, self.largest = values, values.shape, values.dtype, 0

    def __getitem__(self, part: slice) -> np.ndarray:
        assert isinstance(part, slice)
        found = self.values[part]
        self.largest = max(self.largest, len(found))
        return found


@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32])
def test_equals_brute_force(kind: type) -> None:
    queries, references = images(13, 0).astype(kind), images(41, 1).astype(kind)
    expected = brute_force(queries, references)
    distances, rows = nearest(queries, references, count=4, chunk=7)
    assert distances.dtype == np.float32 and rows.dtype == np.int64
    np.testing.assert_array_equal(rows, np.argsort(expected, 1, kind="stable")[:, :4])
    np.testing.assert_allclose(distances, np.sort(expected, 1)[:, :4], rtol=1e-6)


@pytest.mark.parametrize("unit", [np.uint8(1), np.float32(1 / 3)])
def test_a_copy_is_told_from_near_copies(unit: np.generic) -> None:
    # They differ by one grey level in two of 49,152 values: their squares differ by less than float32 resolves.
    references = np.repeat(images(1, 1, (3, 128, 128)) // 2, 24, axis=0)
    references.reshape(24, -1)[np.arange(24), np.arange(24) * 2000] += 1
    references = references * unit
    distances, rows = nearest(references[::-1], references, count=2)
    assert rows[:, 0].tolist() == list(range(24))[::-1]
    assert (distances[:, 0] == 0).all()
    np.testing.assert_allclose(distances[:, 1], unit * np.sqrt(2 / (3 * 128 * 128)), rtol=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_identical_samples_have_distance_exactly_zero(kind: type) -> None:
    samples = images(9, 2).astype(kind) / kind(3) if kind is np.float32 else images(9, 2)
    distances, rows = nearest(samples, samples)
    assert (distances == 0).all() and rows[:, 0].tolist() == list(range(9))


def test_ties_go_to_the_first_and_chunks_change_nothing() -> None:
    queries, references = images(11, 3), images(30, 4)
    references[17:20] = references[2]
    queries[0] = references[2]
    whole = nearest(queries, references, count=5)
    assert whole[1][0, :4].tolist() == [2, 17, 18, 19]
    for chunk in (1, 4, 18, 29, 1000):
        for one, other in zip(nearest(queries, references, count=5, chunk=chunk), whole, strict=True):
            np.testing.assert_array_equal(one, other)


def test_mirror_images_count_only_when_asked_for() -> None:
    references = images(6, 5)
    queries = references[[3, 1], :, :, ::-1]
    assert (nearest(queries, references)[0] > 50).all()
    distances, rows = nearest(queries, references, mirrored=True)
    assert (distances == 0).all() and rows[:, 0].tolist() == [3, 1]
    assert nearest(references, references, mirrored=True)[0].max() == 0


def test_references_are_read_in_slices_and_memory_is_bounded() -> None:
    references = OnlySlices(np.zeros((2000, 3, 32, 32), np.uint8))
    queries = images(40, 6, (3, 32, 32))
    tracemalloc.start()
    try:
        nearest(queries, references, chunk=50)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert references.largest == 50
    # As float32 the references alone would take 25 MB.
    assert peak < 2e6


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 24, 20\) cannot be compared with \(1, 24, 20\)"):
        nearest(images(2, 0), images(2, 0, (1, 24, 20)))
    with pytest.raises(ValueError, match="2 references, too few for 3"):
        nearest(images(2, 0), images(2, 0), count=3)


@pytest.mark.parametrize("kind", [np.uint8, np.float16])
@pytest.mark.parametrize("mirrored", [False, True])
def test_both_directions_equal_two_searches(kind: type, mirrored: bool) -> None:
    first, second = images(23, 10).astype(kind), images(17, 11).astype(kind)
    second[3] = first[20, :, :, ::-1]
    found = nearest_both(first, second, chunk=5, mirrored=mirrored)
    for side, one, other in zip(found, (first, second), (second, first), strict=True):
        distances, rows = nearest(one, other, mirrored=mirrored)
        np.testing.assert_array_equal(side.distances, distances[:, 0])
        np.testing.assert_array_equal(side.rows, rows[:, 0])
    assert (found[0].distances[20] == 0) == mirrored


@pytest.mark.parametrize("kind", [np.uint8, np.float16])
@pytest.mark.parametrize("owners", [np.arange(41) // 6, np.arange(41) % 2, np.arange(41)])
def test_the_nearest_of_another_owner_equals_brute_force(kind: type, owners: np.ndarray) -> None:
    """Blocks of one owner, of two, and records of nobody else."""
    queries, references = images(23, 10).astype(kind), images(41, 11).astype(kind)
    references[3] = references[4] = queries[20]
    expected = brute_force(queries, references)
    names = np.array([f"person {owner}" for owner in owners])
    for chunk in (3, 7, 1000):
        found = nearest_both(queries, references, chunk, owners=names)[0]
        np.testing.assert_array_equal(found.rows, expected.argmin(1))
        others = np.where(owners[found.rows][:, None] == owners, np.inf, expected).min(1)
        np.testing.assert_allclose(found.of_another, others, rtol=1e-6)
        np.testing.assert_array_equal(found.by_ratio(), expected.min(1) * 3 < others)
    assert found.by_ratio()[20] == (owners[3] == owners[4])
    with pytest.raises(ValueError, match="one owner's"):
        nearest_both(queries, references, owners=np.zeros(41))


def test_nearest_other_record_is_never_the_record_itself() -> None:
    records = images(19, 12)
    records[11] = records[4]
    expected = brute_force(records, records)
    np.fill_diagonal(expected, np.inf)
    found = nearest_other(records, chunk=6)
    np.testing.assert_array_equal(found.rows, expected.argmin(1))
    np.testing.assert_allclose(found.distances, expected.min(1), rtol=1e-6)
    assert found.distances[11] == found.distances[4] == 0
    with pytest.raises(ValueError, match="at least two"):
        nearest_other(records[:1])


@pytest.mark.parametrize("multiply", [neighbours._through_integers, neighbours._through_floats])
def test_products_of_bytes_are_exact_at_the_extremes(multiply: neighbours.Multiply) -> None:
    # 150,528 values of -128: more than 2^31 in sum, so that neither 32 bits nor float32 could hold it at once.
    extremes = np.full((3, 3 * 224 * 224), -128, np.int8)
    extremes[1, ::2], extremes[2, 5:] = 127, 1
    exact = extremes.astype(np.float64) @ extremes.astype(np.float64).T
    np.testing.assert_array_equal(multiply(extremes, extremes), exact)
