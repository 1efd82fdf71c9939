"""Picture files opened within bounds: what a file may cost in memory and time is checked before it is decoded.

A file's own word is not believed: headers announce pictures that no memory holds, small files inflate a thousandfold,
and tables make a decoder go through the same bytes for ever. Together the limits below keep one file under a gigabyte
and, on one core, two seconds. The largest real pictures, mammograms, have 25 megapixels.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from mmgen.data.decoded import UnusableFile
from mmgen.data.threads import Room

MAX_PIXELS = 40_000_000
DECODING = Room(24_000_000)  # pixels in all threads together
MAX_BYTES = 4 * MAX_PIXELS  # of a picture without compression
MAX_READS = 300_000  # calls while a file is decoded: decoders read in pieces whose size the file chooses
_MAX_FILE_BYTES = 400_000_000  # read while one picture is decoded
_MAX_HEADER_READS = 50_000
_MAX_HEADER_BYTES = {"TIFF": 128_000_000, "WEBP": 64_000_000}  # layers are tags of a TIFF; WebP is read as a whole
_USUAL_HEADER_BYTES = 16_000_000
_MAX_PIXELS_OF = {"WEBP": 25_000_000}  # its decoder keeps several copies
_MAX_JPEG_BYTES = 128_000_000
_MAX_SCANNED_PIXELS = 500_000_000  # every scan of a progressive JPEG goes through all pixels
_MAX_RUN_LENGTH_PIXELS = 4_000_000  # Pillow decodes run-length BMP in Python
_MAX_PARTS = 65_536  # strips or tiles of a TIFF, image chunks of a PNG
_FAX, _MAX_FAX_ROWS = (2, 3, 4), 32_768  # compressions of TIFF
_MAX_EXTRA_CHUNKS = 200  # of a PNG; each may inflate to a megabyte

# Named one by one: Pillow would also open formats whose readers start other programs.
_READERS: tuple[tuple[bytes, str, type[ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", "JPEG", JpegImagePlugin.JpegImageFile),
    (b"II*\0", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"II+\0", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"MM\0+", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"BM", "BMP", BmpImagePlugin.BmpImageFile),
    (b"GIF8", "GIF", GifImagePlugin.GifImageFile),
    (b"RIFF", "WEBP", WebPImagePlugin.WebPImageFile),
)


class Metered:
    """A file that may be read so many times and bytes; what goes beyond raises UnusableFile."""

    def __init__(self, file: BinaryIO, reads: int = MAX_READS, size: int = _MAX_FILE_BYTES) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.allow(reads, size)

    def allow(self, reads: int, size: int) -> None:
        """Start to count anew."""
        self._reads, self._bytes = reads, size

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, or all that are left."""
        # One byte beyond what is allowed shows that there is more.
        data = self._file.read(self._bytes + 1 if size is None or size < 0 else min(size, self._bytes + 1))
        self._reads -= 1
        self._bytes -= len(data)
        if self._reads < 0 or self._bytes < 0:
            raise UnusableFile("its parts are too many or too large for a picture: save it anew")
        return data

    def fileno(self) -> int:
        """The system's number of the file, if it has one: libtiff reads by it."""
        return self._file.fileno()


def open_picture(file: BinaryIO) -> ImageFile:
    """Open a PNG, JPEG, TIFF, BMP, GIF or WebP file by its content, with its header read and no pixel decoded.

    Raises:
        UnusableFile: if it is none of these or exceeds the limits. Damaged headers raise whatever Pillow does.
    """
    file.seek(0)
    head = file.read(16)
    if not head:
        raise UnusableFile("the file is empty")
    kind, reader = next(((kind, reader) for magic, kind, reader in _READERS if head.startswith(magic)), (None, None))
    if reader is None or (kind == "WEBP" and head[8:12] != b"WEBP"):
        raise UnusableFile("not an image of a known format")
    file.seek(0)
    if kind == "JPEG":
        return open_jpeg(file.read(_MAX_JPEG_BYTES + 1))
    if kind == "PNG":
        _check_png(file)
    elif kind == "TIFF":
        _check_tiff(file)
    metered = Metered(file, _MAX_HEADER_READS, _MAX_HEADER_BYTES.get(kind, _USUAL_HEADER_BYTES))
    metered.seek(0)
    image = reader(metered)
    check_size(*image.size, limit=_MAX_PIXELS_OF.get(kind, MAX_PIXELS))
    if kind == "BMP" and image.tile[0].codec_name == "bmp_rle":
        check_size(*image.size, limit=_MAX_RUN_LENGTH_PIXELS)
    metered.allow(MAX_READS, _MAX_FILE_BYTES)
    return image


def open_jpeg(data: bytes) -> JpegImagePlugin.JpegImageFile:
    """Open a whole JPEG file, with its header read and no pixel decoded; raises as :func:`open_picture`."""
    if len(data) > _MAX_JPEG_BYTES:
        raise UnusableFile(f"its JPEG data are larger than {_MAX_JPEG_BYTES // 10**6} MB")
    metered = Metered(io.BytesIO(data), _MAX_HEADER_READS, _USUAL_HEADER_BYTES)
    image = JpegImagePlugin.JpegImageFile(metered)
    check_size(*image.size)
    pixels = image.width * image.height
    # Counting the bytes that may begin a scan is fast and enough for nearly all files.
    if _scans_too_many(data.count(b"\xff\xda"), pixels):
        segments = islice(jpeg_segments(data), _MAX_PARTS)
        if _scans_too_many(sum(kind == 0xDA for kind, *_ in segments), pixels) or next(segments, None):
            raise UnusableFile("it is a progressive JPEG of too many scans: save it anew")
    metered.allow(MAX_READS, _MAX_FILE_BYTES)
    return image


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Second byte of the marker, and start and end of the content, of every segment before the end of the picture."""
    # Neither stuffing (00), nor restarts in a scan (D0..D7), nor filling (FF), nor the start (D8).
    marker = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
    position = 0
    while (found := marker.search(data, position)) and found[1] != b"\xd9":
        start = found.end()
        position = start + max(2, int.from_bytes(data[start : start + 2], "big"))
        yield found[1][0], start + 2, position


def check_size(width: int, height: int, bytes_per_pixel: float = 1, limit: int = MAX_PIXELS) -> None:
    """Raise UnusableFile if a picture has too many pixels, or too many bytes without compression."""
    if width * height > limit:
        raise UnusableFile(
            f"it has {width} x {height} pixels, more than the {limit // 10**6} megapixels that can be read: shrink it"
        )
    if width * height * bytes_per_pixel > MAX_BYTES:
        raise UnusableFile(
            f"it has {width} x {height} pixels of {bytes_per_pixel:g} bytes, more than the {MAX_BYTES // 10**6} MB "
            "that can be read: shrink it or save it with 8 bits"
        )


def _scans_too_many(scans: int, pixels: int) -> bool:
    return scans > 1 and scans * pixels > _MAX_SCANNED_PIXELS


def _check_png(file: BinaryIO) -> None:
    """Bounds on the size and on the number of chunks; what is damaged is left to the decoder."""
    parts = extras = extra_bytes = 0
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IHDR" and len(header := file.read(13)) == 13:
            width, height, depth, colour = struct.unpack(">IIBB3x", header)
            check_size(width, height, depth * {2: 3, 4: 2, 6: 4}.get(colour, 1) / 8)
            length -= 13
        elif kind == b"IDAT":
            parts += 1
        elif kind == b"IEND" or (parts and kind == b"fcTL"):  # further frames are not read
            return
        else:
            extras += 1
            extra_bytes += length
        if parts > _MAX_PARTS or extras > _MAX_EXTRA_CHUNKS or extra_bytes > _USUAL_HEADER_BYTES:
            raise UnusableFile("it has too many or too large PNG chunks: save it anew")
        file.seek(length + 4, io.SEEK_CUR)  # and a checksum


class _Tags:
    """The tags of a TIFF's first picture that say what decoding it costs."""

    _TYPES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8"}  # noqa: RUF012

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)
        head = file.read(16)
        self._order = "<" if head[:2] == b"II" else ">"
        self._offset, count, entry = ("Q", "Q", "HHQ8s") if 43 in head[2:4] else ("L", "H", "HHL4s")
        first = struct.unpack_from(self._order + self._offset, head, 8 if self._offset == "Q" else 4)[0]
        file.seek(first)
        (entries,) = struct.unpack(self._order + count, file.read(struct.calcsize("=" + count)))
        if entries > _MAX_PARTS:
            raise UnusableFile("it has too many TIFF tags: save it anew")
        table = file.read(entries * struct.calcsize("=" + entry))
        table = table[: len(table) - len(table) % struct.calcsize("=" + entry)]
        self._entries: dict[int, tuple[int, int, bytes]] = {}
        for tag, kind, number, value in struct.iter_unpack(self._order + entry, table):
            if tag in self._entries:  # decoders differ in which one they believe
                raise UnusableFile("a TIFF tag occurs twice: save it anew")
            self._entries[tag] = kind, number, value

    def numbers(self, tag: int, *default: int) -> list[int]:
        """A tag's values, or the default where it is missing."""
        if tag not in self._entries:
            return list(default)
        kind, number, value = self._entries[tag]
        if number > _MAX_PARTS:
            raise UnusableFile("it has too many TIFF strips: save it anew")
        if kind not in self._TYPES or not number:
            raise UnusableFile("damaged: a TIFF tag holds no number")
        dtype = np.dtype(self._order + self._TYPES[kind])
        if number * dtype.itemsize > len(value):
            self._file.seek(struct.unpack(self._order + self._offset, value)[0])
            value = self._file.read(number * dtype.itemsize)
        return np.frombuffer(value[: len(value) // dtype.itemsize * dtype.itemsize], dtype)[:number].tolist()


def _check_tiff(file: BinaryIO) -> None:
    """Bounds on size, strips and compression of the first picture; what is damaged is left to the decoder."""
    tags = _Tags(file)
    [width, *_], [height, *_] = tags.numbers(256, 0), tags.numbers(257, 0)
    bits, [samples, *_], [compression, *_] = tags.numbers(258, 1), tags.numbers(277, 1), tags.numbers(259, 1)
    [part_width, *_] = tags.numbers(322, width)  # of a tile, or as wide as the picture
    [part_height, *_] = tags.numbers(323, min(height, *tags.numbers(278, height)))
    if not (width and height and part_width and part_height):
        raise UnusableFile("damaged: its TIFF tags lack a size")
    if samples > 6:  # Pillow logs an error
        raise UnusableFile("its colour model is not supported: save it as RGB or grey")
    across, down = -(-width // part_width), -(-height // part_height)
    # Tiles are decoded as a whole even where they reach beyond the picture.
    whole_height = down * part_height if tags.numbers(323) else height
    check_size(across * part_width, whole_height, max(sum(bits), samples * bits[0]) / 8)
    if compression in _FAX and height > _MAX_FAX_ROWS:  # libtiff says what is wrong with every one of them
        raise UnusableFile(f"it has {height} rows in fax compression, more than {_MAX_FAX_ROWS}: save it anew")
    if compression not in (1, 2, 3, 4, 5, 7, 8, 32773, 32946, 50000):
        raise UnusableFile("its TIFF compression is old or slow: save it without or with Deflate or LZW compression")
    if max(across * down, len(tags.numbers(273)), len(tags.numbers(324))) > _MAX_PARTS:
        raise UnusableFile("it has too many TIFF strips: save it anew")
    if compression != 1:
        sizes, whole = tags.numbers(279, *tags.numbers(325)), file.seek(0, io.SEEK_END)
        if not sizes or sum(sizes) > whole:
            raise UnusableFile("its TIFF strips overlap or are cut off")
    if compression == 7:
        file.seek(0)
        scans = file.read(_MAX_JPEG_BYTES).count(b"\xff\xda")
        if _scans_too_many(-(-scans // (across * down)), width * height):
            raise UnusableFile("it holds progressive JPEG of too many scans: save it anew")
