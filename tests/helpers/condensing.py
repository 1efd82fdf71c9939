"""``mmgen condense`` in the tests' own process, and what it leaves."""

from __future__ import annotations

import csv
from pathlib import Path

import calling
import huggingface_hub
import pytest
from accelerate.state import AcceleratorState
from tiny_medsynth import use_tiny

from mmgen.data.images import ImageSettings

IMAGES = {"image": ImageSettings(32, 3)}


def call(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run ``mmgen`` on the tiny scale, cut off from the network; its exit code."""
    use_tiny(patch)
    patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    try:
        return calling.call(patch, *arguments)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def run_of(out: Path) -> Path:
    return out.with_name(f"{out.name}_run")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence on standard error, progress bars left out."""
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "\n" not in lines[0], lines
    return lines[0]
