"""The contents of one WebDataset shard: its files and where they are, which belong together, what is said of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from mmgen.data.decoded import UnusableFile
from mmgen.data.formats.tar import Member, tar_members
from mmgen.data.opening import parse_json
from mmgen.data.table import USUAL_NAMES, Columns, subset_mark
from mmgen.errors import first_few, is_clean, shown

_LARGEST_TEXT = 1 << 20
_LONGEST_VALUE = 1000
_LABEL_FILES = ("json", "cls", "txt")  # the first that has a label counts


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
