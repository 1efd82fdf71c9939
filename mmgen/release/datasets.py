"""Synthetic data sets: a copy of what may be shared, and a digest of the samples that is the same before and after."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
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
    sha256,
    shard_members,
    unlisted,
)
from mmgen.data.writing.metadata import write_rows
from mmgen.data.writing.readme import readme
from mmgen.data.writing.soft_labels import SOFT_LABELS, encode_soft_labels, read_soft_labels
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError
from mmgen.release.content import sample_digest, written_anew
from mmgen.release.described import Described
from mmgen.release.gallery import GALLERY
from mmgen.release.reading import checked, is_metadata, named, rows_of
from mmgen.release.rejected import NOTHING, Rejected


def dataset_digest(folder: Path, rejected: Rejected = NOTHING) -> str:
    """SHA-256, hexadecimal, of the samples of a data set and their labels.

    It is taken over the sorted relative names of sample files and members of shards, each with the SHA-256 of the
    decoded values (:func:`mmgen.release.content.sample_digest`), the label and files of every row of the table, and
    soft labels. So it is the same before and after :func:`copy_dataset`, and another one if a pixel, a label or a name
    is.

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
    README is written anew from the description; the picture in it is not copied. Labels stay. Checksums are made anew.

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
    left_out = sorted({*about["checksums"], *unlisted_names} - {*names, *rejected.names, README, GALLERY})
    checksums, shard_size, columns = {}, 0, []
    copied = in_order(partial(_copy, source, target, described, rejected), names)
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


def _copy(
    source: Path, target: Path, described: Described, rejected: Rejected, name: str
) -> tuple[str, str, list[str], int, list[str]]:
    """Copy what is shared of a file; its name and SHA-256, columns or members that are left out, samples in a shard,
    names of the samples' metadata that are shared."""
    path, left_out, samples, columns = target / name, [], 0, []
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == TABLE:
        rows = rejected.without(rows_of(source))
        first = next(rows, {})
        columns = [column for column in first if column in described.keys]
        shared = ({key: described.value(key, row[key]) for key in columns} for row in chain([first], rows))
        with path.open("xb") as file:
            write_rows(file, columns, shared)
        left_out += [f"metadata: {key}" for key in first if key not in columns]
    elif name == SOFT_LABELS:
        path.write_bytes(encode_soft_labels(_soft_labels(source, described, rejected), list(described.about["counts"])))
    elif name.endswith(".tar"):
        with tarfile.open(path, "x", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
            for member, content in _shared_members(source, name, described, rejected, left_out):
                add_member(tar, member, content)
                if member.endswith(".json"):
                    samples, columns = samples + 1, columns or list(parse_json(content))
    elif kind := described.kind_of(name):
        with named(source, name):
            content = written_anew(kind[0], read_bytes(checked(source, name), LARGEST_FILE), kind[1])
        path.write_bytes(content)
    return name, sha256(path), left_out, samples, columns


def _soft_labels(folder: Path, described: Described, rejected: Rejected) -> np.ndarray:
    """Class probabilities of the samples that are not rejected."""
    counts = described.about["counts"]
    values = read_soft_labels(checked(folder, SOFT_LABELS).parent, list(counts), sum(counts.values()))
    return values[list(rejected.without(range(len(values))))]


def _shared_members(
    folder: Path, name: str, described: Described, rejected: Rejected, left_out: list[str]
) -> Iterator[tuple[str, bytes]]:
    """Names and shared contents of the files in a shard; ``left_out`` gets what is not shared."""
    others: list[str] = []
    with named(folder, name):
        for (member, *_), read in shard_members(checked(folder, name), others):
            if rejected.holds_member(name, member):
                continue
            if is_metadata(member):
                row = dict(parse_json(read()))
                left_out += [f"metadata: {key}" for key in row if key not in described.keys]
                kept = {key: described.value(key, value) for key, value in row.items() if key in described.keys}
                yield member, json.dumps(kept, ensure_ascii=False).encode()
            elif kind := described.kind_of(member):
                yield member, written_anew(kind[0], read(), kind[1])
            else:
                others.append(member)
    left_out += [f"{name}/{member}" for member in others]


def _digests(folder: Path, described: Described, rejected: Rejected, name: str) -> list[str]:
    """Lines for :func:`dataset_digest` of a file."""
    parts: list[tuple[str, str]] = []
    if name == TABLE:
        told, digest = {"label", *described.files}, hashlib.sha256()
        for row in rejected.without(rows_of(folder)):
            digest.update(json.dumps(sorted(item for item in row.items() if item[0] in told)).encode())
        parts.append((TABLE, digest.hexdigest()))
    elif name == SOFT_LABELS:
        values = _soft_labels(folder, described, rejected).astype("<f4").tobytes()
        parts.append((SOFT_LABELS, hashlib.sha256(values).hexdigest()))
    elif name.endswith(".tar"):
        with named(folder, name):
            for (member, *_), read in shard_members(checked(folder, name)):
                if rejected.holds_member(name, member):
                    continue
                if is_metadata(member):
                    parts.append((f"{name}/{member}", json.dumps(str(parse_json(read())["label"]))))
                elif kind := described.kind_of(member):
                    parts.append((f"{name}/{member}", sample_digest(kind[0], read(), kind[1])))
    elif kind := described.kind_of(name):
        with named(folder, name):
            content = read_bytes(checked(folder, name), LARGEST_FILE)
            parts.append((name, sample_digest(kind[0], content, kind[1])))
    return [f"{json.dumps(part)} {content}\n" for part, content in parts]
