"""Samples of a data set that a person found bad: ``rejected.csv`` in its folder, which a release leaves out."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from mmgen.data.writing.atomic import new_file
from mmgen.data.writing.layout import REJECTED
from mmgen.data.writing.metadata import read_rows, write_rows
from mmgen.data.writing.unfinished import alone_in
from mmgen.errors import UserError, shown

_COLUMNS = ("file_name", "time")


def read_rejected(folder: Path) -> dict[str, str]:
    """When each sample was rejected, by the name of its first file; that of one in a shard follows the shard's name.

    Raises:
        UserError: the file is damaged, a link or no table of this form.
    """
    path = folder / REJECTED
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("it is a link or no file")
        return {row["file_name"]: row["time"] for row in read_rows(path)}
    except FileNotFoundError:
        return {}
    except KeyError as error:
        raise UserError(f"{path} has no column {error}; repair or remove it.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({shown(error)}); repair or remove it.") from error


def reject(folder: Path, name: str, rejected: bool) -> Mapping[str, str]:
    """Add a sample to those that are rejected, or take it back; all of them. The table is whole at any time.

    Raises:
        UserError: see :func:`read_rejected`, or another process is writing to the folder.
    """
    with alone_in(folder):
        times = read_rejected(folder)
        if rejected:
            times.setdefault(name, datetime.now(UTC).isoformat(timespec="seconds"))
        else:
            times.pop(name, None)
        with new_file(folder / REJECTED, sync=True) as file:
            rows = (dict(zip(_COLUMNS, entry, strict=True)) for entry in times.items())
            write_rows(file, _COLUMNS, rows)
    return times
