"""``mmgen report``: what is no report is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import call, error

from mmgen.evaluation.report.media import ReportMedia
from mmgen.evaluation.report.writing import write_report


def test_no_report_and_damaged_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "report", tmp_path) == 2
    assert f"There is no report in {tmp_path}" in error(capsys)
    write_report(tmp_path / "audit", {"run": "x", "privacy": {"refused": "too few"}}, ReportMedia())
    assert call(monkeypatch, "report", tmp_path) == 0
    capsys.readouterr()
    for name in ("media.json", "report.json"):
        (tmp_path / "audit" / name).write_text("{")
        assert call(monkeypatch, "report", tmp_path / "audit") == 2
        assert error(capsys) == f"error: {tmp_path / 'audit' / name} is damaged; evaluate the run again."
