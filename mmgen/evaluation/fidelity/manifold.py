"""Precision, recall, density and coverage: where samples lie among the nearest neighbours of others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmgen.errors import UserError

NEIGHBOURS = 5


def manifold_measures(
    real: np.ndarray, synthetic: np.ndarray, k: int = NEIGHBOURS, chunk: int = 1024
) -> dict[str, float]:
    """{"precision", "recall", "density", "coverage"} of features (N, F) and (M, F), higher is better.

    Every sample has a ball that reaches to its ``k``-th nearest neighbour of its own set (itself not counted).

    * precision, 0..1: share of synthetic samples in the ball of any real one (Kynkäänniemi et al. 2019, equation 2).
    * recall, 0..1: share of real samples in the ball of any synthetic one.
    * density, 0 and up: real balls that a synthetic sample lies in, on average, over ``k`` (Naeem et al. 2020, equation
      4); unlike precision it gives little weight to the large ball of an outlier.
    * coverage, 0..1: share of real samples that have a synthetic one in their ball.

    Real against real gives about 1 for density, and for coverage about 1 - 2^-k with equal counts. The search is exact,
    in float64; ``chunk`` samples of either side are compared at a time, which bounds the memory.

    Raises:
        UserError: fewer than ``k`` + 1 samples on a side.
    """
    if min(len(real), len(synthetic)) < k + 1:
        raise UserError(
            f"Precision, recall, density and coverage need at least {k + 1} samples on either side, "
            f"got {len(real)} and {len(synthetic)}."
        )
    centre = real.mean(axis=0, dtype=np.float64)  # distances stay, and lose fewer digits
    real, synthetic = real - centre, synthetic - centre
    real_reach, synthetic_reach = _reach(real, k, chunk), _reach(synthetic, k, chunk)
    balls = np.zeros(len(synthetic), dtype=np.int64)
    recalled, covered = np.zeros(len(real), dtype=bool), np.zeros(len(real), dtype=bool)
    for rows, columns, squares in _blocks(real, synthetic, chunk):
        in_real = squares <= real_reach[rows, None]
        balls[columns] += in_real.sum(axis=0)
        covered[rows] |= in_real.any(axis=1)  # its nearest synthetic sample is in the ball where any is
        recalled[rows] |= (squares <= synthetic_reach[columns]).any(axis=1)
    return {
        "precision": float((balls > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(balls.mean() / k),
        "coverage": float(covered.mean()),
    }


def _reach(x: np.ndarray, k: int, chunk: int) -> np.ndarray:
    """(N,) squared distance of every sample to the ``k``-th nearest other one."""
    nearest = np.full((len(x), k), np.inf)
    for rows, columns, squares in _blocks(x, x, chunk):
        if rows == columns:
            np.fill_diagonal(squares, np.inf)
        candidates = np.concatenate([nearest[rows], squares], axis=1)
        nearest[rows] = np.partition(candidates, k - 1, axis=1)[:, :k]
    return nearest.max(axis=1)


def _blocks(a: np.ndarray, b: np.ndarray, chunk: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Squared distances of ``a[rows]`` to ``b[columns]``, block by block: (rows, columns, (n, m))."""
    norms_a, norms_b = (np.einsum("ij,ij->i", x, x) for x in (a, b))
    for i in range(0, len(a), chunk):
        rows = slice(i, i + chunk)
        for j in range(0, len(b), chunk):
            columns = slice(j, j + chunk)
            sums = norms_a[rows, None] + norms_b[columns]
            squares = sums - 2 * (a[rows] @ b[columns].T)
            # Of copies only rounding is left, which must not decide whether they lie in a ball of no size.
            squares[squares < 1e-13 * sums] = 0.0
            yield rows, columns, squares
