"""What a synthetic data set may say of itself and of its samples: allow-lists of keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings

_HEAD = frozenset(
    (
        "synthetic", "format", "licence", "counts", "preprocessing", "generator", "per_class", "mask_ratio", "segments",
        "chosen_from", "copies_real_data", "input_prior", "seed",
    )
)  # fmt: skip
_GENERATOR = frozenset(("library", "method", "model"))
_SETTINGS = frozenset(("kind", *(field.name for kind in (ImageSettings, AudioSettings) for field in fields(kind))))
_WORDS = frozenset(("format", "licence", "input_prior"))
_TEXTS = frozenset(("label", "model"))
_FLAGS = frozenset(("copies_real_data", "may_hold_real_pixels"))
# What was chosen at random can be chosen again from them: which real sample each synthetic one was made from.
_DRAWS = frozenset(("seed", "index"))


class Described:
    """Which keys of ``dataset.json``, columns of ``metadata.csv`` and keys of samples in shards are kept.

    Kept are: label, names of files, the model's name, mask ratios, numbers of segments and whether real data are
    copied; seed and index only of what is drawn from a class prior or from noise. Of samples that were made from real
    ones both say which. Names of modalities are those of the section "preprocessing".

    Args:
        about: ``dataset.json``.
    """

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.about = about
        self.modalities = tuple(about["preprocessing"])

    @property
    def from_real_samples(self) -> bool:
        """Whether samples may have been made from real ones: not if all came from a class prior or from noise."""
        return self.about.get("input_prior") not in ("class", "noise") or "mask_ratio" in self.about

    def keeps(self, key: str | None) -> bool:
        """Whether a column of the table, or a key of a sample in a shard, is kept."""
        return key in self._kept

    def names(self, column: str | None) -> bool:
        """Whether a column of the table tells label or files, which stay as they are."""
        return column == "label" or column in self._files

    def cell(self, column: str, text: str) -> str:
        """A cell of the table without what does not belong in its column."""
        return text if column in _TEXTS or column in self._files or _is_plain(text) else ""

    def value(self, key: str, value: Any) -> Any:
        """The same of a sample in a shard."""
        texts = isinstance(value, str) and (key in _TEXTS or key in self._files)
        return value if texts or _is_scalar(value) else None

    def head(self) -> dict[str, Any]:
        """``dataset.json`` without checksums."""
        dropped = _DRAWS if self.from_real_samples else frozenset()
        kept = {key: value for key, value in self.about.items() if key in _HEAD - dropped}
        return {key: self._section(key, value) for key, value in kept.items()}

    def _section(self, key: str, value: Any) -> Any:
        if key == "preprocessing":
            return {name: _settings(settings) for name, settings in value.items()}
        if key == "generator":
            return {name: text for name, text in dict(value).items() if name in _GENERATOR and isinstance(text, str)}
        if key == "mask_ratio":
            return {name: ratio for name, ratio in dict(value).items() if name in self.modalities and _is_scalar(ratio)}
        if key == "counts" or (key in _WORDS and isinstance(value, str)):
            return value
        return value if _is_scalar(value) else None

    @cached_property
    def _files(self) -> frozenset[str]:
        return frozenset(f"{name}{end}" for name in self.modalities for end in ("_file_name", "_spectrogram"))

    @cached_property
    def _kept(self) -> frozenset[str]:
        numbers = {f"{name}{end}" for name in self.modalities for end in ("_mask_ratio", "_segments")}
        return self._files | _TEXTS | _FLAGS | numbers | (frozenset() if self.from_real_samples else _DRAWS)


def _settings(values: Any) -> dict[str, Any]:
    """How files were decoded: numbers by the names of the settings, and the kind."""
    known = {key: value for key, value in dict(values).items() if key in _SETTINGS}
    return {key: value for key, value in known.items() if _is_scalar(value) or value in ("image", "audio")}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _is_plain(text: str) -> bool:
    """Whether a cell is empty, a truth value or a number."""
    if text in ("", "True", "False"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
