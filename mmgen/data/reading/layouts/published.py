"""Shared by the readers of published layouts: options, a layout's description, tables and the files these name."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmgen.data.files import LocalFiles
from mmgen.data.opening import bounded_lines, open_regular
from mmgen.data.reading.folders import LocalTree
from mmgen.data.table import Manifest, encode_labels
from mmgen.errors import UserError, first_few

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayoutOptions:
    """Choices among the records of published data sets.

    Attributes:
        cough_detected: COUGHVID: least probability, 0..1, that a recording holds a cough.
        coswara_recordings: Coswara: names of the recordings taken from each participant, without their ending.

    Raises:
        UserError: if the probability is out of range or no recording is named.
    """

    cough_detected: float = 0.8
    coswara_recordings: tuple[str, ...] = ("cough-heavy", "cough-shallow")

    def __post_init__(self) -> None:
        if not 0 <= self.cough_detected <= 1:
            raise UserError(f"cough_detected is a probability from 0 to 1, not {self.cough_detected}.")
        if not self.coswara_recordings:
            raise UserError("coswara_recordings names no recording; name some, such as cough-heavy.")


@dataclass(frozen=True)
class Published:
    """How a published data set is found and read.

    Attributes:
        kind: What its files are: "image" or "audio".
        expected: The file it is known by, as messages call it.
        find: What could be read at a path: tables or folders, none if the data set is not there. Only names that the
            layout knows are looked for, so that asking is quick whatever else is there.
        read: The manifest of what was found, given the accepted endings in lower case.
    """

    kind: str
    expected: str
    find: Callable[[Path], list[Path]]
    read: Callable[[Path, tuple[str, ...], LayoutOptions], Manifest]


def find_tables(path: Path, name: str) -> list[Path]:
    """The file ``name``: ``path`` itself, or in it, or else all one folder below (two, if archives repeat a name)."""
    if path.is_file():
        return [path] if path.name == name else []
    if not path.is_dir():
        return []
    if (path / name).is_file():
        return [path / name]
    below = [folder / name for child in LocalTree(path).subfolders() for folder in (path / child, path / child / child)]
    return [table for table in below if table.is_file()]


def read_table(table: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """The named columns of a CSV as text without surrounding space, empty where a value is missing; nothing else.

    The index counts data rows from 1, for messages.

    Raises:
        UserError: if the file is no CSV in UTF-8, lacks one of ``columns``, or has no rows.
    """
    import pandas as pd

    try:
        with TextIOWrapper(open_regular(table), encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(bounded_lines(text), strict=True)
            header = [name.strip() for name in next(reader, [])]
            lacking = [name for name in columns if name not in header]
            if lacking:
                raise UserError(
                    f"{table} has no column {first_few(lacking)}; restore the published file or name another layout."
                )
            used = {name: header.index(name) for name in (*columns, *optional) if name in header}
            values: dict[str, list[str]] = {name: [] for name in used}
            longer: list[bool] = []
            for row in filter(None, reader):
                longer.append(any(row[len(header) :]))
                row += [""] * (len(header) - len(row))
                for name, position in used.items():
                    values[name].append(row[position].strip())
    except UnicodeDecodeError:
        raise UserError(f"{table} is not UTF-8 text; restore the published file.") from None
    except UserError:
        raise
    except (csv.Error, ValueError) as error:
        raise UserError(f"{table} cannot be read as a CSV ({error}); restore the published file.") from None
    if not longer:
        raise UserError(f"{table} has a header but no rows; restore the published file.")
    index = pd.RangeIndex(1, len(longer) + 1, name="data rows")
    # Where a field is too many, values are in columns that are not theirs.
    refuse_rows(table, pd.Series(longer, index), "number of fields", "that of the header")
    return pd.DataFrame(values, index, dtype="str")


def numbers(table: Path, column: pd.Series) -> np.ndarray:
    """A column of text as float64 (n,), NaN where it is empty; raises UserError for other text."""
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce")
    refuse_rows(table, values.isna() & (column != ""), str(column.name), "a number")
    return values.to_numpy(dtype=np.float64)


def refuse_rows(table: Path, wrong: pd.Series, column: str, wanted: str) -> None:
    """Raise UserError if any of ``wrong`` (n,) is true: it shows rows but no values, which may be anybody's."""
    if wrong.any():
        raise UserError(f"'{column}' in {table} is not {wanted} in {_where(wrong)}; correct or remove them.")


def drop_repeats(table: Path, paths: Sequence[str], labels: pd.Series) -> np.ndarray:
    """(n,) bool, false where a path came before: one file twice could come to lie on two sides of a split.

    Raises:
        UserError: if a path comes with two labels.
    """
    import pandas as pd

    files = pd.Series(paths, labels.index)
    repeated = files.duplicated()
    if repeated.any():
        wrong = labels != labels.groupby(files).transform("first")
        if wrong.any():
            raise UserError(
                f"{table} gives files another label than before in {_where(wrong)}; correct or remove them."
            )
        logger.warning("%s names %d files a second time; these rows are left out.", table, repeated.sum())
    return ~repeated.to_numpy()


def _where(wrong: pd.Series) -> str:
    return f"{wrong.index.name} {first_few(wrong.index[wrong])}"


def locate(table: Path, names: Sequence[str], keys: Sequence[str], files: Mapping[str, str]) -> list[str]:
    """The file of each key; raises one UserError that counts the keys without a file and shows some of their ``names``.

    Published tables are taken at their word: a download that stopped half-way would otherwise be trained on as if it
    were whole, and one class may be what is missing.
    """
    missing = [name for name, key in zip(names, keys, strict=True) if key not in files]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(names)} files named in {table} do not exist ({first_few(missing)}); "
            "finish the download or remove their rows."
        )
    return [files[key] for key in keys]


def table_manifest(
    root: Path,
    paths: list[str],
    labels: Iterable[str],
    rows: np.ndarray,
    subjects: np.ndarray | None = None,
    splits: np.ndarray | None = None,
) -> Manifest:
    """Manifest of n files below ``root`` with labels (n,) of text; ``rows`` are those of the published table."""
    indices, names = encode_labels(f"The published table in {root}", list(labels))
    return Manifest(LocalFiles(root), paths, indices, names, subjects, splits, np.asarray(rows, np.int64))
