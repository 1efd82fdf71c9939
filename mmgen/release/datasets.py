"""Synthetic data sets: a copy of what may be shared, and a digest of the samples that is the same before and after."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mmgen.data.progress import progress_bar
from mmgen.data.threads import in_order
from mmgen.data.writing.layout import DOCUMENT, README, TABLE, add_member, is_inside, mode_of, readme, unlisted
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError
from mmgen.release.content import SAMPLE_SUFFIXES, sample_digest, stripped
from mmgen.release.described import Described, is_number


def dataset_digest(folder: Path) -> str:
    """SHA-256, hexadecimal, of the samples of a data set and their labels.

    It is taken over the sorted relative names of sample files and members of shards, each with the SHA-256 of what
    :func:`mmgen.release.content.stripped` leaves of it, and the label and files of every row of the table. So it is the
    same before and after :func:`copy_dataset`, and another one if a pixel, a label or a name is.

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
    links are not followed. Of samples' files nothing but the sample is left, of shards neither owner nor time. The
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
    names = [*filter(described.is_named_by_us, described.samples), *described.tables]
    unlisted_names = [name for name, _ in unlisted(source, about["checksums"])]
    left_out = sorted({*about["checksums"], *unlisted_names} - {*names, README})
    checksums, shard_size = {}, 0

    def copy(name: str) -> tuple[str, str, list[str], int]:
        content, skipped, samples = _shared(source, name, described)
        return name, _write(target / name, content), skipped, samples

    for name, checksum, skipped, samples in progress_bar(in_order(copy, names), len(names), "copying"):
        checksums[name] = checksum
        left_out += skipped
        shard_size = max(shard_size, samples)
    checksums[README] = _write(target / README, (readme(head, shard_size) + privacy).encode())
    lost = [key for key in about if key not in head or (head[key] is None and about[key] is not None)]
    left_out += [f"{DOCUMENT}: {key}" for key in lost if key != "checksums"]
    # In the order of the document, which is that of the samples.
    listed = {name: checksums[name] for name in [*about["checksums"], README] if name in checksums}
    _write(target / DOCUMENT, (json.dumps(head | {"checksums": listed}, indent=1, ensure_ascii=False) + "\n").encode())
    if problems := verify_dataset(target, progress=False):
        raise UserError(f"{source} cannot be released as it is: {problems[0]} Generate it again.")
    return list(dict.fromkeys(left_out))  # every sample has the same keys


def _write(path: Path, content: bytes) -> str:
    """Write a file in a folder that is made; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


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
    except (OSError, ValueError, KeyError, TypeError, csv.Error, tarfile.TarError, EOFError) as error:
        raise UserError(f"{folder / name} cannot be read ({error}); generate the data set again.") from error


def _shared(folder: Path, name: str, described: Described) -> tuple[bytes, list[str], int]:
    """The shared content of a file, columns or members that are left out, and the number of samples in a shard."""
    with _named(folder, name):
        if name.endswith(".tar"):
            return _shared_shard(folder, name, described)
        content = _checked(folder, name).read_bytes()
        if name != TABLE:
            return stripped(os.path.splitext(name)[1], content), [], 0
        rows, out = csv.DictReader(io.StringIO(content.decode(), newline="")), io.StringIO(newline="")
        columns = [column for column in rows.fieldnames or [] if column in described.keys]
        table = csv.DictWriter(out, columns, lineterminator="\n")
        table.writeheader()
        table.writerows({column: described.value(column, row[column] or "") for column in columns} for row in rows)
        return out.getvalue().encode(), [f"metadata: {key}" for key in rows.fieldnames or [] if key not in columns], 0


def _shared_shard(folder: Path, name: str, described: Described) -> tuple[bytes, list[str], int]:
    """Members one after the other, without owner and time; what they hold as if they were files."""
    out, left_out, samples = io.BytesIO(), [], 0
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
        for member, content in _members(folder, name):
            suffix = os.path.splitext(member)[1]
            if content is None or not is_number(member) or suffix not in (".json", *SAMPLE_SUFFIXES):
                left_out.append(f"{name}/{member}")
                continue
            if suffix == ".json":
                row = json.loads(content)
                left_out += [f"metadata: {key}" for key in row if key not in described.keys]
                kept = {key: described.value(key, value) for key, value in row.items() if key in described.keys}
                content, samples = json.dumps(kept, ensure_ascii=False).encode(), samples + 1
            else:
                content = stripped(suffix, content)
            add_member(tar, member, content)
    return out.getvalue(), left_out, samples


def _members(folder: Path, name: str) -> Iterator[tuple[str, bytes | None]]:
    """Name and content of a shard's members; None for what is no plain file with a plain name."""
    with tarfile.open(_checked(folder, name), "r:") as tar:
        for member in tar:
            plain = member.isreg() and "/" not in member.name and is_inside(member.name)
            file = tar.extractfile(member) if plain else None
            yield member.name, None if file is None else file.read()


def _digests(folder: Path, described: Described, name: str) -> list[str]:
    """Lines for :func:`dataset_digest` of a file."""
    parts: list[tuple[str, str]] = []
    with _named(folder, name):
        if name.endswith(".tar"):
            for member, content in _members(folder, name):
                suffix = os.path.splitext(member)[1]
                if content is not None and suffix == ".json":
                    parts.append((f"{name}/{member}", json.dumps(str(json.loads(content)["label"]))))
                elif content is not None and suffix in SAMPLE_SUFFIXES:
                    parts.append((f"{name}/{member}", sample_digest(suffix, content)))
        elif name == TABLE:
            text, told = _checked(folder, name).read_bytes().decode(), {"label", *described.files}
            for row in csv.DictReader(io.StringIO(text, newline="")):
                parts.append((TABLE, json.dumps(sorted(item for item in row.items() if item[0] in told))))
        else:
            parts.append((name, sample_digest(os.path.splitext(name)[1], _checked(folder, name).read_bytes())))
    return [f"{json.dumps(part)} {content}\n" for part, content in parts]
