"""Synthetic data sets: a copy of what may be shared, and a digest of the samples that is the same before and after."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from pathlib import Path

from mmgen.data.opening import parse_json, read_bytes
from mmgen.data.progress import progress_bar
from mmgen.data.threads import in_order
from mmgen.data.writing.layout import (
    DOCUMENT,
    LARGEST_FILE,
    README,
    REJECTED,
    TABLE,
    add_member,
    mode_of,
    readme,
    sha256,
    shard_members,
    unlisted,
)
from mmgen.data.writing.metadata import read_rows, write_rows
from mmgen.data.writing.rejected import read_rejected
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError, first_few, shown
from mmgen.release.content import sample_digest, written_anew
from mmgen.release.described import Described


@dataclass(frozen=True)
class Rejected:
    """The samples of a data set that a person found bad (:mod:`mmgen.data.writing.rejected`), which are not released.

    Attributes:
        names: of all files of these samples, in shards SHARD/NUMBER, and of shards that hold no other sample.
        labels: how many there are of each label.
    """

    names: frozenset[str] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many samples."""
        return sum(self.labels.values())

    @classmethod
    def of(cls, folder: Path) -> Rejected:
        """Those that the folder of a data set names.

        Raises:
            UserError: it names what is no sample of it, or all samples.
        """
        unknown = set(read_rejected(folder))
        if not unknown:
            return cls()
        described, names, kept, labels = Described.of(folder), set(), set(), Counter()
        total = sum(described.about["counts"].values())
        for sample, label, files in _samples(folder, described):
            if unknown & files:
                unknown -= files
                names |= {sample} if sample else files
                labels[label] += 1
            elif sample:
                kept.add(sample.rpartition("/")[0])
        if unknown:
            raise UserError(f"{folder / REJECTED} names {first_few(sorted(unknown))}, no sample of it; correct that.")
        if labels.total() == total:
            raise UserError(f"All samples of {folder} are rejected in {REJECTED}; there is nothing to release.")
        shards = {name.rpartition("/")[0] for name in names if name.rpartition("/")[0].endswith(".tar")}
        return cls(frozenset(names | (shards - kept)), labels)

    def holds(self, row: Mapping[str, str], columns: Collection[str]) -> bool:
        """Whether a row of the table is one of theirs."""
        return any(row.get(column) in self.names for column in columns)

    def holds_member(self, shard: str, member: str) -> bool:
        """Whether a file in a shard is one of theirs."""
        return f"{shard}/{member.partition('.')[0]}" in self.names


NOTHING = Rejected()


def _samples(folder: Path, described: Described) -> Iterator[tuple[str, str, set[str]]]:
    """SHARD/NUMBER (of samples in a shard, others ""), label and names of the files of every sample."""
    if described.tables:
        for row in _rows(folder):
            yield "", row.get("label", ""), {row[column] for column in described.files if row.get(column)}
    for shard in (name for name in described.samples if name.endswith(".tar")):
        with _named(folder, shard):
            members = shard_members(_checked(folder, shard))
            for key, parts in groupby(members, key=lambda part: part[0].name.partition(".")[0]):
                files, label = set(), ""
                for (member, *_), read in parts:
                    files.add(f"{shard}/{member}")
                    label = str(parse_json(read())["label"]) if _is_metadata(member) else label
                yield f"{shard}/{key}", label, files


def dataset_digest(folder: Path, rejected: Rejected = NOTHING) -> str:
    """SHA-256, hexadecimal, of the samples of a data set and their labels.

    It is taken over the sorted relative names of sample files and members of shards, each with the SHA-256 of the
    decoded values (:func:`mmgen.release.content.sample_digest`), and the label and files of every row of the table. So
    it is the same before and after :func:`copy_dataset`, and another one if a pixel, a label or a name is.

    Args:
        rejected: samples that do not count.

    Raises:
        UserError: the folder is no finished data set, or a file is missing, damaged or a link.
    """
    described = Described.of(folder)
    names = [name for name in (*described.samples, *described.tables) if name not in rejected.names]
    of_files = in_order(partial(_digests, folder, described, rejected), names)
    digest = hashlib.sha256()
    for line in sorted(line for lines in of_files for line in lines):
        digest.update(line.encode())
    return digest.hexdigest()


def copy_dataset(source: Path, target: Path, privacy: str = "", rejected: Rejected = NOTHING) -> list[str]:
    """Copy a data set to a new folder: samples and labels, and what :class:`Described` lets through.

    Only files that ``dataset.json`` lists, of a known kind and with the names that this library gives, are copied;
    links are not followed. Samples are decoded and written anew as :mod:`mmgen.data.writing` does, shards too. The
    README is written anew from the description. Labels stay. Checksums are made anew.

    Args:
        privacy: section on privacy, Markdown, that is added to the data set's README.
        rejected: samples that are left out.

    Returns:
        What was not copied: relative names, those of members of shards after the shard's; columns and keys after
        "metadata: " and "dataset.json: ".

    Raises:
        UserError: the data set is unfinished, or a file is missing, damaged or a link, or names another one that may
            not be copied.
    """
    described = Described.of(source)
    about, head = described.about, described.head()
    if rejected.count:
        head |= {"counts": {label: count - rejected.labels.get(label, 0) for label, count in head["counts"].items()}}
        head["rejected"] = rejected.count
    names = [name for name in (*described.samples, *described.tables) if name not in rejected.names]
    unlisted_names = [name for name, _ in unlisted(source, about["checksums"])]
    left_out = sorted({*about["checksums"], *unlisted_names} - {*names, *rejected.names, README})
    checksums, shard_size = {}, 0
    copied = in_order(partial(_copy, source, target, described, rejected), names)
    for name, checksum, skipped, samples in progress_bar(copied, len(names), "copying"):
        checksums[name] = checksum
        left_out += skipped
        shard_size = max(shard_size, samples)
    (target / README).write_text(readme(head, shard_size) + privacy, encoding="utf-8")
    checksums[README] = sha256(target / README)
    lost = [key for key in about if key not in head or (head[key] is None and about[key] is not None)]
    left_out += [f"{DOCUMENT}: {key}" for key in lost if key != "checksums"]
    # In the order of the document, which is that of the samples.
    listed = {name: checksums[name] for name in [*about["checksums"], README] if name in checksums}
    text = json.dumps(head | {"checksums": listed}, indent=1, ensure_ascii=False)
    (target / DOCUMENT).write_text(f"{text}\n", encoding="utf-8")
    if problems := verify_dataset(target, progress=False):
        raise UserError(f"{source} cannot be released as it is: {problems[0]} Generate it again.")
    return list(dict.fromkeys(left_out))  # every sample has the same keys


def _checked(folder: Path, name: str) -> Path:
    """Path of a file of a data set that is a file, and not behind a link."""
    mode = mode_of(folder, name)
    if stat.S_ISLNK(mode):
        raise UserError(f"{folder / name} is a link, which is not followed; put the file itself there.")
    if not stat.S_ISREG(mode):
        raise UserError(f"{folder / name} is no regular file; generate the data set again.")
    return folder / name


@contextmanager
def _named(folder: Path, name: str) -> Iterator[None]:
    """Say which file cannot be read."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / name} cannot be read ({shown(error)}); generate the data set again.") from error


def _copy(
    source: Path, target: Path, described: Described, rejected: Rejected, name: str
) -> tuple[str, str, list[str], int]:
    """Copy what is shared of a file; its name and SHA-256, columns or members that are left out, samples in a shard."""
    path, left_out, samples = target / name, [], 0
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == TABLE:
        rows = (row for row in _rows(source) if not rejected.holds(row, described.files))
        first = next(rows, {})
        columns = [column for column in first if column in described.keys]
        shared = ({key: described.value(key, row[key]) for key in columns} for row in chain([first], rows))
        with path.open("xb") as file:
            write_rows(file, columns, shared)
        left_out += [f"metadata: {key}" for key in first if key not in columns]
    elif name.endswith(".tar"):
        with tarfile.open(path, "x", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
            for member, content in _shared_members(source, name, described, rejected, left_out):
                add_member(tar, member, content)
                samples += member.endswith(".json")
    elif kind := described.kind_of(name):
        with _named(source, name):
            content = written_anew(kind[0], read_bytes(_checked(source, name), LARGEST_FILE), kind[1])
        path.write_bytes(content)
    return name, sha256(path), left_out, samples


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    with _named(folder, TABLE):
        yield from read_rows(_checked(folder, TABLE))


def _shared_members(
    folder: Path, name: str, described: Described, rejected: Rejected, left_out: list[str]
) -> Iterator[tuple[str, bytes]]:
    """Names and shared contents of the files in a shard; ``left_out`` gets what is not shared."""
    others: list[str] = []
    with _named(folder, name):
        for (member, *_), read in shard_members(_checked(folder, name), others):
            if rejected.holds_member(name, member):
                continue
            if _is_metadata(member):
                row = dict(parse_json(read()))
                left_out += [f"metadata: {key}" for key in row if key not in described.keys]
                kept = {key: described.value(key, value) for key, value in row.items() if key in described.keys}
                yield member, json.dumps(kept, ensure_ascii=False).encode()
            elif kind := described.kind_of(member):
                yield member, written_anew(kind[0], read(), kind[1])
            else:
                others.append(member)
    left_out += [f"{name}/{member}" for member in others]


def _is_metadata(member: str) -> bool:
    return re.fullmatch("[0-9]{6,9}[.]json", member) is not None


def _digests(folder: Path, described: Described, rejected: Rejected, name: str) -> list[str]:
    """Lines for :func:`dataset_digest` of a file."""
    parts: list[tuple[str, str]] = []
    if name == TABLE:
        told, digest = {"label", *described.files}, hashlib.sha256()
        for row in (row for row in _rows(folder) if not rejected.holds(row, described.files)):
            digest.update(json.dumps(sorted(item for item in row.items() if item[0] in told)).encode())
        parts.append((TABLE, digest.hexdigest()))
    elif name.endswith(".tar"):
        with _named(folder, name):
            for (member, *_), read in shard_members(_checked(folder, name)):
                if rejected.holds_member(name, member):
                    continue
                if _is_metadata(member):
                    parts.append((f"{name}/{member}", json.dumps(str(parse_json(read())["label"]))))
                elif kind := described.kind_of(member):
                    parts.append((f"{name}/{member}", sample_digest(kind[0], read(), kind[1])))
    elif kind := described.kind_of(name):
        with _named(folder, name):
            content = read_bytes(_checked(folder, name), LARGEST_FILE)
            parts.append((name, sample_digest(kind[0], content, kind[1])))
    return [f"{json.dumps(part)} {content}\n" for part, content in parts]
