"""``rejected.csv``: what a person found bad in a data set."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import pytest

from mmgen.data.writing.rejected import read_rejected, reject
from mmgen.data.writing.unfinished import alone_in
from mmgen.errors import UserError


def test_samples_are_rejected_and_taken_back(tmp_path: Path) -> None:
    assert read_rejected(tmp_path) == {}
    first = reject(tmp_path, "images/covid/000001.png", True)["images/covid/000001.png"]
    reject(tmp_path, "=1+1", True)
    assert reject(tmp_path, "images/covid/000001.png", True)["images/covid/000001.png"] == first
    assert list(read_rejected(tmp_path)) == ["images/covid/000001.png", "=1+1"]
    with (tmp_path / "rejected.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file_name", "time"] and rows[2][0] == "'=1+1", "a spreadsheet would run it"
    reject(tmp_path, "=1+1", False)
    assert list(read_rejected(tmp_path)) == ["images/covid/000001.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["rejected.csv"]


@pytest.mark.parametrize("content", [b"name\nx\n", b"\xff\xfe\x00", b"file_name,time\n" + b"x" * 2_000_000])
def test_a_damaged_table_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rejected.csv").write_bytes(content)
    for action in (lambda: read_rejected(tmp_path), lambda: reject(tmp_path, "a", True)):
        with pytest.raises(UserError, match=r"rejected.csv .*repair or remove it"):
            action()
    assert (tmp_path / "rejected.csv").read_bytes() == content


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("file_name,time\na,b\n")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "rejected.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(UserError, match="a link"):
        reject(tmp_path / "set", "x", True)


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with alone_in(tmp_path):
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(10)
    with pytest.raises(UserError, match="writing to"):
        reject(tmp_path, "a", True)
    leave.set()
    holder.join()
    assert read_rejected(tmp_path) == {} and reject(tmp_path, "a", True)
