"""Samples of one modality: what training, generation and evaluation read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from mmgen.data.cache import Cache
from mmgen.data.decoding import DecodedArray, DecodedFiles, unusable
from mmgen.data.manifest import Manifest
from mmgen.data.settings import Settings
from mmgen.errors import UserError

# A mean, a deviation or an error over more samples than these is the same in every digit that is reported.
ENOUGH = 10_000


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one modality in raw units.

    Attributes:
        values: (N, C, H, W), uint8 images or float16 log-mel segments; what is indexed is decoded or read.
        labels: (N,) int64 index into ``label_names``.
        label_names: class names.
        rows: (N,) int64 row of the file or folder listing that a sample comes from; several segments may share one.
    """

    values: np.ndarray | DecodedArray
    labels: np.ndarray
    label_names: tuple[str, ...]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: ArrayLike) -> Samples:
        """The samples at integer indices or where a boolean mask (N,) is true."""
        indices = np.asarray(indices)
        indices = indices if indices.dtype == bool else indices.astype(np.int64)  # an empty list is float
        unread = isinstance(self.values, DecodedArray)
        values = self.values.select(indices) if unread else self.values[indices]
        return replace(self, values=values, labels=self.labels[indices], rows=self.rows[indices])

    def at_most(self, count: int = ENOUGH, seed: int = 0) -> Samples:
        """All samples, or ``count`` random ones in their order if there are more: enough for a statistic."""
        if len(self) <= count:
            return self
        return self.select(np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False)))


def samples_of(manifest: Manifest, files: DecodedFiles, rows: ArrayLike | None = None) -> Samples:
    """Samples of a manifest whose files are decoded by ``files``, of all its rows or of some."""
    rows = np.arange(len(manifest)) if rows is None else np.asarray(rows, dtype=np.int64)
    counts = files.counts[rows]
    repeated = np.repeat(rows, counts)
    parts = np.arange(len(repeated)) - np.repeat(np.cumsum(counts) - counts, counts)
    values = DecodedArray(files, repeated, parts)
    return Samples(values, manifest.labels[repeated], manifest.label_names, manifest.origins[repeated])


def load_samples(manifest: Manifest, settings: Settings, cache: Cache | None = None) -> Samples:
    """Samples of every file of a manifest.

    Raises:
        UserError: naming the files that cannot be used together, after all have been tried.
    """
    files = DecodedFiles(manifest.files, manifest.paths, settings, cache)
    problems = files.fill()
    if problems:
        raise UserError(unusable([f"{manifest.name(row)} ({reason})" for row, reason in problems.items()]))
    return samples_of(manifest, files)


def people_of(samples: Samples, manifest: Manifest) -> np.ndarray | None:
    """(N,) names of whose sample each is, as text, by the manifest that the samples come from; None where subjects are
    unknown."""
    if manifest.subjects is None:
        return None
    order = np.argsort(manifest.origins)
    return manifest.subjects[order[np.searchsorted(manifest.origins[order], samples.rows)]].astype(str)


def people_in(samples: Samples, manifest: Manifest) -> np.ndarray | None:
    """(N,) int64: whose sample each is, as numbers that mean nothing beyond these samples; None where subjects are
    unknown."""
    names = people_of(samples, manifest)
    return None if names is None else np.unique(names, return_inverse=True)[1].astype(np.int64)


class Sliceable(Protocol):
    """What is read in slices of its first axis: an array, a memory map, the values of :class:`Samples`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, part: slice) -> np.ndarray: ...
