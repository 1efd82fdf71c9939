"""The one way to open files that come from elsewhere: regular files only, never waited for, texts only of a size that
memory holds."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

from mmgen.errors import shown

MIB = 1 << 20
_LONGEST_LINE = MIB
# What parsed JSON takes grows with its parts, of which a file of a megabyte can have a million.
_MOST_PARTS = 5_000_000
_SETTINGS = (50, 20_000, 4096)  # YAML: depth, parts, characters of one


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read.

    Raises:
        OSError: there is none, or it is a folder, or a pipe, device or socket, which may give nothing or never end.
    """
    _refuse_irregular(os.stat(path).st_mode, path)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    try:
        _refuse_irregular(os.fstat(file.fileno()).st_mode, path)  # it may be another one by now
    except OSError:
        file.close()
        raise
    return file


def _refuse_irregular(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "no regular file", os.fspath(path))


def read_bytes(path: str | os.PathLike[str], limit: int = 64 * MIB) -> bytes:
    """The content of a file.

    Raises:
        ValueError: it has more than ``limit`` bytes.
        OSError: see :func:`open_regular`.
    """
    with open_regular(path) as file:
        size = min(limit, os.fstat(file.fileno()).st_size)  # memory is taken for all that is asked for
        data = file.read(size + 1)
        if len(data) > size:  # it grew, or its system does not tell its size
            data += file.read(limit - size)
    if len(data) > limit:
        raise ValueError(f"it is larger than {limit / MIB:g} MiB")
    return data


def read_text(path: str | os.PathLike[str], limit: int = 64 * MIB) -> str:
    """The text of a file; raises as :func:`read_bytes`, and ValueError for what is not UTF-8."""
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def read_json(path: str | os.PathLike[str], limit: int = 64 * MIB) -> Any:
    """The value in a JSON file; raises as :func:`read_text`, and ValueError for what is no JSON."""
    return parse_json(read_text(path, limit))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text from elsewhere; raises ValueError, and nothing else, for what cannot be one."""
    separators = (b"[", b"{", b",") if isinstance(text, bytes) else ("[", "{", ",")
    if sum(map(text.count, separators)) > _MOST_PARTS:
        raise ValueError(f"it has more than {_MOST_PARTS:,} parts")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The value in a YAML file of settings; raises as :func:`read_text`, and ValueError for what is no YAML, or larger
    or deeper than settings are: a small file of references to references would make an endless value."""
    import yaml

    text, depth = read_text(path, MIB), 0
    try:
        for number, event in enumerate(yaml.parse(text, yaml.SafeLoader)):
            opens = isinstance(event, yaml.CollectionStartEvent)
            depth += opens - isinstance(event, yaml.CollectionEndEvent)
            if opens and event.anchor:
                raise ValueError("it refers to lists or mappings by anchors; write them out")
            sizes = depth, number, len(getattr(event, "value", ""))
            if any(size > most for size, most in zip(sizes, _SETTINGS, strict=True)):
                raise ValueError("it is nested too deeply, or too long, for settings")
        return yaml.safe_load(text)
    except (yaml.YAMLError, LookupError, AttributeError, TypeError) as error:  # the others for odd scalars
        raise ValueError(f"it is no YAML ({shown(' '.join(str(error).split()))})") from None


def bounded_lines(text: io.TextIOBase) -> Iterator[str]:
    """The lines of a text, with their ends; raises ValueError for one of more than a million characters."""
    while line := text.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ValueError(f"a line is longer than {_LONGEST_LINE:,} characters")
        yield line


class Part(io.RawIOBase):
    """``size`` bytes of a file from ``offset`` on as a file of their own, which closes the whole one with itself."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._offset, self._size, self._place = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if place < 0:
            raise ValueError(f"negative seek position {place}")
        self._place = place
        return place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:
        self._file.seek(self._offset + self._place)
        data = self._file.read(max(0, min(len(buffer), self._size - self._place)))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
