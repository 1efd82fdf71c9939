"""The picture in a DICOM file, as a radiologist's screen shows it, and nothing else of the file.

Stored values go through the file's rescaling, its display window or table (the first where there are several) and, for
MONOCHROME1, inversion. Without a window or table the full scale of the stored bits counts: never the picture's own
extremes, by which one body would look like another. Only tags that say how pixels are to be read are looked at. No
value of any tag is returned, logged or put into a message, since a damaged file may have a name where a number
should be. _Tags are read here and not by pydicom, which looks at more of them than it is asked for and warns of values
that it cannot convert with these values, a patient's among them.
"""

from __future__ import annotations

import io
import math
import struct
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from mmgen.data.decoded import Remark, UnusableFile
from mmgen.data.formats.bounded import DECODING, Metered, check_size
from mmgen.data.formats.dicom_frames import DAMAGED, RGB, YBR, Layout, first_frame
from mmgen.errors import refuse_broken_package

_SYNTAX = 0x00020010
_SAMPLES, _COLOURS, _PLANAR, _FRAMES, _ROWS, _COLUMNS = (0x00280000 + n for n in (2, 4, 6, 8, 0x10, 0x11))
_ALLOCATED, _STORED, _SIGNED, _BURNED_IN = 0x00280100, 0x00280101, 0x00280103, 0x00280301
_CENTRE, _WIDTH, _INTERCEPT, _SLOPE, _FUNCTION = (0x00281050 + n for n in (0, 1, 2, 3, 6))
_PALETTE, _PALETTE_DATA = 0x00281101, 0x00281201  # of red; green and blue follow
_VALUE_TABLE, _DISPLAY_TABLE, _TABLE, _TABLE_DATA = 0x00283000, 0x00283010, 0x00283002, 0x00283006
_ALL_FRAMES, _EACH_FRAME, _FRAME_DISPLAY, _FRAME_VALUES = 0x52009229, 0x52009230, 0x00289132, 0x00289145
_PIXEL_DATA = 0x7FE00010
_GREY = ("MONOCHROME1", "MONOCHROME2")
_ROWS_AT_ONCE = 256
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # kinds of values whose length has four bytes
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_OPEN = 0xFFFFFFFF  # the length of what lasts until its end mark
_MAX_VALUE = 1_000_000  # bytes


def is_dicom(head: bytes) -> bool:
    """Whether a file of which these are the first 132 bytes is DICOM, be it one without the usual preamble."""
    return head[128:132] == b"DICM" or (head[:1] in (b"\x02", b"\x08") and head[1:2] == b"\0" == head[3:4])


def read_dicom(file: BinaryIO, side: int) -> tuple[Image.Image, Remark]:
    """The first frame, mode L or RGB, and whether the file declares text about the patient in its pixels.

    Args:
        file: A seekable file.
        side: The picture may be made smaller while it is decoded, but no side below this many pixels.

    Raises:
        UnusableFile: if there is no picture that can be read, for whatever reason, or pydicom is not installed.
    """
    try:
        import pydicom  # noqa: F401
    except ModuleNotFoundError as error:
        raise UnusableFile("DICOM needs pydicom: pip install 'mmgen[dicom]'") from error
    try:
        tags, layout = _read_header(file)
        with DECODING.take(layout.columns * layout.rows):
            picture = _shown(first_frame(file, layout, side), tags, layout)
        return picture, Remark.BURNT_IN if tags.text(_BURNED_IN).upper() == "YES" else Remark.NONE
    except UnusableFile as error:
        reason = str(error)
    except MemoryError:
        reason = "it needs more memory than there is"
    except Exception as error:  # pydicom's errors may quote values
        refuse_broken_package(error)
        reason = DAMAGED
    raise UnusableFile(reason)  # here, so that no other error is attached to it


def _read_header(file: BinaryIO) -> tuple[_Tags, Layout]:
    """The tags, and how the pixels are stored."""
    from pydicom.uid import AllTransferSyntaxes, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

    metered: Any = Metered(file)
    metered.seek(128)
    if metered.read(4) != b"DICM":
        metered.seek(0)
    about = _Tags(metered, "<", implicit=False, stop=0x00030000)
    named = about.text(_SYNTAX) or ImplicitVRLittleEndian
    syntax = next((syntax for syntax in AllTransferSyntaxes if syntax == named), None)
    if syntax is None:
        raise UnusableFile("its DICOM transfer syntax is unknown: save it uncompressed")
    if syntax == DeflatedExplicitVRLittleEndian:  # could inflate without end
        raise UnusableFile("it is a deflated DICOM file: save it uncompressed")
    metered.seek(about.behind)
    implicit = not is_kind(metered.read(6)[4:])  # files may do otherwise than they say
    metered.seek(about.behind)
    tags = _Tags(metered, "<" if syntax.is_little_endian else ">", implicit, stop=_PIXEL_DATA - 8)
    tag, kind, start = tags.stopped
    if tag != _PIXEL_DATA:
        raise UnusableFile("the DICOM file holds no picture")
    layout = Layout(
        syntax,
        start=start,
        vr=kind or "OW",
        rows=tags.number(_ROWS),
        columns=tags.number(_COLUMNS),
        samples=tags.number(_SAMPLES) or 1,
        colours=tags.text(_COLOURS),
        planar=tags.number(_PLANAR),
        allocated=tags.number(_ALLOCATED),
        stored=tags.number(_STORED),
        signed=tags.number(_SIGNED) == 1,
        frames=max(1, int(tags.decimal(_FRAMES, 1))),
    )
    if not (layout.rows and layout.columns and 0 < layout.stored <= layout.allocated):
        raise UnusableFile(DAMAGED)
    if layout.allocated > 16:
        raise UnusableFile("its pixels have more than 16 bits: save it with 16 or 8")
    check_size(layout.columns, layout.rows, layout.samples * max(8, layout.allocated) / 8)
    samples = 3 if layout.colours in RGB + YBR else 1 if layout.colours in (*_GREY, "PALETTE COLOR") else 0
    if layout.samples != samples:
        raise UnusableFile("its DICOM colour model is not supported: save it as MONOCHROME2 or RGB")
    return tags, layout


def _shown(pixels: np.ndarray, tags: _Tags, layout: Layout) -> Image.Image:
    """Codes (H, W) or RGB (H, W, 3) as they are displayed: mode L or RGB."""
    if layout.samples == 3:
        return Image.fromarray(pixels)
    codes = np.arange(1 << layout.stored)
    values = np.where(codes < len(codes) // 2, codes, codes - len(codes)) if layout.signed else codes
    if layout.colours in _GREY:
        table = _grey_levels(values, tags, layout)  # (N,), or through the file's palette (N, 3)
    else:
        parts = (_look_up(values, tags, _PALETTE + c, _PALETTE_DATA + c, layout) for c in range(3))
        table = np.stack([np.rint(255 * part / full).astype(np.uint8) for part, full in parts], axis=1)
    shown = np.empty(pixels.shape + table.shape[1:], np.uint8)
    for row in range(0, len(pixels), _ROWS_AT_ONCE):  # indexing needs eight bytes a pixel
        shown[row : row + _ROWS_AT_ONCE] = table[pixels[row : row + _ROWS_AT_ONCE]]
    return Image.fromarray(shown)


def _grey_levels(values: np.ndarray, tags: _Tags, layout: Layout) -> np.ndarray:
    """Stored values (N,) to levels uint8 (N,): by PS3.3 C.11.1 to the modality's values, by C.11.2 to what is shown."""
    if (item := tags.item(_VALUE_TABLE)) is not None:
        values, high = _look_up(values, item, _TABLE, _TABLE_DATA, layout)
        low = 0
    else:
        about = _functional_group(tags, _FRAME_VALUES, _SLOPE)
        values = values * about.decimal(_SLOPE, 1) + about.decimal(_INTERCEPT, 0)
        low, high = values.min(), values.max()
    about = _functional_group(tags, _FRAME_DISPLAY, _CENTRE)
    if (item := tags.item(_DISPLAY_TABLE)) is not None:
        values, high = _look_up(values, item, _TABLE, _TABLE_DATA, layout)
        shown = values / high
    elif about.text(_CENTRE):  # 0 to 1 inside the window (PS3.3 C.11.2.1.2 and C.11.2.1.3)
        centre, width = about.decimal(_CENTRE, 0), about.decimal(_WIDTH, 0)
        function = about.text(_FUNCTION) or "LINEAR"
        if width < 1 if function == "LINEAR" else width <= 0:
            raise UnusableFile("its display window has no width")
        if function == "LINEAR":
            centre, width = centre - 0.5, max(width - 1, 1e-9)
        if function == "SIGMOID":
            shown = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -500, 500)))
        else:
            shown = (values - centre) / width + 0.5
    elif high > low:
        shown = (values - low) / (high - low)
    else:
        raise UnusableFile("its DICOM rescaling leaves one value")
    if layout.colours == "MONOCHROME1":
        shown = 1 - shown
    return np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)


def _look_up(values: np.ndarray, tags: _Tags, about: int, content: int, layout: Layout) -> tuple[np.ndarray, int]:
    """Values (N,) through a table of the file, and the table's full scale (PS3.3 C.11.1.1)."""
    entries, first, bits = struct.unpack(tags.order + "HHH", tags.raw(about)[:6])
    entries = entries or 1 << 16
    if layout.signed and first >= 1 << 15:
        first -= 1 << 16
    raw = tags.raw(content)
    table = np.frombuffer(raw, "u1" if len(raw) < 2 * entries else tags.order + "u2", entries)
    if not 8 <= bits <= 16:
        raise UnusableFile(DAMAGED)
    places = np.clip(values - first, 0, entries - 1).astype(np.int64)
    return table[places].astype(np.float64), (1 << bits) - 1


def _functional_group(tags: _Tags, group: int, tag: int) -> _Tags:
    """Where a tag stands: at the top or, in multi-frame files, in a group of the first frame or of all frames."""
    if tag not in tags:
        for sequence in (_EACH_FRAME, _ALL_FRAMES):
            frame = tags.item(sequence)
            found = None if frame is None else frame.item(group)
            if found is not None:
                return found
    return tags


class _Tags:
    """The tags from where the file stands up to the tag ``stop`` or the position ``end``; values are read when wanted.

    ``order`` is the byte order, "<" or ">"; ``implicit``: kinds of values are left out. Reading ``stopped`` at a (tag,
    kind, start of its value), (0, "", 0) if the end came first; ``behind`` is the position behind the last tag read.
    """

    def __init__(self, file: BinaryIO, order: str, implicit: bool, stop: int = 1 << 32, end: float = math.inf) -> None:
        self._file, self.order, self._implicit = file, order, implicit
        self._places: dict[int, tuple[int, int]] = {}  # start and length
        self.stopped = (0, "", 0)
        depth = 0  # of open sequences and items around a tag
        while (here := file.tell()) < end and len(head := file.read(8)) == 8:
            tag, kind, length = self._parse(head, implicit)
            if not depth and stop <= tag < _ITEM:
                self.stopped = tag, kind.decode("ascii"), file.tell()
                break
            if tag in (_ITEM_END, _SEQUENCE_END):
                depth -= 1
                if depth < 0:
                    break
                continue
            if not depth:
                self._places.setdefault(tag, (file.tell(), length))
            if length == _OPEN:
                depth += 1
            else:
                file.seek(length, io.SEEK_CUR)
        self.behind = here

    def _parse(self, head: bytes, implicit: bool) -> tuple[int, bytes, int]:
        """Tag, kind and length of the value; the file stands at the value afterwards."""
        group, element, length = struct.unpack(self.order + "HHL", head)
        tag, kind = group << 16 | element, head[4:6]
        if implicit or group == _ITEM >> 16 or not is_kind(kind):  # some writers leave it out now and then
            return tag, b"", length
        if kind not in _LONG:
            return tag, kind, struct.unpack(self.order + "H", head[6:])[0]
        return tag, kind, struct.unpack(self.order + "L", self._file.read(4))[0]

    def __contains__(self, tag: int) -> bool:
        return tag in self._places

    def raw(self, tag: int) -> bytes:
        """A value as it stands in the file, empty if there is none."""
        if tag not in self._places:
            return b""
        start, length = self._places[tag]
        if length > _MAX_VALUE:
            raise UnusableFile(DAMAGED)
        self._file.seek(start)
        return self._file.read(length)

    def text(self, tag: int) -> str:
        """The first of a tag's texts."""
        return self.raw(tag).split(b"\\")[0].decode("ascii", "replace").strip(" \0")

    def number(self, tag: int) -> int:
        """The first of a tag's whole numbers of two bytes, 0 if there is none."""
        raw = self.raw(tag)
        return struct.unpack(self.order + "H", raw[:2])[0] if raw else 0

    def decimal(self, tag: int, default: float) -> float:
        """The first of a tag's decimal numbers, written as text."""
        try:
            value = float(self.text(tag) or default)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UnusableFile(DAMAGED)
        return value

    def item(self, tag: int) -> _Tags | None:
        """The first item of a sequence, None if there is none."""
        if tag not in self._places:
            return None
        start, _ = self._places[tag]
        self._file.seek(start)
        head = self._file.read(8)
        if len(head) < 8:
            return None
        mark, _, length = self._parse(head, self._implicit)
        if mark != _ITEM:
            return None
        return _Tags(self._file, self.order, self._implicit, end=math.inf if length == _OPEN else start + 8 + length)


def is_kind(kind: bytes) -> bool:
    """Whether two bytes may be DICOM's name of a kind of values."""
    return kind.isalpha() and kind.isupper()
