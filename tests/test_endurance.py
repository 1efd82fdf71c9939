"""What takes long to try: thousands of broken files of every format. Started by hand: pytest -m slow, with
MMGEN_FUZZ=NUMBER for another number of files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from mutate import FUZZ
from received import FORMATS, Received

from mmgen.errors import UserError

SCRIPT = Path(__file__).parent / "scripts" / "read_received.py"
SECONDS = 5.0  # for a file, of one core
MEMORY = 1024  # MiB for a file, beyond what the process has with everything imported


def read_broken(folder: Path, counts: Mapping[str, int], seed: int) -> list[dict[str, Any]]:
    """What came of so many broken files of formats; see the script."""
    run = subprocess.run(
        [sys.executable, SCRIPT, str(seed), folder, json.dumps(counts)], capture_output=True, text=True, check=False
    )
    results = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    last = results[-1]["file"] if results else "the start"
    assert run.returncode == 0 and len(results) == sum(counts.values()), f"ended after {last}: {run.stderr[-3000:]}"
    return results


def assert_in_order(results: list[dict[str, Any]]) -> None:
    wrong = [f"{result['file']}: {fault}" for result in results for fault in result["wrong"]]
    assert wrong == []
    assert [result for result in results if result["seconds"] > SECONDS or result["memory"] > MEMORY] == []


def test_a_file_from_elsewhere_is_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    results = read_broken(tmp_path, dict.fromkeys(FORMATS, 10), seed=1)
    assert_in_order(results)
    assert sum(result["refused"] for result in results) > len(results) / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_thousands_of_files_from_elsewhere(name: str, tmp_path: Path) -> None:
    results = read_broken(tmp_path, {name: FUZZ // 2 // len(FORMATS)}, seed=2)
    assert_in_order(results)
    refused = sum(result["refused"] for result in results)
    assert refused < len(results), "what only differs is read"
    assert bool(refused) is (name != "cache"), "what is broken is noticed, but decoded anew where it is a copy"


def _multiline(folder: Path, broken: Path) -> list[str]:
    raise UserError(f"{broken} is damaged:\nTraining can start.")


def _nameless(folder: Path, broken: Path) -> list[str]:
    raise UserError("It is damaged.")


def _error(folder: Path, broken: Path) -> list[str]:
    raise KeyError("label")


def _exit(folder: Path, broken: Path) -> list[str]:
    raise SystemExit(1)


@pytest.mark.parametrize("read", [_multiline, _nameless, _error, _exit, lambda folder, broken: ["\x1b[2J"]])
def test_faults_are_seen(read: Callable[[Path, Path], list[str]], tmp_path: Path) -> None:
    from read_received import faults

    _, wrong = faults(Received(Path.mkdir, {}, read), tmp_path, tmp_path / "x.json")
    assert len(wrong) == 1


@pytest.mark.parametrize("act", ["open('/etc/hostname')", "os.listdir('..')", "os.system('true')", "open('link')"])
def test_strays_are_seen(act: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "link").symlink_to(tmp_path / "secret.png")
    (tmp_path / "secret.png").touch()
    watch = "import os, pathlib, read_received as r; r.watch(pathlib.Path.cwd())"
    code = f"{watch}; open('own', 'w').close(); assert not r.strayed; {act}; assert len(r.strayed) == 1, r.strayed"
    path = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "inner", env=path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
