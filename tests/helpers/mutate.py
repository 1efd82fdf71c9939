"""Broken files for tests: every way in which files were seen to break, and those that are made to break a reader."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng

FUZZ = int(os.environ.get("MMGEN_FUZZ", 20_000))  # files in all slow tests together
HEADER = 512  # bytes; where most of what a decoder believes stands
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def mutations(originals: list[Path], folder: Path, count: int, seed: int) -> list[Path]:
    """Write ``count`` broken variants of the originals into ``folder``; every kind in turn, all fixed by the seed.

    File ``index`` is the same for every ``count`` and keeps the ending of the original it was made from. Kinds that
    belong to a format are left out where there is no original of it.
    """
    contents = [(path.suffix, path.read_bytes()) for path in originals]
    fitting = {kind: [item for item in contents if item[1].startswith(_MAGIC.get(kind, b""))] for kind in KINDS}
    kinds = [kind for kind in KINDS if fitting[kind]]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        kind = kinds[index % len(kinds)]
        rng = default_rng([seed, index])
        suffix, content = fitting[kind][rng.integers(len(fitting[kind]))]
        paths.append(folder / f"{index:05d} {kind}{suffix}")
        paths[-1].write_bytes(KINDS[kind](content, rng, contents))
    return paths


Contents = list[tuple[str, bytes]]
Mutator = Callable[[bytes, Generator, Contents], bytes]


# --- damage that any file can have


def cut(content: bytes, rng: Generator, contents: Contents) -> bytes:
    return content[: rng.integers(len(content))]


def cut_in_header(content: bytes, rng: Generator, contents: Contents) -> bytes:
    return content[: rng.integers(1, min(HEADER, len(content)))]


def flip_bits(content: bytes, rng: Generator, contents: Contents, end: int | None = None) -> bytes:
    data = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(0, min(end or len(data), len(data)), rng.integers(1, 101))
    data[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
    return data.tobytes()


def flip_header_bits(content: bytes, rng: Generator, contents: Contents) -> bytes:
    return flip_bits(content, rng, contents, end=HEADER)


def flip_one_header_bit(content: bytes, rng: Generator, contents: Contents) -> bytes:
    place = int(rng.integers(min(HEADER, len(content))))
    return content[:place] + bytes([content[place] ^ 1 << int(rng.integers(8))]) + content[place + 1 :]


def insert(content: bytes, rng: Generator, contents: Contents) -> bytes:
    place = rng.integers(len(content))
    return content[:place] + rng.bytes(rng.integers(1, 300)) + content[place:]


def remove(content: bytes, rng: Generator, contents: Contents) -> bytes:
    place = rng.integers(len(content))
    return content[:place] + content[place + rng.integers(1, 300) :]


def zeros(content: bytes, rng: Generator, contents: Contents) -> bytes:
    start, length = rng.integers(len(content)), rng.integers(1, 2000)
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def extreme_number(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """One number of the header is as large, or as small, as it can be."""
    place, size = int(rng.integers(min(HEADER, len(content)))), int(rng.choice([2, 4]))
    value = int(rng.choice(EXTREMES)) & (1 << 8 * size) - 1
    return content[:place] + value.to_bytes(size, rng.choice(["big", "little"])) + content[place + size :]


def repeated(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A piece occurs thousands of times."""
    start = int(rng.integers(len(content)))
    piece = content[start : start + int(rng.integers(1, 400))]
    return content[:start] + piece * int(rng.integers(2, 5000)) + content[start:]


def other_content(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """The content of another kind of file, or text, under this one's name."""
    others = [other for _, other in contents if other[:4] != content[:4]] + [b"No picture and no sound.\n" * 20]
    return others[rng.integers(len(others))]


def spliced(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """The head of one file on the body of another."""
    _, other = contents[rng.integers(len(contents))]
    return content[: rng.integers(1, HEADER)] + other[rng.integers(len(other)) :]


def empty(content: bytes, rng: Generator, contents: Contents) -> bytes:
    return b""


def noise(content: bytes, rng: Generator, contents: Contents) -> bytes:
    return rng.bytes(rng.integers(1, 5000))


def noise_after_header(content: bytes, rng: Generator, contents: Contents) -> bytes:
    kept = int(rng.integers(16, HEADER))
    return content[:kept] + rng.bytes(max(0, len(content) - kept))


# --- PNG: bombs


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, compressed: bytes, extra: bytes = b"") -> bytes:
    """A PNG file; ``colour`` is 0 for grey, 2 for RGB, 3 with a palette, 6 for RGBA."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (png_chunk(b"IHDR", header), extra, png_chunk(b"IDAT", compressed), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deflated_zeros(size: int) -> bytes:
    """So many zeros, a thousandth of their size."""
    packer, block = zlib.compressobj(6), bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, packer.compress(bytes(size & (1 << 20) - 1)), packer.flush()])


@lru_cache
def png_bombs() -> tuple[bytes, ...]:
    pixel, zipped = zlib.compress(b"\0\0"), deflated_zeros(1 << 20)
    return (
        png(40_000, 30_000, 1, 0, deflated_zeros(30_000 * 5001)),  # a valid picture of 1.2 gigapixels
        png(6_300, 6_300, 8, 6, deflated_zeros(6_300 * 25_201)),  # a valid one that is just small enough
        png(100, 100, 8, 0, deflated_zeros(100 << 20)),  # data for far more than the picture
        png(2**31 - 1, 2**31 - 1, 16, 6, pixel),
        png(6_000, 6_000, 8, 2, pixel),  # the data end at once
        png(1, 1, 8, 0, pixel, png_chunk(b"zTXt", b"a\0\0" + deflated_zeros(100 << 20))),
        png(1, 1, 8, 0, pixel, png_chunk(b"zTXt", b"a\0\0" + zipped) * 3000),
        png(1, 1, 8, 0, pixel, png_chunk(b"iCCP", b"a\0\0" + deflated_zeros(100 << 20))),
        png(1, 1, 8, 0, pixel, png_chunk(b"iCCP", b"a\0\0" + zipped) * 3000),
        png(1, 1, 8, 0, pixel)[:-12] + png_chunk(b"iCCP", b"a\0\0" + zipped) * 3000,
        png(1, 1, 8, 0, pixel, png_chunk(b"teSt", b"") * 200_000),
        png(1, 1, 8, 0, pixel)[:-12] + png_chunk(b"IDAT", b"") * 200_000,
    )


def png_bomb(content: bytes, rng: Generator, contents: Contents) -> bytes:
    return png_bombs()[rng.integers(len(png_bombs()))]


def png_header(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """Another size, depth or colour model than the data have, with the right checksum."""
    width, height, *rest = struct.unpack(">IIBBBBB", content[16:29])
    fields = [width, height, *rest]
    choices = ((1, 5, 50_000), (1, 5, 50_000), (1, 2, 4, 8, 16), (0, 2, 3, 4, 6), (0, 1), (0, 1), (0, 1))
    place = int(rng.integers(len(fields)))
    fields[place] = int(rng.choice(choices[place]))
    return content[:8] + png_chunk(b"IHDR", struct.pack(">IIBBBBB", *fields)) + content[33:]


# --- other pictures


def jpeg_scans(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """The last scan many thousand times: each costs as much as the first."""
    start = max(content.rfind(b"\xff\xda"), 2)
    return content[:-2] + content[start:-2] * int(rng.integers(1, 20_000)) + b"\xff\xd9"


def jpeg_size(content: bytes, rng: Generator, contents: Contents) -> bytes:
    start = next((place for kind in b"\xc0\xc1\xc2" if (place := content.find(b"\xff" + bytes([kind]))) > 0), 2) + 5
    size = [int(rng.choice([1, 300, 6_300, 65_535])) for _ in range(2)]
    return content[:start] + struct.pack(">HH", *size) + content[start + 4 :]


def jpeg_segments(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """Hundreds of notes of the largest size, or thousands of the smallest."""
    kind = bytes([0xFF, rng.choice([0xE1, 0xE2, 0xED, 0xFE])])
    large = kind + struct.pack(">H", 65_535) + b"Exif\0\0".ljust(65_533, b"\0")
    return content[:2] + (large * 400 if rng.random() < 0.3 else (kind + b"\0\2") * 100_000) + content[2:]


def tiff_tag(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """One to three tags of the first directory say something absurd."""
    data = bytearray(content)
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    for _ in range(rng.integers(1, 4)):
        entry = first + 2 + 12 * int(rng.integers(entries))
        field, place = (("<H", 2), ("<I", 4), ("<I", 8), ("<I", 8))[rng.integers(4)]
        value = int(rng.choice([*EXTREMES, 17, 40_000])) & (0xFFFF if field == "<H" else 0xFFFFFFFF)
        struct.pack_into(field, data, entry + place, value)
    return bytes(data)


def dicom_number(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """One of the numbers that say how pixels are stored is wrong."""
    data = bytearray(content)
    tags = [(0x28, e) for e in (0x02, 0x06, 0x10, 0x11, 0x100, 0x101, 0x103)]
    place = data.find(struct.pack("<HH", *tags[rng.integers(len(tags))]) + b"US")
    if place > 0:
        struct.pack_into("<H", data, place + 8, int(rng.choice([0, 1, 2, 3, 7, 9, 12, 32, 64, 6_300, 65_535])))
    return bytes(data)


def dicom_lengths(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A tag of DICOM's becomes another one, or its value longer than the file."""
    data = bytearray(content)
    place = 132
    for _ in range(rng.integers(1, 40)):
        place = max(132, data.find(b"\x28\0", place + 1))
    field, offset = [("<H", 6), ("<H", 2), ("<H", 0), ("<I", 8)][rng.integers(4)]
    if place + 12 <= len(data):
        struct.pack_into(
            field, data, place + offset, int(rng.choice(EXTREMES)) & (0xFFFF if field == "<H" else 0xFFFFFFFF)
        )
    return bytes(data)


def animation(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A valid GIF of so many frames that none but the first should be looked at."""
    return _animation(int(rng.choice([2, 200, 3_000])))


@lru_cache
def _animation(frames: int) -> bytes:
    from PIL import Image

    first = io.BytesIO()
    Image.new("P", (64, 64), 3).save(first, "GIF")
    gif = first.getvalue()
    start = gif.index(b",")  # an image follows
    return gif[:start] + gif[start:-1] * frames + b";"


# --- sounds


def wav_header(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """Lies about length, channels, rate or depth."""
    data = bytearray(content)
    field, place = (("<I", 4), ("<H", 20), ("<H", 22), ("<I", 24), ("<I", 28), ("<H", 32), ("<H", 34), ("<I", 40))[
        rng.integers(8)
    ]
    choices = [*EXTREMES, 3, 8, 24, 64, 1_000, 192_000]
    struct.pack_into(field, data, place, int(rng.choice(choices)) & (0xFFFF if field == "<H" else 0xFFFFFFFF))
    return bytes(data)


def flac_header(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """Lies in the stream's description: block and frame sizes, rate, channels, depth, number of samples."""
    place = int(rng.integers(8, 26))
    return content[:place] + rng.bytes(int(rng.integers(1, 5))) + content[place + 4 :]


def ogg_header(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """Lies in a page's header or in the codec's, with the right checksum."""
    data = bytearray(content)
    start = 0
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        start = max(0, data.find(b"OggS", start + 4))
    segments = data[start + 26]
    end = start + 27 + segments + sum(data[start + 27 : start + 27 + segments])
    place = start + int(rng.integers(5, 60))
    if place + 4 <= end and not start + 22 <= place + 3 <= start + 29:
        data[place : place + 4] = rng.bytes(4)
    data[start + 22 : start + 26] = bytes(4)
    struct.pack_into("<I", data, start + 22, _ogg_checksum(bytes(data[start:end])))
    return bytes(data)


def _ogg_checksum(page: bytes) -> int:
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


KINDS: dict[str, Mutator] = {
    function.__name__.replace("_", " "): function
    for function in (
        *(cut, cut_in_header, flip_bits, flip_header_bits, flip_one_header_bit, insert, remove, zeros, extreme_number),
        *(repeated, other_content, spliced, empty, noise, noise_after_header, png_bomb, png_header, jpeg_scans),
        *(
            jpeg_size,
            jpeg_segments,
            tiff_tag,
            dicom_number,
            dicom_lengths,
            animation,
            wav_header,
            flac_header,
            ogg_header,
        ),
    )
}
_MAGIC = {
    "png header": b"\x89PNG",
    "jpeg scans": b"\xff\xd8",
    "jpeg size": b"\xff\xd8",
    "jpeg segments": b"\xff\xd8",
    "tiff tag": b"II*\0",
    "dicom number": bytes(128) + b"DICM",
    "dicom lengths": bytes(128) + b"DICM",
    "wav header": b"RIFF",  # WebP begins like WAV, and lies as well
    "flac header": b"fLaC",
    "ogg header": b"OggS",
}
