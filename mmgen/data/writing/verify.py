"""Whether a synthetic data set is whole: every file there, unchanged and listed, and the counts true."""

from __future__ import annotations

import csv
import json
import os
import re
import stat
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from mmgen.data.progress import progress_bar
from mmgen.data.threads import in_order
from mmgen.data.writing.unfinished import INCOMPLETE
from mmgen.data.writing.writer import sha256
from mmgen.errors import first_few

_DOCUMENT = "dataset.json"
_MEMBER_LIMIT = 1 << 20  # bytes of a sample's metadata; it has some hundred


@dataclass(frozen=True)
class _Document:
    format: str
    counts: dict[str, int]
    checksums: dict[str, str]


def verify_dataset(folder: Path, progress: bool = True) -> list[str]:
    """Compare a data set with its ``dataset.json``: what is wrong, in sentences; none if it is intact.

    Nothing in the folder is trusted: links and paths that lead out of it are named and not followed.
    """
    if not folder.is_dir():
        return [f"{folder} is no folder: give the folder of a data set."]
    if os.path.lexists(folder / INCOMPLETE):
        return [f"{folder} is still being written, or was interrupted: run the same command again, and it goes on."]
    try:
        document = _read_document(folder / _DOCUMENT)
    except (OSError, ValueError, RecursionError) as error:
        return [f"{folder / _DOCUMENT} cannot be used ({error}): this is no finished synthetic data set."]
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, wrong in _others(folder, document.checksums):
        found[wrong].append(name)
    names = [name for name in document.checksums if _is_inside(name)]
    if outside := [name for name in document.checksums if not _is_inside(name)]:
        found["outside the data set"] = outside

    def check(name: str) -> tuple[str, str | None]:
        return name, _compare(folder, name, document.checksums[name])

    results = progress_bar(in_order(check, names), len(names), "checking files", quiet=not progress)
    readable = []
    for name, wrong in results:
        if wrong is not None:
            found[wrong].append(name)
        if wrong in (None, _CHANGED):
            readable.append(name)
    tell = _shard_problems if document.format == "webdataset" else _table_problems
    return [*_sentences(found), *tell(folder, document, readable)]


def _sentences(found: Mapping[str, Sequence[str]]) -> list[str]:
    """{what is wrong: names} in words."""
    return [
        f"{len(names)} {'file is' if len(names) == 1 else 'files are'} {wrong}: {first_few(map(_shown, names))}."
        for wrong, names in found.items()
    ]


def _shown(name: str) -> str:
    """A name from the data set that may not say anything to a terminal."""
    return name[:200] if name.isprintable() else json.dumps(name[:200])


def _read_document(path: Path) -> _Document:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("it is a link or no file")
    about = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(about, dict) or about.get("synthetic") is not True:
        raise ValueError('it does not say "synthetic": true')
    form, counts, checksums = (about.get(key) for key in ("format", "counts", "checksums"))
    if form not in ("folder", "webdataset"):
        raise ValueError(f"its format is not folder or webdataset but {_shown(str(form))}")
    if not isinstance(counts, dict) or not all(type(count) is int and count >= 0 for count in counts.values()):
        raise ValueError("its counts are not whole numbers by label")
    if not isinstance(checksums, dict) or not all(map(_is_checksum, checksums.values())):
        raise ValueError("its checksums are not SHA-256 by file")
    return _Document(form, counts, checksums)


def _is_checksum(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_inside(name: str) -> bool:
    return not set(name) & set("\\:\0") and not set(name.split("/")) & {"", ".", ".."}


def _others(folder: Path, listed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Files that are not listed, and links to folders, which are not entered, with what is wrong with them."""
    for parent, folders, files in os.walk(folder):
        prefix = Path(parent).relative_to(folder)
        for name in sorted(folders):
            if os.path.islink(os.path.join(parent, name)):
                yield (prefix / name).as_posix(), _LINK
        for name in sorted(files):
            relative = (prefix / name).as_posix()
            if relative not in listed and relative != _DOCUMENT:
                yield relative, "not listed in dataset.json"


_CHANGED = "changed since they were listed"
_LINK = "links, which are not followed"


def _compare(folder: Path, name: str, checksum: str) -> str | None:
    """What is wrong with a listed file."""
    path = folder
    try:
        for part in name.split("/"):
            path = path / part
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                return _LINK
        if not stat.S_ISREG(mode):
            return "no regular files"
        return None if sha256(path) == checksum else _CHANGED
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except (OSError, ValueError):  # a name that no file system takes
        return "not to be read"


def _table_problems(folder: Path, document: _Document, readable: Iterable[str]) -> list[str]:
    """Compare ``metadata.csv`` with the counts and the files."""
    if "metadata.csv" not in readable:
        return ["metadata.csv is not there to be compared with the counts."]
    labels: Counter[str] = Counter()
    unknown: list[str] = []
    try:
        with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                labels[row["label"]] += 1
                for column, name in row.items():
                    if str(column).endswith(("_file_name", "_spectrogram")) and name not in document.checksums:
                        unknown.append(str(name))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        return [f"metadata.csv cannot be read ({error})."]
    wrong = {"named by metadata.csv but not listed in dataset.json": unknown} if unknown else {}
    return [*_sentences(wrong), *_count_problems("metadata.csv", labels, document.counts)]


def _shard_problems(folder: Path, document: _Document, readable: Iterable[str]) -> list[str]:
    """Compare the members of shards with the counts."""
    labels: Counter[str] = Counter()
    keys: set[str] = set()
    problems = []
    for name in sorted(name for name in readable if name.endswith(".tar")):
        try:
            for key, label in _samples(folder / name):
                if key in keys:
                    raise ValueError(f"the sample {_shown(key)} is there twice")
                keys.add(key)
                labels[label] += 1
        except (OSError, ValueError, KeyError, TypeError, RecursionError, tarfile.TarError) as error:
            problems.append(f"The shard {_shown(name)} cannot be used ({_shown(str(error))}).")
    return [*problems, *_count_problems("shards/", labels, document.counts)]


def _samples(shard: Path) -> Iterator[tuple[str, str]]:
    """Key and label of every sample of a shard; raises ValueError or TarError where it is none of ours."""
    first: set[str] | None = None
    with tarfile.open(shard, "r:") as tar:
        for key, members in groupby(tar, key=lambda member: member.name.partition(".")[0]):
            suffixes, about = set(), {}
            for member in members:
                if not member.isreg() or not _is_inside(member.name) or "/" in member.name:
                    raise ValueError(f"{_shown(member.name)} is no plain file")
                suffixes.add(suffix := member.name.partition(".")[2])
                if suffix == "json" and member.size <= _MEMBER_LIMIT and (file := tar.extractfile(member)):
                    about = json.loads(file.read())
            first = first or suffixes
            if suffixes != first:
                raise ValueError(f"the sample {_shown(key)} has other files than the first")
            yield key, str(about["label"])


def _count_problems(where: str, found: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    differing = [
        f"'{_shown(label)}' ({found.get(label, 0)}, not {expected.get(label, 0)})"
        for label in dict.fromkeys([*expected, *map(str, found)])
        if found.get(label, 0) != expected.get(label, 0)
    ]
    return [f"{where} has other numbers of samples than dataset.json: {first_few(differing)}."] if differing else []
