"""The samples of one WebDataset shard: which files belong together, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from mmgen.data.decoded import UnusableFile
from mmgen.data.reading.tar_members import Member, tar_members
from mmgen.data.table import USUAL_NAMES, Columns, is_clean, shown, subset_mark

_LARGEST_TEXT = 1 << 20
_LABEL_FILES = ("json", "cls", "txt")  # the first that has a label counts


class About(NamedTuple):
    """What a sample's texts say of it; empty where they do not."""

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
            raise UnusableFile(f"it holds {shown([name])} twice")
        names.add(name)
        kind = kind.lower()
        group = groups.setdefault(folder + slash + stem, _Group())
        if kind in _LABEL_FILES:
            group.texts[kind] = _read_text(file, member, kind, columns)
        elif kind.endswith(endings):
            group.files.append(member)
    samples, problems = [], []
    for key, group in groups.items():
        try:
            if group.files:
                samples.append(Sample(*_only_file(key, group.files, suffixes), _about(key, group.texts, columns)))
        except UnusableFile as problem:
            problems.append(str(problem))
    return samples, problems


def _only_file(key: str, files: list[Member], suffixes: Collection[str]) -> Member:
    """``KEY.png`` goes before ``KEY.mask.png``."""
    chosen = [member for member in files if member.name[len(key) :].lower() in suffixes] or files
    if len(chosen) > 1:
        raise UnusableFile(f"{shown([key])} has several files: {shown(member.name for member in chosen)}")
    return chosen[0]


def _about(key: str, texts: dict[str, About | str], columns: Columns) -> About | None:
    """What is said of a sample, None if it is not in the subset."""
    for problem in texts.values():
        if isinstance(problem, str):
            raise UnusableFile(problem)
    if columns.subset is not None and not _in_subset(key, texts.get("json"), columns.subset):
        return None
    abouts = [texts[kind] for kind in _LABEL_FILES if kind in texts]
    label = next((about.label for about in abouts if about.label), "")
    if not label:
        wanted = columns.label or '" or "'.join(USUAL_NAMES["label"])
        raise UnusableFile(f'{shown([key])} has no label: no .json with "{wanted}", no .cls and no .txt')
    return abouts[0]._replace(label=label)


def _in_subset(key: str, about: About | None, subset: str) -> bool:
    if about is None:
        raise UnusableFile(f'{shown([key])} has no .json with "{subset}" for the subset')
    mark = subset_mark(about.subset)
    if mark is None:
        raise UnusableFile(
            f"{shown([key])}.json holds '{shown([about.subset])}' as \"{subset}\", neither 1, true or yes nor 0, "
            "false, no or empty"
        )
    return mark


def _read_text(file: BinaryIO, member: Member, kind: str, columns: Columns) -> About | str:
    try:
        if member.size > _LARGEST_TEXT:
            raise UnusableFile(f"is larger than {_LARGEST_TEXT >> 20} MiB")
        file.seek(member.offset)
        try:
            text = file.read(member.size).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UnusableFile("is not UTF-8 text") from None
        return _from_json(text, columns) if kind == "json" else About(label=text.strip())
    except UnusableFile as problem:
        return f"{shown([member.name])} {problem}"


def _from_json(text: str, columns: Columns) -> About:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # recursion: lists in lists in lists
        raise UnusableFile("is not JSON") from None
    if not isinstance(values, dict):
        raise UnusableFile("is JSON but no object with names")
    folded = {key.strip().casefold(): key for key in values}
    return About(*(_value(values, folded, role, getattr(columns, role)) for role in About._fields))


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
    return text
