"""``metadata.csv``, the table of a data set in folder form: no cell is a formula, and none is read without bounds."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mmgen.data.cells import from_cell, to_cell
from mmgen.data.opening import MIB, bounded_lines, open_regular
from mmgen.data.writing.layout import LARGEST_DOCUMENT

_MOST_ROWS = 5_000_000
_LONGEST_ROW = 1_000_000  # characters; a row may have many lines


def write_rows(file: BinaryIO, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with a header; texts that a spreadsheet would run are spelled as :func:`mmgen.data.cells.to_cell`
    does."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(map(to_cell, columns))
    table.writerows([to_cell(row[column]) for column in columns] for row in rows)
    text.detach()


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a table by column, as they were before :func:`write_rows`; cells that a row lacks are empty.

    Raises:
        ValueError: it is no table in UTF-8, or a larger one than memory holds.
        OSError: there is none, see :func:`mmgen.data.opening.open_regular`.
    """
    length = 0  # of the row so far

    def lines() -> Iterator[str]:
        nonlocal length
        for line in bounded_lines(text):
            length += len(line)
            if length > _LONGEST_ROW:
                raise ValueError(f"a row is longer than {_LONGEST_ROW:,} characters")
            yield line

    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST_DOCUMENT:
            raise ValueError(f"it is larger than {LARGEST_DOCUMENT // MIB} MiB")
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        reader = csv.reader(lines())
        try:
            columns = list(map(from_cell, next(reader, [])))
            for number, cells in enumerate(reader):
                length = 0
                if number == _MOST_ROWS:
                    raise ValueError(f"it has more than {_MOST_ROWS:,} rows")
                if cells:
                    yield dict.fromkeys(columns, "") | dict(zip(columns, map(from_cell, cells), strict=False))
        except csv.Error as error:
            raise ValueError(str(error)) from error
