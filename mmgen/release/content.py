"""Samples' files decoded, and written anew by what writes data sets, so that nothing but the sample is left."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np

from mmgen.data.decoded import UnusableFile
from mmgen.data.settings import kind_of
from mmgen.data.writing.encoding import decode_array, decode_sound, encode_array, encode_picture, encode_sound

_MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "flac": b"fLaC", "npy": b"\x93NUMPY"}


def written_anew(ending: str, content: bytes, settings: Any) -> bytes:
    """A sample's file as this library writes it, see :mod:`mmgen.data.writing.encoding`.

    Args:
        ending: "png", "flac" or "npy".
        settings: of the modality, see :data:`mmgen.data.settings.Settings`.

    Raises:
        ValueError: it is not what its ending and settings say.
    """
    values = _decoded(ending, content, settings)
    if ending == "flac":
        return encode_sound(values, settings.sample_rate)
    return encode_picture(values) if ending == "png" else encode_array(values)


def sample_digest(ending: str, content: bytes, settings: Any) -> str:
    """SHA-256 of the values in a sample's file, whatever encodes them; raises as :func:`written_anew`."""
    values = _decoded(ending, content, settings)
    return hashlib.sha256(f"{values.dtype} {values.shape} ".encode() + values.tobytes()).hexdigest()


def _decoded(ending: str, content: bytes, settings: Any) -> np.ndarray:
    """uint8 (C, H, W) of a picture, int16 (samples,) of a sound, float32 (bands, frames) of a spectrogram."""
    if not content.startswith(_MAGIC[ending]):
        raise ValueError(f"it is no {ending.upper()}")
    if ending == "flac":
        return decode_sound(content, settings.sample_rate)
    if ending == "npy":
        return decode_array(content, *settings.shape[1:])
    try:
        return kind_of(settings).decode(io.BytesIO(content), settings).values[0]
    except UnusableFile as error:
        raise ValueError(str(error)) from error
