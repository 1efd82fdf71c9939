"""Real samples beside synthetic ones, and the nearest of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mmgen.data.manifest import label_key
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings, kind_of
from mmgen.evaluation.neighbours import nearest


class Neighbour(NamedTuple):
    """The nearest real sample: its row and the root mean squared difference."""

    row: int
    distance: float


class RealSide:
    """Real samples by modality, which may be decoded only when they are read.

    Args:
        samples, settings: of each modality.
    """

    def __init__(self, samples: Mapping[str, Samples], settings: Mapping[str, Settings]) -> None:
        self._samples, self._settings = samples, settings
        self._reading = threading.Lock()
        self._rows = {
            name: {label_key(label): np.flatnonzero(own.labels == n) for n, label in enumerate(own.label_names)}
            for name, own in samples.items()
        }

    def rows(self, name: str, label: str) -> np.ndarray:
        """Of the samples of a label."""
        return self._rows.get(name, {}).get(label_key(label), np.empty(0, np.int64))

    def value(self, name: str, row: int) -> np.ndarray:
        """A sample (C, H, W); raises LookupError where there is none."""
        if not 0 <= row < len(self._samples[name]):
            raise LookupError(name)
        with self._reading:
            return np.asarray(self._samples[name].values[row : row + 1])[0]

    def nearest(self, name: str, samples: Sequence[np.ndarray]) -> list[Neighbour]:
        """The nearest real sample of each synthetic one, whose segments are (S, C, H, W); of those the nearest one.
        Pictures are compared as their mirror images too, as the audit does."""
        mirrored = kind_of(self._settings[name]).is_picture
        with self._reading:
            distances, rows = nearest(np.concatenate(samples), self._samples[name].values, mirrored=mirrored)
        found, start = [], 0
        for segments in samples:
            best = start + int(distances[start : start + len(segments), 0].argmin())
            found.append(Neighbour(int(rows[best, 0]), float(distances[best, 0])))
            start += len(segments)
        return found
