"""Decoded samples of one modality: the arrays that training, generation and evaluation read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmgen.data.audio import AudioSettings, read_segments
from mmgen.data.images import ImageSettings, read_images
from mmgen.data.manifest import Manifest
from mmgen.errors import UserError

Settings = ImageSettings | AudioSettings
_KINDS: dict[str, type[Settings]] = {"image": ImageSettings, "audio": AudioSettings}


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one modality in raw units.

    Attributes:
        values: (N, C, H, W), uint8 images or float16 log-mel segments.
        labels: (N,) int64 index into ``label_names``.
        label_names: class names.
        rows: (N,) int64 row of the file or folder listing that a sample comes from; several segments may share one.
    """

    values: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: ArrayLike) -> Samples:
        """The samples at integer indices or where a boolean mask (N,) is true."""
        indices = np.asarray(indices)
        indices = indices if indices.dtype == bool else indices.astype(np.int64)  # an empty list is float
        return replace(self, values=self.values[indices], labels=self.labels[indices], rows=self.rows[indices])


def load_samples(manifest: Manifest, settings: Settings) -> Samples:
    """Decode every file of a manifest once; raises UserError that names all unreadable files together."""
    if isinstance(settings, ImageSettings):
        values, rows = read_images(manifest, settings), np.arange(len(manifest))
    else:
        values, rows = read_segments(manifest, settings)
    return Samples(values, manifest.labels[rows], manifest.label_names, manifest.origins[rows])


def settings_to_dict(settings: Settings) -> dict[str, Any]:
    """JSON-able form with the kind of decoder in ``"kind"``; it travels with a model."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(settings, cls))
    return {"kind": kind, **asdict(settings)}


def settings_from_dict(values: Mapping[str, Any]) -> Settings:
    """The inverse of :func:`settings_to_dict`; raises UserError for an unknown kind."""
    options = dict(values)
    kind = options.pop("kind", None)
    if kind not in _KINDS:
        raise UserError(f"Unknown kind of preprocessing {kind!r}; this version knows {sorted(_KINDS)}.")
    return _KINDS[kind](**options)
