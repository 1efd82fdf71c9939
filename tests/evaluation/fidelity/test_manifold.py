from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from prdc import compute_prdc

from mmgen.errors import UserError
from mmgen.evaluation.fidelity.manifold import manifold_measures


def features(count: int, seed: int, shift: float = 0.0, dimensions: int = 8) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, dimensions)) + shift).astype(np.float32)


@pytest.mark.parametrize(("n", "m", "shift", "k"), [(150, 150, 0.0, 5), (120, 90, 0.7, 3), (60, 140, 1.5, 1)])
def test_they_are_those_of_the_reference(n: int, m: int, shift: float, k: int) -> None:
    real, synthetic = features(n, 0), features(m, 1, shift)
    expected = compute_prdc(real, synthetic, k)
    for chunk in (17, 1024):
        found = manifold_measures(real, synthetic, k, chunk)
        assert list(found) == ["precision", "recall", "density", "coverage"]
        assert found == pytest.approx(expected, abs=1e-12)


def test_by_hand() -> None:
    real, synthetic = np.array([[0.0], [1.0], [5.0]]), np.array([[0.5], [1.5], [20.0]])
    # Real balls, k = 1: [-1, 1], [0, 2], [1, 9]; synthetic ones: [-0.5, 1.5], [0.5, 2.5], [1.5, 38.5].
    # 0.5 lies in two real balls, 1.5 in two, 20 in none; all of the real are in a synthetic ball.
    found = manifold_measures(real, synthetic, k=1)
    assert found == pytest.approx({"precision": 2 / 3, "recall": 1.0, "density": 4 / 3, "coverage": 1.0})


def test_real_against_real_is_near_the_stated_values() -> None:
    found = [manifold_measures(features(200, s), features(200, 100 + s)) for s in range(10)]
    mean = {name: np.mean([one[name] for one in found]) for name in found[0]}
    assert mean["density"] == pytest.approx(1.0, abs=0.05)
    assert mean["coverage"] == pytest.approx(1 - 2**-5, abs=0.01)
    assert mean["precision"] == pytest.approx(mean["recall"], abs=0.03)


def test_far_away_there_is_nothing() -> None:
    found = manifold_measures(features(50, 0), features(50, 1, shift=100))
    assert found == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}


def test_dropped_modes_cost_recall_and_coverage_but_no_precision() -> None:
    centres = np.repeat(np.arange(4), 80)[:, None] * np.float32(50)
    real, other = features(320, 0) + centres, features(320, 1) + centres
    found = [manifold_measures(real, other[: 80 * modes]) for modes in (4, 3, 2, 1)]
    for name in ("recall", "coverage"):
        assert all(many[name] > few[name] + 0.2 for many, few in pairwise(found)), (name, found)
        assert found[-1][name] < 0.26 < 0.8 < found[0][name]
    assert min(one["precision"] for one in found) > 0.8


def test_copies_are_in_balls_of_no_size() -> None:
    real = features(41, 0, dimensions=300)
    copies = np.repeat(real[:5], 9, axis=0)
    for chunk in (17, 23, 1024):  # rounding differs with the size of a block
        found = manifold_measures(real, copies, k=5, chunk=chunk)
        assert found["precision"] == 1.0
        assert found["recall"] == pytest.approx(5 / 41)  # only what is copied


def test_memory_is_bounded_by_the_chunk() -> None:
    a, b = features(3000, 0, dimensions=4), features(3000, 1, dimensions=4)
    tracemalloc.start()
    manifold_measures(a, b, chunk=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6 < 3000 * 3000 * 8 / 10


def test_five_samples_have_no_fifth_neighbour() -> None:
    with pytest.raises(UserError, match="at least 6 samples on either side, got 9 and 5"):
        manifold_measures(features(9, 0), features(5, 1))
