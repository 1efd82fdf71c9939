"""Tar archives from elsewhere: where the files in them are.

The standard library's reader of tar archives builds an object for each member and follows chains of headers as deep as
they go; this one is made for archives from elsewhere: no recursion, bounded names, and every size is checked before it
is used. Formats: ustar, GNU (long names) and PAX.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from mmgen.data.decoded import UnusableFile

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_FILES = b"0\x007"  # kinds that are plain files
_WITHOUT_DATA = b"123456"  # links, devices, folders, pipes
_LONG_NAME, _LONG_LINK, _PAX, _PAX_OF_ALL, _SPARSE = b"L", b"K", b"x", b"g", b"S"
_MOST_MEMBERS = 10_000_000
_LONGEST_EXTENSION = 1 << 20
_MOST_PADDING = 1 << 20
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


class Member(NamedTuple):
    """A file in an archive: ``size`` bytes from ``offset`` on."""

    name: str
    offset: int
    size: int


def tar_members(file: BinaryIO, length: int, others: list[str] | None = None) -> Iterator[Member]:
    """The plain files in an archive, in their order; links, folders and devices are passed over.

    The file is seekable and ``length`` bytes long; between two members it may be read and moved.

    Args:
        others: gets the names of links, folders and devices, as they are passed over.

    Raises:
        UnusableFile: it is compressed, cut off, or no sound tar archive.
    """
    start = _read(file, 0, min(length, 6), length)
    if command := next((command for mark, command in _COMPRESSED.items() if start.startswith(mark)), None):
        raise UnusableFile(f"it is compressed, and shards must not be: {command} it")
    position, n_members = 0, 0
    name, size = None, None  # from extension headers, for the file after them
    while True:
        header = _read(file, position, _BLOCK, length)
        if header == _ZEROS:
            if length - position > _MOST_PADDING:
                raise UnusableFile("it goes on after its end mark: are these several archives in one file?")
            return
        if _number(header[148:156]) != sum(header[:148]) + sum(header[156:]) + 8 * ord(" "):
            damage = f"the header at byte {position} is damaged" if position else "it is no tar archive"
            raise UnusableFile(damage)
        kind, own_size = header[156:157], _number(header[124:136])
        data = position + _BLOCK
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_OF_ALL):
            if own_size > _LONGEST_EXTENSION:
                raise UnusableFile(f"the extension header at byte {position} is too long")
            extension = _read(file, data, own_size, length)
            if kind == _LONG_NAME:
                name = extension.split(b"\0", 1)[0]
            elif kind == _PAX:
                name, size = _pax_values(extension, name, size)
            position = data + _padded(own_size)
            continue
        if kind == _SPARSE or size == -1:
            raise UnusableFile("it holds sparse files; write it without them")
        if name is None:
            name = header[:100].split(b"\0", 1)[0]
            if header[257:263] == b"ustar\0" and (prefix := header[345:500].split(b"\0", 1)[0]):  # GNU: times
                name = prefix + b"/" + name
        size = own_size if size is None else size
        is_file = kind in _FILES and not name.endswith(b"/")  # a name that ends so is an old format's folder
        if kind in _WITHOUT_DATA:
            size = 0
        if data + size > length:
            raise UnusableFile(f"it is cut off: {_text(name)} reaches past its end")
        if is_file:
            n_members += 1
            if n_members > _MOST_MEMBERS:
                raise UnusableFile(f"it holds more than {_MOST_MEMBERS} files")
            yield Member(_text(name), data, size)
        elif others is not None:
            others.append(_text(name))
        position = data + _padded(size)
        name, size = None, None


def _read(file: BinaryIO, position: int, size: int, length: int) -> bytes:
    if position + size > length:
        raise UnusableFile("it is cut off: it ends without an end mark")
    file.seek(position)
    data = file.read(size)
    if len(data) != size:
        raise UnusableFile("it became shorter while it was read")
    return data


def _number(field: bytes) -> int:
    """Octal digits, or a binary number behind the byte 0x80 (sizes from 8 GiB on); never below 0."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    if digits.strip(b"01234567"):
        raise UnusableFile("a header holds something other than a number")
    return int(digits or b"0", 8)


def _pax_values(data: bytes, name: bytes | None, size: int | None) -> tuple[bytes | None, int | None]:
    """Name and size as PAX records ``LENGTH KEY=VALUE\\n`` set them, else as given; size -1 for a sparse file."""
    position = 0
    while position < len(data) and data[position]:
        digits, _, _ = data[position : position + 8].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = data[position + len(digits) + 1 : position + length].partition(b"=")
        if length < 5 or position + length > len(data) or not equals or not value.endswith(b"\n"):
            raise UnusableFile("an extension header is damaged")
        value = value[:-1]
        if key == b"path":
            name = value.split(b"\0", 1)[0]
        elif key == b"size" and size != -1:
            if not value.isdigit() or len(value) > 20:
                raise UnusableFile("an extension header holds no size")
            size = int(value)
        elif key.startswith(b"GNU.sparse"):
            size = -1
        position += length
    return name, size


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _text(name: bytes) -> str:
    """A member's name without a leading ``./``; bytes that are not UTF-8 are escaped, as it only identifies."""
    return name.decode("utf-8", errors="backslashreplace").removeprefix("./")
