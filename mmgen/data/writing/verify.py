"""Whether a synthetic data set is whole: every file there, unchanged and listed, and the counts true."""

from __future__ import annotations

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from mmgen.data.opening import MIB, parse_json
from mmgen.data.progress import progress_bar
from mmgen.data.threads import in_order
from mmgen.data.writing.layout import (
    DOCUMENT,
    LARGEST_FILE,
    TABLE,
    is_inside,
    mode_of,
    read_document,
    sha256,
    shard_members,
    unlisted,
)
from mmgen.data.writing.metadata import read_rows
from mmgen.data.writing.soft_labels import SOFT_LABELS, read_soft_labels
from mmgen.data.writing.unfinished import INCOMPLETE
from mmgen.errors import UserError, first_few, shown


def verify_dataset(folder: Path, progress: bool = True) -> list[str]:
    """Compare a data set with its ``dataset.json``: what is wrong, in sentences; none if it is intact.

    Nothing in the folder is trusted: links and paths that lead out of it are named and not followed.
    """
    if not folder.is_dir():
        return [f"{folder} is no folder: give the folder of a data set."]
    if os.path.lexists(folder / INCOMPLETE):
        return [f"{folder} is still being written, or was interrupted: run the same command again, and it goes on."]
    try:
        about = read_document(folder)
    except (OSError, ValueError) as error:
        return [f"{folder / DOCUMENT} cannot be used ({error}): this is no finished synthetic data set."]
    wrong_files: defaultdict[str, list[str]] = defaultdict(list)
    for name, is_link in unlisted(folder, about["checksums"]):
        wrong_files[_LINK if is_link else "not listed in dataset.json"].append(name)
    names = [name for name in about["checksums"] if is_inside(name)]
    if outside := [name for name in about["checksums"] if not is_inside(name)]:
        wrong_files["outside the data set"] = outside
    faults = in_order(lambda name: _compare(folder, name, about["checksums"][name]), names)
    readable = []
    for name, wrong in zip(names, progress_bar(faults, len(names), "checking files", quiet=not progress), strict=True):
        if wrong is not None:
            wrong_files[wrong].append(name)
        if wrong in (None, _CHANGED):
            readable.append(name)
    tell = _shard_problems if about["format"] == "webdataset" else _table_problems
    return [*_sentences(wrong_files), *tell(folder, about, readable), *_soft_label_problems(folder, about, readable)]


def _sentences(wrong_files: Mapping[str, Sequence[str]]) -> list[str]:
    """{what is wrong: names} in words."""
    return [
        f"{len(names)} {'file is' if len(names) == 1 else 'files are'} {wrong}: {first_few(names)}."
        for wrong, names in wrong_files.items()
    ]


_CHANGED = "changed since they were listed"
_LINK = "links, which are not followed"


def _compare(folder: Path, name: str, checksum: str) -> str | None:
    """The fault of a listed file, None if it has none."""
    try:
        mode = mode_of(folder, name)
        if stat.S_ISLNK(mode):
            return _LINK
        if not stat.S_ISREG(mode):
            return "no regular files"
        return None if sha256(folder / name) == checksum else _CHANGED
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except (OSError, ValueError):  # a name that no file system takes
        return "not to be read"


def _table_problems(folder: Path, about: Mapping[str, Any], readable: Iterable[str]) -> list[str]:
    """Compare ``metadata.csv`` with the counts and the files."""
    if TABLE not in readable:
        return [f"{TABLE} is not there to be compared with the counts."]
    labels: Counter[str] = Counter()
    unknown: list[str] = []
    try:
        for row in read_rows(folder / TABLE):
            labels[row["label"]] += 1
            for column, name in row.items():
                if column.endswith(("_file_name", "_spectrogram")) and name not in about["checksums"]:
                    unknown.append(name)
    except (OSError, ValueError, KeyError) as error:
        return [f"{TABLE} cannot be read ({error})."]
    wrong = {f"named by {TABLE} but not listed in dataset.json": unknown} if unknown else {}
    return [*_sentences(wrong), *_count_problems(TABLE, labels, about["counts"])]


def _soft_label_problems(folder: Path, about: Mapping[str, Any], readable: Iterable[str]) -> list[str]:
    """Compare soft labels, where there are any, with the counts."""
    if SOFT_LABELS not in readable:
        return []
    try:
        read_soft_labels(folder, list(about["counts"]), sum(about["counts"].values()))
    except UserError as error:
        return [str(error)]
    return []


def _shard_problems(folder: Path, about: Mapping[str, Any], readable: Iterable[str]) -> list[str]:
    """Compare the members of shards with the counts."""
    labels: Counter[str] = Counter()
    keys: set[str] = set()
    problems = []
    for name in sorted(name for name in readable if name.endswith(".tar")):
        try:
            for key, label in _samples(folder / name):
                if key in keys:
                    raise ValueError(f"the sample {shown(key)} is there twice")
                keys.add(key)
                labels[label] += 1
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"The shard {shown(name)} cannot be used ({shown(error)}).")
    return [*problems, *_count_problems("shards/", labels, about["counts"])]


def _samples(shard: Path) -> Iterator[tuple[str, str]]:
    """Key and label of every sample of a shard; raises ValueError where it is none of ours."""
    first: set[str] | None = None
    others: list[str] = []
    for key, members in groupby(shard_members(shard, others), key=lambda item: item[0].name.partition(".")[0]):
        suffixes, about = set(), {}
        for member, read in members:
            if not is_inside(member.name) or "/" in member.name:
                raise ValueError(f"{shown(member.name)} is no plain file")
            if member.size > LARGEST_FILE:
                raise ValueError(f"{shown(member.name)} is larger than {LARGEST_FILE // MIB} MiB")
            suffixes.add(suffix := member.name.partition(".")[2])
            if suffix == "json":
                about = parse_json(read())
        first = first or suffixes
        if suffixes != first:
            raise ValueError(f"the sample {shown(key)} has other files than the first")
        yield key, str(about["label"])
    if others:
        raise ValueError(f"{shown(others[0])} is no plain file")


def _count_problems(where: str, counted: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    differing = [
        f"'{shown(label)}' ({counted.get(label, 0)}, not {expected.get(label, 0)})"
        for label in dict.fromkeys([*expected, *map(str, counted)])
        if counted.get(label, 0) != expected.get(label, 0)
    ]
    return [f"{where} has other numbers of samples than dataset.json: {first_few(differing)}."] if differing else []
