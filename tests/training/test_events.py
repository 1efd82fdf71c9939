"""A disk that is full costs a run its curves in TensorBoard, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tiny
from accelerate import Accelerator

from mmgen.training.events import EventFile
from mmgen.training.run import read_metrics


def refuse_events(patch: pytest.MonkeyPatch, after: int) -> None:
    """From then on files of events are on a disk that is full."""
    opened, left = Path.open, [after]

    def open_full(path: Path, *arguments: str, **options: str) -> object:
        if "tfevents" in path.name:
            left[0] -= 1
            path = path if left[0] >= 0 else Path("/dev/full")
        return opened(path, *arguments, **options)

    patch.setattr(Path, "open", open_full)


@pytest.mark.parametrize("after", [0, 2])
def test_a_training_goes_on_without_its_events(
    accelerator: Accelerator,
    tmp_path: Path,
    after: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refuse_events(monkeypatch, after)
    tiny.make_loop(accelerator, tmp_path).train()
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3]
    (warning,) = [record.message for record in caplog.records]
    assert warning.startswith("Events for TensorBoard are not written any more (") and "No space left" in warning


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tensorboard").write_text("mine")
    EventFile(tmp_path / "tensorboard").scalars({"x": 1.0}, 3)
    assert caplog.text.count("not written any more") == 1


def test_steps_that_are_repeated_replace_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for process, steps in ((1, range(4)), (2, range(2, 6))):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        events = EventFile(tmp_path, steps[0])
        for step in steps:
            events.scalars({"loss": float(10 * process + step), "empty": float("nan")}, step)
    shown = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in shown] == [(0, 10), (1, 11), (2, 22), (3, 23), (4, 24), (5, 25)]
