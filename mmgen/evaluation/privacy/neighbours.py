"""Nearest neighbours among training samples: does a synthetic set hold copies?"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

# Integers of up to 2^7 give sums of this many products that float32 holds exactly, in whatever order they are added.
_BLOCK = 1024
COPY_DISTANCE = 1.0


class Sliceable(Protocol):
    """What is read in slices of its first axis: an array, a memory map, the values of :class:`Samples`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, part: slice) -> np.ndarray: ...


def nearest(
    queries: Sliceable, references: Sliceable, count: int = 1, chunk: int = 512, mirrored: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest references of every query, nearest first; of equally near ones the first.

    The search is exact. Arrays of bytes are multiplied in float32 without rounding, others in float64; the distances of
    those found are computed from the differences, so that a sample that is the same has distance 0.

    Args:
        queries: (N, ...) samples, any number type.
        references: (M, ...) samples of the same shape.
        count: neighbours a query, at most M.
        chunk: samples of either side that are held at a time; it bounds the memory and changes no result.
        mirrored: a query is also compared as its mirror image (last axis reversed); the nearer one counts.

    Returns:
        (N, count) float32 distances: root mean squared difference of the elements, in their unit (0..255 for images);
        (N, count) int64 rows of the references.

    Raises:
        ValueError: samples of different shapes, or fewer references than ``count``.
    """
    if queries.shape[1:] != references.shape[1:]:
        raise ValueError(f"Samples of shape {queries.shape[1:]} cannot be compared with {references.shape[1:]}.")
    if not 1 <= count <= references.shape[0]:
        raise ValueError(f"There are {references.shape[0]} references, too few for {count} neighbours.")
    distances, rows = (np.empty((queries.shape[0], count), kind) for kind in (np.float32, np.int64))
    for start in range(0, queries.shape[0], chunk):
        part = slice(start, start + chunk)
        distances[part], rows[part] = _nearest_of(np.asarray(queries[part]), references, count, chunk, mirrored)
    return distances, rows


def nearest_entry(synthetic: Sliceable, train: Sliceable, test: Sliceable) -> dict[str, Any]:
    """Report entry: median distance of synthetic to training images (N, C, H, W), beside that of test to training.

    ``exact_copies`` counts synthetic images that are less than one grey level from a training image. Neither small nor
    large is better: much smaller than real against real speaks of copies, much larger of images that look wrong.
    """
    to_train, _ = nearest(synthetic, train)
    real, _ = nearest(test, train)
    return {
        "value": float(np.median(to_train)),
        "real_vs_real": float(np.median(real)),
        "better": None,
        "exact_copies": int((to_train < COPY_DISTANCE).sum()),
    }


def _nearest_of(
    queries: np.ndarray, references: Sliceable, count: int, chunk: int, mirrored: bool
) -> tuple[np.ndarray, np.ndarray]:
    variants = [queries, queries[..., ::-1]] if mirrored else [queries]
    squares = np.empty((len(queries), 0))
    rows = np.empty((len(queries), 0), np.int64)
    for start in range(0, references.shape[0], chunk):
        part = np.asarray(references[start : start + chunk])
        found = np.minimum.reduce([_squared_distances(variant, part) for variant in variants])
        numbers = np.broadcast_to(np.arange(start, start + len(part)), found.shape)
        squares, rows = np.concatenate([squares, found], 1), np.concatenate([rows, numbers], 1)
        # A stable order keeps the earlier of two equally near references, whatever the chunks are.
        best = np.argsort(squares, axis=1, kind="stable")[:, :count]
        squares, rows = np.take_along_axis(squares, best, 1), np.take_along_axis(rows, best, 1)
    distances = np.empty(rows.shape, np.float32)
    for place, row in np.ndenumerate(rows):
        reference = np.asarray(references[row : row + 1])[0]
        distances[place] = min(_distance(variant[place[0]], reference) for variant in variants)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)


def _squared_distances(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Sums of squared differences (N, M) in float64, by the expanded square |q|^2 + |r|^2 - 2 qr."""
    whole = queries.dtype == references.dtype == np.uint8
    kind, shift = (np.float32, 128) if whole else (np.float64, 0)
    queries, references = queries.reshape(len(queries), -1), references.reshape(len(references), -1)
    total = np.zeros((len(queries), len(references)))
    for start in range(0, queries.shape[1], _BLOCK):
        q, r = (x[:, start : start + _BLOCK].astype(kind) - kind(shift) for x in (queries, references))
        total -= 2 * (q @ r.T)
        total += (q * q).sum(1).astype(np.float64)[:, None]
        total += (r * r).sum(1).astype(np.float64)
    return total


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)))
