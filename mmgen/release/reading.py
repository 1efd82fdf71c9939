"""Files of a synthetic data set as a release reads them: no link is followed, and errors name the file."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from mmgen.data.opening import parse_json
from mmgen.data.writing.layout import TABLE, mode_of, shard_members
from mmgen.data.writing.metadata import read_rows
from mmgen.errors import UserError, shown
from mmgen.release.described import Described


def checked(folder: Path, name: str) -> Path:
    """Path of a file of a data set that is a file, and not behind a link."""
    mode = mode_of(folder, name)
    if stat.S_ISLNK(mode):
        raise UserError(f"{folder / name} is a link, which is not followed; put the file itself there.")
    if not stat.S_ISREG(mode):
        raise UserError(f"{folder / name} is no regular file; generate the data set again.")
    return folder / name


@contextmanager
def named(folder: Path, name: str) -> Iterator[None]:
    """Say which file cannot be read."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / name} cannot be read ({shown(error)}); generate the data set again.") from error


def rows_of(folder: Path) -> Iterator[dict[str, str]]:
    """Rows of the table."""
    with named(folder, TABLE):
        yield from read_rows(checked(folder, TABLE))


def is_metadata(member: str) -> bool:
    """Whether a file in a shard is a sample's metadata."""
    return re.fullmatch("[0-9]{6,9}[.]json", member) is not None


def samples_of(folder: Path, described: Described) -> Iterator[tuple[str, str, set[str]]]:
    """SHARD/NUMBER (of samples in a shard, others ""), label and names of the files of every sample, in the order that
    soft labels are in too."""
    if TABLE in described.tables:
        for row in rows_of(folder):
            yield "", row.get("label", ""), {row[column] for column in described.files if row.get(column)}
    for shard in sorted(name for name in described.samples if name.endswith(".tar")):
        with named(folder, shard):
            members = shard_members(checked(folder, shard))
            for key, parts in groupby(members, key=lambda part: part[0].name.partition(".")[0]):
                files, label = set(), ""
                for (member, *_), read in parts:
                    files.add(f"{shard}/{member}")
                    label = str(parse_json(read())["label"]) if is_metadata(member) else label
                yield f"{shard}/{key}", label, files
