"""The kinds of files that become arrays. A modality of another kind is one entry here, and its settings and decoder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np

from mmgen.data.audio import AUDIO_SUFFIXES, decode_sound
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.decoded import Decoded
from mmgen.data.images import IMAGE_SUFFIXES, ImageSettings, decode_image
from mmgen.errors import UserError, shown

Settings = ImageSettings | AudioSettings

# Part of the key of decoded files: raise it when a decoder gives other values than before.
DECODER_VERSION = 1


@dataclass(frozen=True)
class FileKind:
    """A kind of files.

    Attributes:
        name: "image" or "audio"; it stands in the JSON form of the settings.
        settings: dataclass of how these files become arrays, with ``shape`` (C, H, W) of a sample.
        suffixes: endings of their names, with the dot, in lower case.
        dtype: of their samples.
        most_samples: of one file, by its settings.
        decode: samples (1..S, C, H, W) of one file; raises :class:`mmgen.data.decoded.UnusableFile`.
        progress: what a progress bar says while they are decoded.
        is_picture: whether samples are written as pictures; otherwise they are log-mels, written as sounds too.
    """

    name: str
    settings: type
    suffixes: Collection[str]
    dtype: np.dtype
    most_samples: Callable[[Any], int]
    decode: Callable[[BinaryIO, Any], Decoded]
    progress: str
    is_picture: bool


FILE_KINDS: dict[str, FileKind] = {
    "image": FileKind(
        "image", ImageSettings, IMAGE_SUFFIXES, np.dtype(np.uint8), lambda _: 1, decode_image, "decoding images", True
    ),
    "audio": FileKind(
        "audio",
        AudioSettings,
        AUDIO_SUFFIXES,
        np.dtype(np.float16),
        lambda settings: settings.frames // settings.segment_frames,
        decode_sound,
        "decoding sound",
        False,
    ),
}


def kind_of(settings: Settings) -> FileKind:
    """The kind of files that these settings are for."""
    return next(kind for kind in FILE_KINDS.values() if type(settings) is kind.settings)


def settings_to_dict(settings: Settings) -> dict[str, Any]:
    """JSON-able form with the kind of files in ``"kind"``; it travels with a model."""
    return {"kind": kind_of(settings).name, **asdict(settings)}


def settings_from_dict(values: Mapping[str, Any]) -> Settings:
    """The inverse of :func:`settings_to_dict`; raises UserError for an unknown kind, or other settings than it has."""
    options = dict(values)
    kind = options.pop("kind", None)
    if not isinstance(kind, str) or kind not in FILE_KINDS:
        raise UserError(f"Unknown kind of preprocessing {shown(repr(kind))}; this version knows {sorted(FILE_KINDS)}.")
    try:
        return FILE_KINDS[kind].settings(**options)
    except TypeError as error:
        raise UserError(f"This version cannot use the settings of preprocessing {kind!r} ({error}).") from error
