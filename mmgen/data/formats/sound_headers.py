"""The length of sound files by their headers, where libsndfile keeps that to itself."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

from mmgen.data.decoded import UnusableFile

# Formats that are chunks of (name, size): byte order of the size, and the name of the chunk that holds the samples.
_CHUNKED = {b"RIFF": ("<", b"data"), b"RIFX": (">", b"data"), b"RF64": ("<", b"data"), b"FORM": (">", b"SSND")}
_MOST_CHUNKS = 1_000
# What programs write that cannot know the size yet: ffmpeg, sox, arecord.
_UNKNOWN_SIZES = {0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000}


class SampleChunk(NamedTuple):
    """The part of a file that holds its samples.

    Attributes:
        size: bytes that the header promises; ``held`` if it does not know.
        held: bytes from its beginning to the end of the file.
        size_at: where in the file the size stands.
        order: byte order of the size, ``<`` or ``>``.
        streamed: the size was left at 0, which libsndfile would believe.
    """

    size: int
    held: int
    size_at: int
    order: str
    streamed: bool


def find_samples(file: BinaryIO) -> SampleChunk | None:
    """For WAV, RF64, AIFF and AU, whose sizes libsndfile corrects without a word; None for other formats.

    Raises UnusableFile if there are no samples among very many chunks.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic, whole, _ = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
    if magic == b".snd":
        file.seek(4)
        offset, size = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
        held = max(0, end - offset)
        return SampleChunk(held if size in _UNKNOWN_SIZES else size, held, 8, ">", False)
    if magic not in _CHUNKED:
        return None
    order, wanted = _CHUNKED[magic]
    long_size, position = 0, 12
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        header = file.read(24)
        if len(header) < 8:
            return None
        name, size = struct.unpack(order + "4sI", header[:8])
        if name == b"ds64" and len(header) == 24:
            long_size = struct.unpack("<Q", header[16:])[0]
        if name == wanted:
            held = end - position - 8
            # A file may also truly hold nothing; then the size of the whole is right.
            streamed = magic == b"RIFF" and size == 0 < held and whole + 8 < end
            size = long_size if magic == b"RF64" and size == 0xFFFFFFFF else size
            known = size not in _UNKNOWN_SIZES or (size == 0 and not streamed)
            return SampleChunk(size if known else held, held, position + 4, order, streamed)
        position += 8 + size + size % 2
    raise UnusableFile("it is damaged: it has very many parts before its samples")


def mp3_tells_length(file: BinaryIO) -> bool:
    """Whether an MP3 file says how long it is; otherwise libsndfile guesses from the first frame's bit rate."""
    file.seek(0)
    start = file.read(10)
    tag = 0
    if start[:3] == b"ID3" and len(start) == 10:  # 7 bits of each of the last four bytes
        tag = 10 + sum(byte << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=True))
    file.seek(tag)
    frame = file.read(256)
    return any(name in frame for name in (b"Xing", b"Info", b"VBRI"))
