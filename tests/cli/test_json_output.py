from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
from calling import call, error
from small import run

from mmgen.cli.json_output import printing_json

COMMAND = "from mmgen.cli.main import main\nmain()\n"


def test_standard_output_holds_the_object_and_nothing_else(tmp_path: Path) -> None:
    """In a process of its own, whose logging is that of the program."""
    (tmp_path / "command.py").write_text(COMMAND)
    flags = ("--kind", "lesions", "--subjects-per-class", 2, "--image-size", 16)
    done = run(tmp_path / "command.py", "phantoms", "--out", tmp_path / "a", *flags, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"folders": [str(tmp_path / "a")]} and done.stdout.count("\n") == 1
    assert f"Phantom data are in {tmp_path / 'a'}" in done.stderr


def test_problems_are_listed_and_still_end_the_program_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call(monkeypatch, "check", tmp_path / "nothing", "--json") == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "nothing is no folder" in problem
    assert call(monkeypatch, "check", tmp_path / "nothing") == 1
    assert not capsys.readouterr().out.startswith("{")


def test_an_error_is_a_sentence_and_no_object(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call(monkeypatch, "report", tmp_path, "--json") == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: There is no report in")
    assert call(monkeypatch, "check", "--json") == 2
    assert "Give --images and --audio" in error(capsys)


def test_whatever_a_command_prints_is_not_in_the_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger()
    handler = logging.StreamHandler(sys.stdout)
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, handler])

    def command() -> dict[str, object]:
        print("printed")
        logger.error("logged")
        return {"path": Path("a"), "value": float("nan"), "n": 3}

    assert printing_json(command)["n"] == 3
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"path": "a", "value": None, "n": 3}
    assert printed.err.splitlines() == ["printed", "logged"]
    monkeypatch.setenv("RANK", "1")  # the first process speaks for all
    printing_json(command)
    assert capsys.readouterr().out == ""
