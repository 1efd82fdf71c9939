"""Samples of one modality: what training, generation and evaluation read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from mmgen.data.decoding import DecodedArray, DecodedFiles
from mmgen.data.manifest import Manifest

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
        subjects: (N,) object array of the name of whose sample each is; None where that is unknown.
        probabilities: (N, K) float32 soft labels, a teacher's probabilities of ``label_names``; None where there are
            hard labels alone.
    """

    values: np.ndarray | DecodedArray
    labels: np.ndarray
    label_names: tuple[str, ...]
    rows: np.ndarray
    subjects: np.ndarray | None = None
    probabilities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: ArrayLike) -> Samples:
        """The samples at integer indices or where a boolean mask (N,) is true."""
        indices = np.asarray(indices)
        indices = indices if indices.dtype == bool else indices.astype(np.int64)  # an empty list is float
        unread = isinstance(self.values, DecodedArray)
        values = self.values.select(indices) if unread else self.values[indices]
        optional = {"subjects": self.subjects, "probabilities": self.probabilities}
        chosen = {name: None if array is None else array[indices] for name, array in optional.items()}
        return replace(self, values=values, labels=self.labels[indices], rows=self.rows[indices], **chosen)

    def subject_numbers(self) -> np.ndarray | None:
        """(N,) int64: whose sample each is, as numbers that mean nothing beyond these samples; None where that is
        unknown."""
        if self.subjects is None:
            return None
        return np.unique(self.subjects.astype(str), return_inverse=True)[1].astype(np.int64)

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
    subjects = None if manifest.subjects is None else manifest.subjects[repeated]
    return Samples(values, manifest.labels[repeated], manifest.label_names, manifest.origins[repeated], subjects)


def set_fingerprint(values: Sliceable, chunk: int = 256) -> str:
    """24 hexadecimal digits that name a set of records (N, ...) by their decoded values, whatever their order, labels
    and files: SHA-256 over the sorted digests of all of them."""
    digests = [
        hashlib.sha256(np.ascontiguousarray(record)).digest()
        for start in range(0, len(values), chunk)
        for record in np.asarray(values[start : start + chunk])
    ]
    form = f"{tuple(values.shape[1:])} {values.dtype}".encode()
    return hashlib.sha256(form + b"".join(sorted(digests))).hexdigest()[:24]


def channel_statistics(values: Sliceable, chunk: int = 1024) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of (N, C, H, W), in float64, without a float copy of the whole array."""
    count, total, squares = 0, 0.0, 0.0
    for start in range(0, len(values), chunk):
        part = values[start : start + chunk].astype(np.float64)
        count += part.shape[0] * part.shape[2] * part.shape[3]
        total = total + part.sum(axis=(0, 2, 3))
        squares = squares + (part**2).sum(axis=(0, 2, 3))
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return tuple(mean.tolist()), tuple(deviation.tolist())


class Sliceable(Protocol):
    """Anything that is read in slices of its first axis: an array, a memory map, the values of :class:`Samples`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> np.ndarray: ...
