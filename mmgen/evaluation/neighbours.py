"""Exact search for the nearest record: whose copy is a synthetic sample, and which real records lie close to one."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from mmgen.data.progress import progress_bar
from mmgen.data.samples import Sliceable
from mmgen.training.memorisation import COPY_RATIO

CHUNK = 1024
# Sums of this many products of bytes fit into 32 bits; of the second number, into what float32 holds exactly.
_INTEGER_BLOCK, _FLOAT_BLOCK = 1 << 16, 1024


class Nearest(NamedTuple):
    """Of every record of one side, the distance to the nearest of the other, (N,) float32, and its row, (N,) int64.

    Where it is known whose records those are, also the distance to the nearest of another owner, (N,) float32.
    """

    distances: np.ndarray
    rows: np.ndarray
    of_another: np.ndarray | None = None

    def by_ratio(self) -> np.ndarray:
        """(N,) bool: the nearest lies within :data:`COPY_RATIO` of the distance to that of another owner, if known."""
        return (
            np.zeros(len(self.rows), bool) if self.of_another is None else self.distances < COPY_RATIO * self.of_another
        )


def nearest(
    queries: Sliceable, references: Sliceable, count: int = 1, chunk: int = CHUNK, mirrored: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest references of every query, nearest first; of equally near ones the first.

    The search is exact. Bytes are multiplied without rounding, other numbers in float64, where the distances of those
    found are computed again from the differences, so that a sample that is the same has distance 0.

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
    search = _Search(queries, references, mirrored, count)
    for block in blocks(queries, references, chunk, mirrored):
        search.look(block.queries, block.references, block.squares)
    return search.result()


def nearest_both(
    first: Sliceable, second: Sliceable, chunk: int = CHUNK, mirrored: bool = False, description: str = "",
    owners: np.ndarray | None = None,
) -> tuple[Nearest, Nearest]:  # fmt: skip
    """The nearest record of ``second`` for every one of ``first``, and the other way round, in one pass.

    Arguments and exactness as for :func:`nearest`; with a ``description`` there is a progress bar. ``owners``, (M,) of
    at least two values, say whose the records of ``second`` are: then the nearest of another owner is sought too.

    Raises:
        ValueError: as :func:`nearest`, or all records have one owner.
    """
    there, back = _Search(first, second, mirrored, owners=owners), _Search(second, first, mirrored)
    for block in blocks(first, second, chunk, mirrored, description):
        there.look(block.queries, block.references, block.squares)
        back.look(block.references, block.queries, block.squares.T)
    return there.first(), back.first()


def nearest_other(records: Sliceable, chunk: int = CHUNK, mirrored: bool = False) -> Nearest:
    """The nearest other record of the same set, for every one; raises ValueError for fewer than two records."""
    if records.shape[0] < 2:
        raise ValueError("There must be at least two records for one to have a nearest other.")
    search = _Search(records, records, mirrored)
    for block in blocks(records, records, chunk, mirrored):
        search.look(block.queries, block.references, block.squares_of_others)
    return search.first()


@dataclass(frozen=True)
class Block:
    """A slice of the queries beside one of the references.

    Attributes:
        lengths: (q, r) float64, sums of the squares of both samples; what rounding is measured by.
        squares: (q, r) float64, sums of squared differences.
    """

    queries: slice
    references: slice
    lengths: np.ndarray
    squares: np.ndarray

    @property
    def squares_of_others(self) -> np.ndarray:
        """``squares`` in a search of a set in itself, infinite from each sample to itself."""
        if self.queries == self.references:
            np.fill_diagonal(self.squares, np.inf)
        return self.squares


class _Search:
    """The nearest references of every query among the blocks that were looked at, earlier rows before later ones; with
    ``owners`` of the references the nearest and the nearest of another owner."""

    def __init__(
        self, queries: Sliceable, references: Sliceable, mirrored: bool, count: int = 1,
        owners: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        if queries.shape[1:] != references.shape[1:]:
            raise ValueError(f"Samples of shape {queries.shape[1:]} cannot be compared with {references.shape[1:]}.")
        if not 1 <= count <= references.shape[0]:
            raise ValueError(f"There are {references.shape[0]} references, too few for {count} neighbours.")
        self.owners = None if owners is None else np.unique(owners, return_inverse=True)[1]
        if self.owners is not None:
            count = 2
            if self.owners.max() == 0:
                raise ValueError("All references are one owner's; there is none of another.")
        self.queries, self.references, self.mirrored, self.count = queries, references, mirrored, count
        self.squares = np.full((queries.shape[0], count), np.inf)
        self.rows = np.zeros((queries.shape[0], count), np.int64)

    def look(self, queries: slice, references: slice, squares: np.ndarray) -> None:
        """Add the squared differences (q, r) between two slices."""
        rows = squares.argmin(1)[:, None] if self.count == 1 else np.arange(squares.shape[1])[None]
        if self.count == 1:  # the block is not copied
            squares = np.take_along_axis(squares, rows, 1)
        best = np.concatenate([self.squares[queries], squares], 1)
        rows = np.concatenate([self.rows[queries], np.broadcast_to(rows + references.start, squares.shape)], 1)
        # A stable order keeps the earlier of two equally near references, whatever the chunks are.
        if self.owners is None:
            order = best.argsort(1, kind="stable")[:, : self.count]
            best = np.take_along_axis(best, order, 1)
        else:
            best, order = _of_two_owners(best, self.owners[rows])
        self.squares[queries] = best
        self.rows[queries] = np.take_along_axis(rows, order, 1)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances (N, count) float32 and rows, nearest first."""
        if self.queries.dtype == self.references.dtype == np.uint8:
            distances = np.sqrt(self.squares / np.prod(self.queries.shape[1:])).astype(np.float32)
        else:  # from the differences, so that what is the same has distance 0
            distances = np.empty(self.rows.shape, np.float32)
            for place, row in np.ndenumerate(self.rows):
                query = self.queries[place[0] : place[0] + 1].astype(np.float64)
                reference = self.references[row : row + 1].astype(np.float64)
                variants = [query, query[..., ::-1]] if self.mirrored else [query]
                distances[place] = min(np.sqrt(np.mean((variant - reference) ** 2)) for variant in variants)
        order = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, order, 1), np.take_along_axis(self.rows, order, 1)

    def first(self) -> Nearest:
        """The nearest alone."""
        distances, rows = self.result()
        return Nearest(distances[:, 0], rows[:, 0], None if self.owners is None else distances[:, 1])


def _of_two_owners(squares: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least of every row (q, r) and the least of another owner, infinite if there is none, and their places, both
    (q, 2)."""
    first = squares.argmin(1)[:, None]
    others = np.where(owners == np.take_along_axis(owners, first, 1), np.inf, squares)
    places = np.concatenate([first, others.argmin(1)[:, None]], 1)
    return np.concatenate([squares.min(1)[:, None], others.min(1)[:, None]], 1), places


def blocks(
    queries: Sliceable, references: Sliceable, chunk: int = CHUNK, mirrored: bool = False, description: str = ""
) -> Iterator[Block]:
    """Every query beside every reference, ``chunk`` of either at a time; arguments as for :func:`nearest_both`."""
    whole = queries.dtype == references.dtype == np.uint8
    multiply = _byte_products() if whole else lambda one, other: one @ other.T

    def prepare(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat samples (N, D), bytes less 128 as int8, others as float64, and the sums of their squares (N,)."""
        flat = np.ascontiguousarray(samples).reshape(len(samples), -1)
        flat = (flat ^ 0x80).view(np.int8) if whole else flat.astype(np.float64)
        sums = np.einsum("nd,nd->n", flat, flat, dtype=np.int64 if whole else np.float64)
        return flat, sums.astype(np.float64)

    starts = range(0, queries.shape[0], chunk)
    for start in progress_bar(starts, len(starts), description, quiet=not description):
        part = np.asarray(queries[start : start + chunk])
        variants = [prepare(part), prepare(part[..., ::-1])] if mirrored else [prepare(part)]
        for other in range(0, references.shape[0], chunk):
            reference, lengths = prepare(np.asarray(references[other : other + chunk]))
            # Both variants have the same length; the larger product is the smaller distance.
            products = [multiply(variant, reference) for variant, _ in variants]
            product = products[0] if len(products) == 1 else np.maximum(*products)
            lengths = variants[0][1][:, None] + lengths
            places = slice(start, start + len(part)), slice(other, other + len(reference))
            yield Block(*places, lengths, lengths - 2.0 * product)


@functools.cache
def _byte_products() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The faster of two exact ways to multiply bytes on this machine.

    Integer products need a processor that adds them up in 32 bits: others saturate at 16, which the trial shows.
    """
    rng = np.random.default_rng(0)
    extremes = rng.choice(np.array([-128, -127, 127], np.int8), (256, 2048))
    exact = extremes.astype(np.float64) @ extremes.astype(np.float64).T
    times = {}
    for multiply in (_through_floats, _through_integers):
        try:
            correct = np.array_equal(multiply(extremes, extremes), exact)
            start = time.perf_counter()
            multiply(extremes, extremes)
        except (AttributeError, RuntimeError):  # not built for this processor
            continue
        if correct:
            times[multiply] = time.perf_counter() - start
    return min(times, key=times.__getitem__)


def _through_integers(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    total = np.zeros((len(queries), len(references)))
    for start in range(0, queries.shape[1], _INTEGER_BLOCK):
        q, r = (torch.from_numpy(x[:, start : start + _INTEGER_BLOCK]) for x in (queries, references))
        total += torch._int_mm(q, r.t()).numpy()
    return total


def _through_floats(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    total = np.zeros((len(queries), len(references)))
    for start in range(0, queries.shape[1], _FLOAT_BLOCK):
        q, r = (x[:, start : start + _FLOAT_BLOCK].astype(np.float32) for x in (queries, references))
        total += q @ r.T
    return total
