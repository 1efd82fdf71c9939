from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from awkward import AWKWARD

from mmgen.data.writing import metadata
from mmgen.data.writing.metadata import read_rows, write_rows

FORMULAS = ["=cmd()", "+1", "-x", "@SUM(A1)", "'=x", "''+", "'plain", "\ttab", "=", "-", "a=b", '=HYPERLINK("x","y")']


def test_no_cell_is_a_formula_and_every_text_comes_back(tmp_path: Path) -> None:
    texts = [*FORMULAS, *AWKWARD, "line\nbreak", "a,b", 'say "x"', "=two\nlines"]
    rows = [{"label": text, "=column": other} for text in texts for other in texts[:5]]
    with (tmp_path / "table.csv").open("wb") as file:
        write_rows(file, ["label", "=column"], rows)
    assert list(read_rows(tmp_path / "table.csv")) == rows
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert len(cells) == 2 * len(rows) + 2 and not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    write_rows(buffer, ["a", "b", "c"], [{"a": -1, "b": None, "c": -0.5}])
    assert buffer.getvalue() == b"a,b,c\n-1,,-0.5\n"


def test_short_and_long_rows_are_rows(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1\n\n1,2,3\n")
    assert list(read_rows(tmp_path / "table.csv")) == [{"a": "1", "b": ""}, {"a": "1", "b": "2"}]
    (tmp_path / "table.csv").write_text("")
    assert list(read_rows(tmp_path / "table.csv")) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"label\n" + b"x" * 2_000_000, "a line is longer"),
        (b"label\n" + b'"a\n",' * 300_000, "a row is longer"),
        (b"label\n" + b"a\n" * 101, "more than 100 rows"),
        (b'label\n"' + b"x" * 200_000, "field larger than"),
        (b"label\n\xff\n", "utf-8"),
    ],
)
def test_tables_are_bounded(content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "_MOST_ROWS", 100)
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        list(read_rows(tmp_path / "table.csv"))


def test_a_sparse_table_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "table.csv").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="larger than 512 MiB"):
        next(read_rows(tmp_path / "table.csv"))
