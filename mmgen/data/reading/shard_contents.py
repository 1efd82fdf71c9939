"""The contents of one WebDataset shard: its files and where they are, which belong together, what is said of them.

The standard library's reader of tar archives builds an object for each member and follows chains of headers as deep as
they go; this one is made for archives from elsewhere: no recursion, bounded names, and every size is checked before it
is used. Formats: ustar, GNU (long names) and PAX.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from mmgen.data.decoded import UnusableFile
from mmgen.data.opening import parse_json
from mmgen.data.table import USUAL_NAMES, Columns, subset_mark
from mmgen.errors import first_few, is_clean, shown

_LARGEST_TEXT = 1 << 20
_LONGEST_VALUE = 1000
_LABEL_FILES = ("json", "cls", "txt")  # the first that has a label counts
_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_FILES = b"0\x007"  # kinds that are plain files
_WITHOUT_DATA = b"123456"  # links, devices, folders, pipes
_LONG_NAME, _LONG_LINK, _PAX, _PAX_OF_ALL, _SPARSE = b"L", b"K", b"x", b"g", b"S"
_MOST_MEMBERS = 10_000_000
_LONGEST_EXTENSION = 1 << 20
_MOST_PADDING = 1 << 20
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


class About(NamedTuple):
    """Metadata of a sample from its texts; empty where they do not say."""

    label: str = ""
    subject: str = ""
    split: str = ""
    subset: str = ""


class Sample(NamedTuple):
    """One file of a modality: ``size`` bytes from ``offset`` on, and what is said of it; None: it is left out."""

    name: str
    offset: int
    size: int
    about: About | None


@dataclass(slots=True)
class _Group:
    """Files with one key; a text that cannot be used is kept as its problem until a sample needs it."""

    files: list[Member] = field(default_factory=list)
    texts: dict[str, About | str] = field(default_factory=dict)


def read_shard(
    file: BinaryIO, length: int, suffixes: Collection[str], columns: Columns
) -> tuple[list[Sample], list[str]]:
    """List one shard.

    Args:
        file: the archive.
        length: its size in bytes.
        suffixes: file name endings to accept, with the dot, in lower case.
        columns: names of the values in the .json files.

    Returns:
        The samples that have an accepted file, in the archive's order, with those that the subset leaves out; and what
        is wrong with others.

    Raises:
        UnusableFile: the archive cannot be used.
    """
    groups: dict[str, _Group] = {}
    names: set[str] = set()
    endings = tuple(suffix.removeprefix(".") for suffix in suffixes)
    for member in tar_members(file, length):
        name = member.name
        folder, slash, base = name.rpartition("/")
        stem, _, kind = base.partition(".")
        if not stem or not kind:  # hidden files, files without an ending
            continue
        if name in names:
            raise UnusableFile(f"it holds {shown(name)} twice")
        names.add(name)
        kind = kind.lower()
        group = groups.setdefault(folder + slash + stem, _Group())
        if kind in _LABEL_FILES:
            group.texts[kind] = _read_text(file, member, kind, columns)
        elif kind.endswith(endings):
            group.files.append(member)
    samples, problems = [], []
    for key, group in groups.items():
        if not group.files:
            continue
        # ``KEY.png`` goes before ``KEY.mask.png``.
        chosen = [member for member in group.files if member.name[len(key) :].lower() in suffixes] or group.files
        try:
            if len(chosen) > 1:
                listed = first_few(member.name for member in chosen)
                raise UnusableFile(f"{shown(key)} has several files: {listed}")
            samples.append(Sample(*chosen[0], _about(key, group.texts, columns)))
        except UnusableFile as problem:
            problems.append(str(problem))
    return samples, problems


def _about(key: str, texts: dict[str, About | str], columns: Columns) -> About | None:
    """Metadata of a sample, None if it is not in the subset."""
    for problem in texts.values():
        if isinstance(problem, str):
            raise UnusableFile(problem)
    if columns.subset is not None:
        if "json" not in texts:
            raise UnusableFile(f'{shown(key)} has no .json with "{columns.subset}" for the subset')
        mark = subset_mark(text := texts["json"].subset)
        if mark is None:
            raise UnusableFile(
                f"{shown(key)}.json holds '{shown(text)}' as \"{columns.subset}\", neither 1, true or yes nor 0, "
                "false, no or empty"
            )
        if not mark:
            return None
    abouts = [texts[kind] for kind in _LABEL_FILES if kind in texts]
    label = next((about.label for about in abouts if about.label), "")
    if not label:
        wanted = columns.label or '" or "'.join(USUAL_NAMES["label"])
        raise UnusableFile(f'{shown(key)} has no label: no .json with "{wanted}", no .cls and no .txt')
    return abouts[0]._replace(label=label)


def _read_text(file: BinaryIO, member: Member, kind: str, columns: Columns) -> About | str:
    try:
        if member.size > _LARGEST_TEXT:
            raise UnusableFile(f"is larger than {_LARGEST_TEXT >> 20} MiB")
        file.seek(member.offset)
        try:
            text = file.read(member.size).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UnusableFile("is not UTF-8 text") from None
        if kind != "json":
            return About(label=_short(text.strip(), "label"))
        try:
            values = parse_json(text)
        except ValueError:
            raise UnusableFile("is not JSON") from None
        if not isinstance(values, dict):
            raise UnusableFile("is JSON but no object with names")
        folded = {key.strip().casefold(): key for key in values}
        return About(*(_value(values, folded, role, getattr(columns, role)) for role in About._fields))
    except UnusableFile as problem:
        return f"{shown(member.name)} {problem}"


def _value(values: dict[str, Any], folded: dict[str, str], role: str, wanted: str | None) -> str:
    """A label, subject, split or mark of the subset as text, empty where there is none."""
    if wanted is not None and wanted not in values:
        raise UnusableFile(f'has no "{wanted}" for the {role}')
    key = wanted if wanted is not None else next((folded[name] for name in USUAL_NAMES[role] if name in folded), None)
    value = None if key is None else values[key]
    if value is None:
        return ""
    if (isinstance(value, bool) and role != "subset") or not isinstance(value, str | int):
        raise UnusableFile(f"holds a {role} that is neither text nor a whole number")
    try:
        text = str(value).strip()
    except ValueError:  # thousands of digits
        text = "\0"
    if not is_clean(text):
        raise UnusableFile(f"holds a {role} that is not plain text")
    return _short(text, role)


def _short(text: str, role: str) -> str:
    if len(text) > _LONGEST_VALUE:  # there may be millions
        raise UnusableFile(f"holds a {role} of more than {_LONGEST_VALUE} characters")
    return text


class Member(NamedTuple):
    """A file in an archive: ``size`` bytes from ``offset`` on."""

    name: str
    offset: int
    size: int


def tar_members(file: BinaryIO, length: int) -> Iterator[Member]:
    """The plain files in an archive, in their order; links, folders and devices are passed over.

    The file is seekable and ``length`` bytes long; between two members it may be read and moved.

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
