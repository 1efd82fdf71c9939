"""Synthetic data sets: a copy of what may be shared, and a digest of the samples that is the same before and after."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from mmgen.data.opening import parse_json, read_bytes
from mmgen.data.progress import progress_bar
from mmgen.data.threads import in_order
from mmgen.data.writing.layout import (
    DOCUMENT,
    LARGEST_FILE,
    README,
    TABLE,
    add_member,
    mode_of,
    sha256,
    shard_members,
    unlisted,
)
from mmgen.data.writing.metadata import read_rows, write_rows
from mmgen.data.writing.readme import readme
from mmgen.data.writing.soft_labels import SOFT_LABELS, encode_soft_labels, read_soft_labels
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError, shown
from mmgen.release.content import sample_digest, written_anew
from mmgen.release.described import Described


def dataset_digest(folder: Path) -> str:
    """SHA-256, hexadecimal, of the samples of a data set and their labels.

    It is taken over the sorted relative names of sample files and members of shards, each with the SHA-256 of the
    decoded values (:func:`mmgen.release.content.sample_digest`), the label and files of every row of the table, and
    soft labels. So it is the same before and after :func:`copy_dataset`, and another one if a pixel, a label or a name
    is.

    Raises:
        UserError: the folder is no finished data set, or a file is missing, damaged or a link.
    """
    described = Described.of(folder)
    of_files = in_order(partial(_digests, folder, described), [*described.samples, *described.tables])
    digest = hashlib.sha256()
    for line in sorted(line for lines in of_files for line in lines):
        digest.update(line.encode())
    return digest.hexdigest()


def copy_dataset(source: Path, target: Path, privacy: str = "") -> list[str]:
    """Copy a data set to a new folder: samples and labels, and what :class:`Described` lets through.

    Only files that ``dataset.json`` lists, of a known kind and with the names that this library gives, are copied;
    links are not followed. Samples are decoded and written anew as :mod:`mmgen.data.writing` does, shards too. The
    README is written anew from the description. Labels stay. Checksums are made anew.

    Args:
        privacy: section on privacy, Markdown, that is added to the data set's README.

    Returns:
        What was not copied: relative names, those of members of shards after the shard's; columns and keys after
        "metadata: " and "dataset.json: ".

    Raises:
        UserError: the data set is unfinished, or a file is missing, damaged or a link, or names another one that may
            not be copied.
    """
    described = Described.of(source)
    about, head = described.about, described.head()
    names = [*described.samples, *described.tables]
    unlisted_names = [name for name, _ in unlisted(source, about["checksums"])]
    left_out = sorted({*about["checksums"], *unlisted_names} - {*names, README})
    checksums, shard_size, columns = {}, 0, []
    copied = in_order(partial(_copy, source, target, described), names)
    for name, checksum, skipped, samples, keys in progress_bar(copied, len(names), "copying"):
        checksums[name] = checksum
        left_out += skipped
        shard_size, columns = max(shard_size, samples), columns or keys
    (target / README).write_text(readme(head, shard_size, columns) + privacy, encoding="utf-8")
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


def _copy(source: Path, target: Path, described: Described, name: str) -> tuple[str, str, list[str], int, list[str]]:
    """Copy what is shared of a file; its name and SHA-256, columns or members that are left out, samples in a shard,
    names of the samples' metadata that are shared."""
    path, left_out, samples, columns = target / name, [], 0, []
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == TABLE:
        rows = _rows(source)
        first = next(rows, {})
        columns = [column for column in first if column in described.keys]
        shared = ({key: described.value(key, row[key]) for key in columns} for row in chain([first], rows))
        with path.open("xb") as file:
            write_rows(file, columns, shared)
        left_out += [f"metadata: {key}" for key in first if key not in columns]
    elif name == SOFT_LABELS:
        path.write_bytes(encode_soft_labels(_soft_labels(source, described), list(described.about["counts"])))
    elif name.endswith(".tar"):
        with tarfile.open(path, "x", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
            for member, content in _shared_members(source, name, described, left_out):
                add_member(tar, member, content)
                if member.endswith(".json"):
                    samples, columns = samples + 1, columns or list(parse_json(content))
    elif kind := described.kind_of(name):
        with _named(source, name):
            content = written_anew(kind[0], read_bytes(_checked(source, name), LARGEST_FILE), kind[1])
        path.write_bytes(content)
    return name, sha256(path), left_out, samples, columns


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    with _named(folder, TABLE):
        yield from read_rows(_checked(folder, TABLE))


def _soft_labels(folder: Path, described: Described) -> np.ndarray:
    counts = described.about["counts"]
    return read_soft_labels(_checked(folder, SOFT_LABELS).parent, list(counts), sum(counts.values()))


def _shared_members(folder: Path, name: str, described: Described, left_out: list[str]) -> Iterator[tuple[str, bytes]]:
    """Names and shared contents of the files in a shard; ``left_out`` gets what is not shared."""
    others: list[str] = []
    with _named(folder, name):
        for (member, *_), read in shard_members(_checked(folder, name), others):
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


def _digests(folder: Path, described: Described, name: str) -> list[str]:
    """Lines for :func:`dataset_digest` of a file."""
    parts: list[tuple[str, str]] = []
    if name == TABLE:
        told, digest = {"label", *described.files}, hashlib.sha256()
        for row in _rows(folder):
            digest.update(json.dumps(sorted(item for item in row.items() if item[0] in told)).encode())
        parts.append((TABLE, digest.hexdigest()))
    elif name == SOFT_LABELS:
        values = _soft_labels(folder, described).astype("<f4").tobytes()
        parts.append((SOFT_LABELS, hashlib.sha256(values).hexdigest()))
    elif name.endswith(".tar"):
        with _named(folder, name):
            for (member, *_), read in shard_members(_checked(folder, name)):
                if _is_metadata(member):
                    parts.append((f"{name}/{member}", json.dumps(str(parse_json(read())["label"]))))
                elif kind := described.kind_of(member):
                    parts.append((f"{name}/{member}", sample_digest(kind[0], read(), kind[1])))
    elif kind := described.kind_of(name):
        with _named(folder, name):
            content = read_bytes(_checked(folder, name), LARGEST_FILE)
            parts.append((name, sample_digest(kind[0], content, kind[1])))
    return [f"{json.dumps(part)} {content}\n" for part, content in parts]
