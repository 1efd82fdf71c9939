"""The picture in a DICOM file, as a radiologist's screen shows it, and nothing else of the file.

Stored values go through the file's rescaling, its display window or table (the first where there are several) and, for
MONOCHROME1, inversion. Without a window or table the full scale of the stored bits counts: never the picture's own
extremes, by which one body would look like another. Only tags that say how pixels are to be read are looked at. No
value of any tag is returned, logged or put into a message, since a damaged file may have a name where a number
should be.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from mmgen.data.bounded import Metered, check_size
from mmgen.data.decoded import Remark, UnusableFile
from mmgen.data.dicom_frames import DAMAGED, RGB, YBR, Layout, first_frame

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SYNTAX = 0x00020010
_SAMPLES, _COLOURS, _PLANAR, _FRAMES, _ROWS, _COLUMNS = (0x00280000 + n for n in (2, 4, 6, 8, 0x10, 0x11))
_ALLOCATED, _STORED, _SIGNED, _BURNED_IN = 0x00280100, 0x00280101, 0x00280103, 0x00280301
_CENTRE, _WIDTH, _INTERCEPT, _SLOPE, _FUNCTION = (0x00281050 + n for n in (0, 1, 2, 3, 6))
_PALETTE, _PALETTE_DATA = 0x00281101, 0x00281201  # of red; green and blue follow
_VALUE_TABLE, _DISPLAY_TABLE, _TABLE, _TABLE_DATA = 0x00283000, 0x00283010, 0x00283002, 0x00283006
_ALL_FRAMES, _EACH_FRAME, _FRAME_DISPLAY, _FRAME_VALUES = 0x52009229, 0x52009230, 0x00289132, 0x00289145
_PIXEL_DATA = 0x7FE00010
_TAGS = [
    *(_SAMPLES, _COLOURS, _PLANAR, _FRAMES, _ROWS, _COLUMNS, _ALLOCATED, _STORED, _SIGNED, _BURNED_IN),
    *(_CENTRE, _WIDTH, _INTERCEPT, _SLOPE, _FUNCTION, _VALUE_TABLE, _DISPLAY_TABLE, _ALL_FRAMES, _EACH_FRAME),
    *(tag + colour for tag in (_PALETTE, _PALETTE_DATA) for colour in range(3)),
]
_GREY = ("MONOCHROME1", "MONOCHROME2")
_MAX_ITEM_BYTES = 1_000_000
_ROWS_AT_ONCE = 256

_at_work = threading.local()


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
    except ImportError as error:
        raise UnusableFile("DICOM needs pydicom: pip install 'mmgen[dicom]'") from error
    _silence_pydicom()
    _at_work.now = True
    try:
        data, layout = _read_header(file)
        picture = _shown(first_frame(file, layout, side), data, layout)
        return picture, Remark.BURNT_IN if _text(data, _BURNED_IN).upper() == "YES" else Remark.NONE
    except UnusableFile as error:
        reason = str(error)
    except MemoryError:
        reason = "it needs more memory than there is"
    except Exception:  # pydicom's errors may quote values
        reason = DAMAGED
    finally:
        _at_work.now = False
    raise UnusableFile(reason)  # here, so that no other error is attached to it


@cache
def _silence_pydicom() -> None:
    """Drop pydicom's log lines in threads that are at work here: they may quote values."""
    logging.getLogger("pydicom").addFilter(lambda record: not getattr(_at_work, "now", False))


def _read_header(file: BinaryIO) -> tuple[Dataset, Layout]:
    """The tags that matter, and how the pixels are stored."""
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

    metered: Any = Metered(file)
    metered.seek(128)
    if metered.read(4) != b"DICM":
        metered.seek(0)
    about = read_dataset(metered, False, True, stop_when=lambda tag, *_: tag >> 16 != 2, specific_tags=[_SYNTAX])
    syntax = UID(_text(about, _SYNTAX) or ImplicitVRLittleEndian)
    if not syntax.is_transfer_syntax:
        raise UnusableFile("its DICOM transfer syntax is unknown: save it uncompressed")
    if syntax == DeflatedExplicitVRLittleEndian:  # could inflate without end
        raise UnusableFile("it is a deflated DICOM file: save it uncompressed")
    explicit, little = not syntax.is_implicit_VR, syntax.is_little_endian
    data = read_dataset(
        metered, not explicit, little, stop_when=lambda tag, *_: tag >= _PIXEL_DATA - 8, specific_tags=_TAGS
    )
    implicit, little = data.original_encoding  # what was found
    order = "<" if little else ">"
    head = metered.read(8 if implicit else 12)
    if len(head) < 8 or struct.unpack_from(order + "HH", head) != divmod(_PIXEL_DATA, 1 << 16):
        raise UnusableFile("the DICOM file holds no picture")
    layout = Layout(
        syntax,
        order,
        start=metered.tell(),
        vr="OW" if implicit else head[4:6].decode("ascii"),
        rows=_number(data, _ROWS, order),
        columns=_number(data, _COLUMNS, order),
        samples=_number(data, _SAMPLES, order) or 1,
        colours=_text(data, _COLOURS),
        planar=_number(data, _PLANAR, order),
        allocated=_number(data, _ALLOCATED, order),
        stored=_number(data, _STORED, order),
        signed=_number(data, _SIGNED, order) == 1,
        frames=max(1, int(_text(data, _FRAMES) or 1)),
    )
    _check(layout)
    return data, layout


def _check(layout: Layout) -> None:
    if not (layout.rows and layout.columns and 0 < layout.stored <= layout.allocated):
        raise UnusableFile(DAMAGED)
    if layout.allocated > 16:
        raise UnusableFile("its pixels have more than 16 bits, which no picture has")
    check_size(layout.columns, layout.rows, layout.samples * max(8, layout.allocated) / 8)
    samples = 3 if layout.colours in RGB + YBR else 1 if layout.colours in (*_GREY, "PALETTE COLOR") else 0
    if layout.samples != samples:
        raise UnusableFile("its DICOM colour model is not supported: save it as MONOCHROME2 or RGB")


# --- what a screen shows


def _shown(pixels: np.ndarray, data: Dataset, layout: Layout) -> Image.Image:
    """Codes (H, W) or RGB (H, W, 3) as they are displayed: mode L or RGB."""
    if layout.samples == 3:
        return Image.fromarray(pixels)
    codes = np.arange(1 << layout.stored)
    values = np.where(codes < len(codes) // 2, codes, codes - len(codes)) if layout.signed else codes
    table = _colours(values, data, layout) if layout.colours not in _GREY else _grey_levels(values, data, layout)
    shown = np.empty(pixels.shape + table.shape[1:], np.uint8)
    for row in range(0, len(pixels), _ROWS_AT_ONCE):  # indexing needs eight bytes a pixel
        shown[row : row + _ROWS_AT_ONCE] = table[pixels[row : row + _ROWS_AT_ONCE]]
    return Image.fromarray(shown)


def _colours(values: np.ndarray, data: Dataset, layout: Layout) -> np.ndarray:
    """Values (N,) through the file's palette: uint8 (N, 3)."""
    parts = [_look_up(values, data, _PALETTE + colour, _PALETTE_DATA + colour, layout) for colour in range(3)]
    return np.stack([np.rint(255 * part / full).astype(np.uint8) for part, full in parts], axis=1)


def _grey_levels(values: np.ndarray, data: Dataset, layout: Layout) -> np.ndarray:
    """Stored values (N,) to levels uint8 (N,): by PS3.3 C.11.1 to the modality's values, by C.11.2 to what is shown."""
    if (item := _item(data, _VALUE_TABLE)) is not None:
        values, high = _look_up(values, item, _TABLE, _TABLE_DATA, layout)
        low = 0
    else:
        about = _functional_group(data, _FRAME_VALUES, _SLOPE)
        values = values * _decimal(about, _SLOPE, 1) + _decimal(about, _INTERCEPT, 0)
        low, high = values.min(), values.max()
    about = _functional_group(data, _FRAME_DISPLAY, _CENTRE)
    if (item := _item(data, _DISPLAY_TABLE)) is not None:
        values, high = _look_up(values, item, _TABLE, _TABLE_DATA, layout)
        shown = values / high
    elif _text(about, _CENTRE):
        shown = _window(values, about)
    elif high > low:
        shown = (values - low) / (high - low)
    else:
        raise UnusableFile("its DICOM rescaling leaves one value")
    if layout.colours == "MONOCHROME1":
        shown = 1 - shown
    return np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)


def _window(values: np.ndarray, about: Dataset) -> np.ndarray:
    """0 to 1 inside the window (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = _decimal(about, _CENTRE, 0), _decimal(about, _WIDTH, 0)
    function = _text(about, _FUNCTION) or "LINEAR"
    if width < 1 if function == "LINEAR" else width <= 0:
        raise UnusableFile("its display window has no width")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -500, 500)))
    if function == "LINEAR":
        centre, width = centre - 0.5, max(width - 1, 1e-9)
    return (values - centre) / width + 0.5


def _look_up(values: np.ndarray, data: Dataset, about: int, content: int, layout: Layout) -> tuple[np.ndarray, int]:
    """Values (N,) through a table of the file, and the table's full scale (PS3.3 C.11.1.1)."""
    entries, first, bits = struct.unpack(layout.order + "HHH", _raw(data, about)[:6])
    entries = entries or 1 << 16
    if layout.signed and first >= 1 << 15:
        first -= 1 << 16
    raw = _raw(data, content)
    table = np.frombuffer(raw, "u1" if len(raw) < 2 * entries else layout.order + "u2", entries)
    if not 8 <= bits <= 16:
        raise UnusableFile(DAMAGED)
    return table[np.clip(values - first, 0, entries - 1).astype(np.int64)], (1 << bits) - 1


# --- tags, read here and not by pydicom, whose conversions warn with the values that they cannot convert


def _raw(data: Dataset, tag: int) -> bytes:
    """A tag's value as it stands in the file, empty if there is none."""
    element = data.get_item(tag)
    return element.value if element is not None and isinstance(element.value, bytes) else b""


def _text(data: Dataset, tag: int) -> str:
    """The first of a tag's values."""
    return _raw(data, tag).split(b"\\")[0].decode("ascii", "replace").strip(" \0")


def _number(data: Dataset, tag: int, order: str) -> int:
    """A whole number, 0 if there is none."""
    raw = _raw(data, tag)
    return struct.unpack(order + "H", raw[:2])[0] if raw else 0


def _decimal(data: Dataset, tag: int, default: float) -> float:
    """The first of a tag's decimal numbers."""
    value = float(_text(data, tag) or default)
    if not math.isfinite(value):
        raise UnusableFile(DAMAGED)
    return value


def _item(data: Dataset, tag: int) -> Dataset | None:
    """The first item of a sequence."""
    from pydicom.filereader import read_sequence_item

    element = data.get_item(tag)
    if element is None or not element.value:
        return None
    if not isinstance(element.value, bytes):
        return element.value[0]
    return read_sequence_item(io.BytesIO(element.value[:_MAX_ITEM_BYTES]), *data.original_encoding, "iso8859")


def _functional_group(data: Dataset, group: int, tag: int) -> Dataset:
    """Where a tag stands: at the top or, in multi-frame files, in a group of the first frame or of all frames."""
    if data.get_item(tag) is None:
        for sequence in (_EACH_FRAME, _ALL_FRAMES):
            frame = _item(data, sequence)
            found = None if frame is None else _item(frame, group)
            if found is not None:
                return found
    return data
