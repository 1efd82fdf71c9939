"""Arrays as the files of a sample, and back. Every file is a function of its array and holds nothing else."""

from __future__ import annotations

import io

import numpy as np

_ARRAY = b"\x93NUMPY\x01\x00"
_MOST_SAMPLES = 1 << 24  # of a waveform; at 16 kHz a quarter of an hour


def encode_picture(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 (C, H, W), grey or RGB."""
    from PIL import Image

    picture, buffer = pixels.transpose(1, 2, 0), io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(buffer, "PNG")
    return buffer.getvalue()


def encode_sound(waveform: np.ndarray, rate: int) -> bytes:
    """A FLAC of 16 bits of a waveform (samples,), floats in [-1, 1] or int16."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_sound(content: bytes, rate: int) -> np.ndarray:
    """The waveform int16 (samples,) of a sound file of one channel.

    Raises:
        ValueError: it is damaged, has another rate or more channels, or is longer than any synthetic sound.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if (file.samplerate, file.channels) != (rate, 1):
                raise ValueError(f"it has {file.channels} channels of {file.samplerate} Hz, not one of {rate} Hz")
            if file.frames > _MOST_SAMPLES:
                raise ValueError(f"it has more than {_MOST_SAMPLES:,} samples")
            waveform = file.read(file.frames, dtype="int16")
            if len(waveform) != file.frames:
                raise ValueError("it ends too early")
            return waveform
    except soundfile.SoundFileError as error:
        raise ValueError(str(error)) from error


def encode_array(values: np.ndarray) -> bytes:
    """A numpy file of float32, in version 1.0 and C order."""
    buffer = io.BytesIO()
    np.save(buffer, _spelled_once(values))
    return buffer.getvalue()


def decode_array(content: bytes, bands: int, frames: int) -> np.ndarray:
    """The float32 (bands, a multiple of frames) of a numpy file.

    Raises:
        ValueError: it is damaged, holds no floats, or has another shape.
    """
    if not content.startswith(_ARRAY):  # np.load would also open archives and pickles
        raise ValueError("it is no array of version 1.0")
    file = io.BytesIO(content)
    file.seek(len(_ARRAY))
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # it is a piece of Python, and may raise nearly anything
        raise ValueError("its header is damaged") from error
    if len(shape) != 2 or shape[0] != bands or not shape[1] or shape[1] % frames or dtype.kind != "f":
        raise ValueError(f"it has shape {shape}, not {(bands, frames)}")
    if len(content) - file.tell() != bands * shape[1] * dtype.itemsize:
        raise ValueError("it has another length than its header says")
    return _spelled_once(
        np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
    )


def _spelled_once(values: np.ndarray) -> np.ndarray:
    """Floats as float32 in C order, zero without a sign and what is no number by the same bits everywhere."""
    with np.errstate(all="ignore"):
        values = np.ascontiguousarray(values, dtype=np.float32) + np.float32(0)
    values[np.isnan(values)] = np.nan
    return values
