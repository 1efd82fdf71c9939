"""Synthetic data sets: a copy without traces, and a digest of the samples that is the same before and after."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mmgen.data.progress import progress_bar
from mmgen.data.threads import in_order
from mmgen.data.writing.unfinished import INCOMPLETE
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError, first_few
from mmgen.release.content import SAMPLE_SUFFIXES, sample_digest, stripped
from mmgen.release.described import Described
from mmgen.release.scrubbing import Scrubber

DOCUMENT, TABLE, README = "dataset.json", "metadata.csv", "README.md"


def dataset_digest(folder: Path) -> str:
    """SHA-256, hexadecimal, of the samples of a data set and their labels.

    It is taken over the sorted relative names of sample files and members of shards, each with the SHA-256 of what
    scrubbing leaves of it (:func:`mmgen.release.content.sample_digest`), and the label and files of every row of the
    table. So it is the same before and after :func:`scrub_dataset`, and another one if a pixel, a label or a name is.

    Raises:
        UserError: the folder is no finished data set, or a file is missing, damaged or a link.
    """
    about = _document(folder)
    of_files = in_order(partial(_digests, folder, Described(about)), [*_samples(about), *_tables(about)])
    digest = hashlib.sha256()
    for line in sorted(line for lines in of_files for line in lines):
        digest.update(line.encode())
    return digest.hexdigest()


def scrub_dataset(source: Path, target: Path, scrubber: Scrubber, notes: str = "") -> list[str]:
    """Copy a data set to a new folder without anything but samples, labels and cleaned descriptions.

    Only files that ``dataset.json`` lists and that are of a known kind are copied; links are not followed. What is
    said of the set and of its samples is kept by allow-list (:class:`mmgen.release.described.Described`); paths and
    names go out of texts, everything but the sample out of samples' files, owner and time out of shards. Labels stay.
    Checksums are made anew.

    Args:
        notes: Markdown that is added to the data set's README as it is.

    Returns:
        What was not copied: relative names, those of members of shards after the shard's; columns and keys after
        "metadata: " and "dataset.json: ".

    Raises:
        UserError: the data set is unfinished, or a file is missing, damaged or a link, or names another one that may
            not be copied.
    """
    about = _document(source)
    described = Described(about)
    scrubber = scrubber.keeping([*about["counts"], *described.modalities])
    names = [*_samples(about), *_tables(about), *([README] if README in about["checksums"] else [])]
    left_out = sorted({*about["checksums"], *_files_in(source)} - {*names, DOCUMENT})
    checksums = {}

    def copy(name: str) -> tuple[str, str, list[str]]:
        content, skipped = _scrubbed(source, name, scrubber, described)
        if name == README:
            content += notes.encode()
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return name, hashlib.sha256(content).hexdigest(), skipped

    for name, checksum, skipped in progress_bar(in_order(copy, names), len(names), "copying"):
        checksums[name] = checksum
        left_out += skipped
    head = scrubber.tree(described.head())
    left_out += [f"{DOCUMENT}: {key}" for key in about if key not in head and key != "checksums"]
    # In the order of the document, which is that of the samples.
    listed = {name: checksums[name] for name in about["checksums"] if name in checksums}
    document = head | {"counts": about["counts"], "checksums": listed}
    (target / DOCUMENT).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if problems := verify_dataset(target, progress=False):
        raise UserError(f"{source} cannot be released as it is: {problems[0]} Generate it again.")
    return list(dict.fromkeys(left_out))  # every sample has the same keys


def dataset_modalities(folder: Path) -> list[str]:
    """Names of the modalities of a data set; UserError as for :func:`dataset_digest`."""
    return list(Described(_document(folder)).modalities)


def dataset_origin(folder: Path) -> tuple[str, bool]:
    """Which method made a data set, and whether it says that it may hold real data; UserError as for
    :func:`dataset_digest`."""
    about = _document(folder)
    generator = about.get("generator")
    method = generator.get("method") if isinstance(generator, dict) else None
    return str(method or ""), about.get("copies_real_data") is True


def _document(folder: Path) -> dict[str, Any]:
    """``dataset.json`` of a finished data set."""
    if os.path.lexists(folder / INCOMPLETE):
        raise UserError(f"{folder} is not finished; run the command that makes it again, and it goes on.")
    try:
        about = json.loads(_read(folder, DOCUMENT))
        form, counts, checksums = about["format"], dict(about["counts"]), dict(about["checksums"])
        if (
            about["synthetic"] is not True
            or form not in ("folder", "webdataset")
            or not counts
            or not dict(about["preprocessing"])
        ):
            raise ValueError("it describes no synthetic data set")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{folder} is no finished synthetic data set (dataset.json: {error}); give the folder of one."
        ) from error
    if outside := [name for name in checksums if not _is_inside(name)]:
        raise UserError(f"{folder}/dataset.json names {first_few(outside)}, which is outside of it; do not trust it.")
    return about


def _is_inside(name: str) -> bool:
    return not set(name) & set("\\:\0") and not set(name.split("/")) & {"", ".", ".."}


def _samples(about: dict[str, Any]) -> list[str]:
    """Files that hold samples: shards, or files of a known kind."""
    suffixes = {".tar"} if about["format"] == "webdataset" else SAMPLE_SUFFIXES
    return [name for name in about["checksums"] if "/" in name and os.path.splitext(name)[1] in suffixes]


def _tables(about: dict[str, Any]) -> list[str]:
    return [TABLE] if about["format"] == "folder" else []


def _files_in(folder: Path) -> Iterator[str]:
    """Relative names of everything in a folder that is no folder; links are not entered."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in [*files, *links]:
            yield (Path(parent).relative_to(folder) / name).as_posix()


def _checked(folder: Path, name: str) -> Path:
    """Path of a file of a data set that is a file, and not behind a link."""
    path = folder
    for part in name.split("/"):
        path = path / part
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise UserError(f"{path} is a link, which is not followed; put the file itself there.")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is no regular file; generate the data set again.")
    return path


def _read(folder: Path, name: str) -> bytes:
    return _checked(folder, name).read_bytes()


def _scrubbed(folder: Path, name: str, scrubber: Scrubber, described: Described) -> tuple[bytes, list[str]]:
    """A file without traces, and which of columns or members were left out."""
    try:
        if name.endswith(".tar"):
            return _scrub_shard(folder, name, scrubber, described)
        content = _read(folder, name)
        if name == TABLE:
            return _scrub_table(content.decode(), scrubber, described)
        if name == README:
            return scrubber.prose(content.decode()).encode(), []
        return stripped(os.path.splitext(name)[1], content), []
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, csv.Error, tarfile.TarError, EOFError) as error:
        raise UserError(f"{folder / name} cannot be released ({error}); generate the data set again.") from error


def _scrub_table(text: str, scrubber: Scrubber, described: Described) -> tuple[bytes, list[str]]:
    """Names of files and labels stay: they are what the table is for."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    columns = [column for column in rows.fieldnames or [] if described.keeps(column)]
    out = io.StringIO(newline="")
    table = csv.DictWriter(out, columns, lineterminator="\n")
    table.writeheader()
    for row in rows:
        cells = {column: row[column] or "" for column in columns}
        table.writerow(
            {
                column: cell if described.names(column) else scrubber.value(described.cell(column, cell))
                for column, cell in cells.items()
            }
        )
    return out.getvalue().encode(), [f"metadata: {key}" for key in rows.fieldnames or [] if key not in columns]


def _scrub_shard(folder: Path, name: str, scrubber: Scrubber, described: Described) -> tuple[bytes, list[str]]:
    """Members one after the other, without owner and time; what they hold as if they were files."""
    out, left_out = io.BytesIO(), []
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
        for member, content in _members(folder, name):
            suffix = os.path.splitext(member)[1]
            if content is None or (suffix != ".json" and suffix not in SAMPLE_SUFFIXES):
                left_out.append(f"{name}/{member}")
                continue
            if suffix == ".json":
                row = json.loads(content)
                left_out += [f"metadata: {key}" for key in row if not described.keeps(key)]
                kept = {key: described.value(key, value) for key, value in row.items() if described.keeps(key)}
                content = json.dumps(scrubber.tree(kept), ensure_ascii=False).encode()
            else:
                content = stripped(suffix, content)
            about = tarfile.TarInfo(member)  # its defaults: mode 0644, time, user and group 0, no names
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return out.getvalue(), left_out


def _members(folder: Path, name: str) -> Iterator[tuple[str, bytes | None]]:
    """Name and content of a shard's members; None for what is no plain file with a plain name."""
    with tarfile.open(_checked(folder, name), "r:") as tar:
        for member in tar:
            plain = member.isreg() and "/" not in member.name and _is_inside(member.name)
            file = tar.extractfile(member) if plain else None
            yield member.name, None if file is None else file.read()


def _digests(folder: Path, described: Described, name: str) -> Iterable[str]:
    """Lines for :func:`dataset_digest` of a file."""
    try:
        if name == TABLE:
            return list(_label_lines(_read(folder, name).decode(), described))
        if not name.endswith(".tar"):
            return [_line(name, sample_digest(os.path.splitext(name)[1], _read(folder, name)))]
        return list(_shard_lines(folder, name))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, csv.Error, tarfile.TarError, EOFError) as error:
        raise UserError(f"{folder / name} cannot be read ({error}); generate the data set again.") from error


def _shard_lines(folder: Path, name: str) -> Iterator[str]:
    for member, content in _members(folder, name):
        suffix = os.path.splitext(member)[1]
        if content is not None and suffix == ".json":
            yield _line(f"{name}/{member}", json.dumps(str(json.loads(content)["label"])))
        elif content is not None and suffix in SAMPLE_SUFFIXES:
            yield _line(f"{name}/{member}", sample_digest(suffix, content))


def _label_lines(table: str, described: Described) -> Iterator[str]:
    for row in csv.DictReader(io.StringIO(table, newline="")):
        kept = sorted((column, text) for column, text in row.items() if described.names(column))
        yield _line(TABLE, json.dumps(kept))


def _line(name: str, content: str) -> str:
    return f"{json.dumps(name)} {content}\n"
