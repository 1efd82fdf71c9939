"""The benchmark of sampling: every way has a row."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from runpy import run_path

import pytest
from small import PROJECT

SCRIPT = PROJECT / "benchmarks" / "sampling.py"


def test_every_way_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    flags = ["--quick", "--device", "cpu", "--out", str(tmp_path / "a.json")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *flags])
    run_path(str(SCRIPT), run_name="__main__")
    document = json.loads((tmp_path / "a.json").read_text())
    ways = {(row["way"], row.get("batch_size")) for row in document["rows"]}
    assert ways == {("batch", 1), ("batch", 2), ("mmgen", None)}
    assert all(row["side"] == 32 and row["steps"] == 2 and row["images_per_s"] > 0 for row in document["rows"])
