"""The tags of a DICOM file, each found where it stands and read only when it is asked for.

They are read here and not by pydicom, which looks at more tags than it is asked for and warns of values that it cannot
convert with these values, a patient's among them. Values are never part of an error of this module.
"""

from __future__ import annotations

import io
import math
import struct
from typing import BinaryIO, NamedTuple

from mmgen.data.decoded import UnusableFile

DAMAGED = "damaged DICOM file"
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # kinds of values whose length has four bytes
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_OPEN = 0xFFFFFFFF  # the length of what lasts until its end mark
_MAX_VALUE = 1_000_000  # bytes


class _Place(NamedTuple):
    start: int
    length: int


class Tags:
    """The tags from where the file stands up to ``stop``, or to the end of an item or the file.

    Args:
        file: a seekable file.
        order: "<" or ">", the byte order.
        implicit: whether kinds of values are left out.
        stop: the first tag that is not read.
        end: position in the file behind the last tag, where that is known.

    Attributes:
        stopped: (tag, kind, start of its value) of the one where reading stopped, (0, "", 0) if the end came first.
        behind: position in the file behind the last tag that was read.
        order: as given.
    """

    def __init__(self, file: BinaryIO, order: str, implicit: bool, stop: int = 1 << 32, end: float = math.inf) -> None:
        self._file, self.order, self._implicit = file, order, implicit
        self._places: dict[int, _Place] = {}
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
                self._places.setdefault(tag, _Place(file.tell(), length))
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

    def item(self, tag: int) -> Tags | None:
        """The first item of a sequence, None if there is none."""
        if tag not in self._places:
            return None
        start = self._places[tag].start
        self._file.seek(start)
        head = self._file.read(8)
        if len(head) < 8:
            return None
        mark, _, length = self._parse(head, self._implicit)
        if mark != _ITEM:
            return None
        return Tags(self._file, self.order, self._implicit, end=math.inf if length == _OPEN else start + 8 + length)


def is_kind(kind: bytes) -> bool:
    """Whether two bytes may be DICOM's name of a kind of values."""
    return kind.isalpha() and kind.isupper()
