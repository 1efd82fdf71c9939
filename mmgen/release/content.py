"""Samples' files without anything but the sample: everything else is dropped, and what is left is the same to the bit.

=========  ===================================================================================================
.png       header, palette, transparency and pixels; every other chunk (text, EXIF, time, profiles) is dropped
           without encoding the pixels again
.flac      the waveform, encoded anew, which is without loss, so that no tag, picture or appendix is left
.npy       a plain array of numbers, version 1.0, with a header that is written anew
=========  ===================================================================================================
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def stripped(suffix: str, content: bytes) -> bytes:
    """A sample's file of this ending with nothing but the sample in it.

    Raises:
        ValueError: it is not what its ending says.
    """
    return _STRIP[suffix](content)


def sample_digest(suffix: str, content: bytes) -> str:
    """SHA-256 of what :func:`stripped` leaves; of a FLAC's waveform, whose encoding depends on the encoder.

    Raises:
        ValueError: it is not what its ending says.
    """
    if suffix == ".flac":
        values, rate, subtype = _flac(content)
        return hashlib.sha256(f"{rate} {subtype} {values.shape}".encode() + values.tobytes()).hexdigest()
    return hashlib.sha256(stripped(suffix, content)).hexdigest()


def _strip_png(content: bytes) -> bytes:
    if not content.startswith(_PNG):
        raise ValueError("it is no PNG")
    kept, pixels = [_PNG], zlib.decompressobj()
    place, name = len(_PNG), b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", content, place) if place + 12 <= len(content) else (0, b"")
        end = place + 12 + length
        if not name or end > len(content):
            raise ValueError("it ends too early")
        data, place = content[place + 8 : end - 4], end
        if name == b"IDAT":
            try:
                pixels.decompress(data)
            except zlib.error as error:
                raise ValueError("its pixels are damaged") from error
        if name in _PNG_CHUNKS:
            kept.append(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
    if not pixels.eof or pixels.unused_data:
        raise ValueError("its pixels end too early, or something follows them")
    return b"".join(kept)


def _flac(content: bytes) -> tuple[np.ndarray, int, str]:
    """Waveform (samples, channels) as int32, sample rate, and how it is encoded."""
    import soundfile

    if not content.startswith(b"fLaC"):
        raise ValueError("it is no FLAC")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            return file.read(dtype="int32", always_2d=True), file.samplerate, file.subtype
    except soundfile.SoundFileError as error:
        raise ValueError(str(error)) from error


def _strip_flac(content: bytes) -> bytes:
    import soundfile

    values, rate, subtype = _flac(content)
    buffer = io.BytesIO()
    soundfile.write(buffer, values, rate, format="FLAC", subtype=subtype)
    return buffer.getvalue()


def _strip_npy(content: bytes) -> bytes:
    file, out = io.BytesIO(content), io.BytesIO()
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("it is no array of version 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in "biufc":
        raise ValueError(f"it holds {dtype}, not numbers")
    data = file.read()
    if len(data) != int(np.prod(shape, dtype=np.int64)) * dtype.itemsize:
        raise ValueError("it has another length than its header says")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": fortran, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue() + data


_STRIP: dict[str, Callable[[bytes], bytes]] = {".png": _strip_png, ".flac": _strip_flac, ".npy": _strip_npy}
SAMPLE_SUFFIXES = frozenset(_STRIP)
