"""How files become arrays, whatever the modality: settings, their JSON form, and the decoder that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np

from mmgen.data.audio import AUDIO_SUFFIXES, decode_sound
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.decoded import Decoded
from mmgen.data.images import IMAGE_SUFFIXES, ImageSettings, decode_image
from mmgen.errors import UserError

Settings = ImageSettings | AudioSettings
_KINDS: dict[str, type[Settings]] = {"image": ImageSettings, "audio": AudioSettings}

# Part of the key of decoded files: raise it when a decoder gives other values than before.
DECODER_VERSION = 1


def kind_of(settings: Settings) -> str:
    """ "image" or "audio"."""
    return next(name for name, cls in _KINDS.items() if isinstance(settings, cls))


def suffixes_of(settings: Settings) -> frozenset[str]:
    """Endings of the files that these settings decode, with the dot, in lower case."""
    return frozenset(IMAGE_SUFFIXES if isinstance(settings, ImageSettings) else AUDIO_SUFFIXES)


def slot_shape(settings: Settings) -> tuple[int, int, int, int]:
    """(S, C, H, W): the most samples that one file gives, and a sample's shape."""
    if isinstance(settings, ImageSettings):
        return (1, *settings.shape)
    return (settings.frames // settings.segment_frames, *settings.shape)


def value_dtype(settings: Settings) -> np.dtype:
    """uint8 for images, float16 for log-mels."""
    return np.dtype(np.uint8 if isinstance(settings, ImageSettings) else np.float16)


def decode(file: BinaryIO, settings: Settings) -> Decoded:
    """Samples (1..S, C, H, W) of one file; raises :class:`mmgen.data.decoded.UnusableFile`."""
    return decode_image(file, settings) if isinstance(settings, ImageSettings) else decode_sound(file, settings)


def settings_to_dict(settings: Settings) -> dict[str, Any]:
    """JSON-able form with the kind of decoder in ``"kind"``; it travels with a model."""
    return {"kind": kind_of(settings), **asdict(settings)}


def settings_from_dict(values: Mapping[str, Any]) -> Settings:
    """The inverse of :func:`settings_to_dict`; raises UserError for an unknown kind."""
    options = dict(values)
    kind = options.pop("kind", None)
    if kind not in _KINDS:
        raise UserError(f"Unknown kind of preprocessing {kind!r}; this version knows {sorted(_KINDS)}.")
    return _KINDS[kind](**options)
