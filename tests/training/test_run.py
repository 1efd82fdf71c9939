from __future__ import annotations

import errno
import json
import math
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image

from mmgen.errors import UserError
from mmgen.training.run import Checkpoints, Run, RunLog, read_metrics


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


# -- a run and its stages


def test_a_stage_is_resumed_where_it_had_begun_and_started_otherwise(accelerator, tmp_path):
    Run(accelerator, tmp_path).stage("first").checkpoints.save({"update": 1}, 1)
    run = Run(accelerator, tmp_path, resume=True, seed=3)
    first, second = run.stage("first"), run.stage("second")
    assert (first.folder, first.resume, first.seed) == (tmp_path / "first", True, 3)
    assert (second.folder, second.resume, second.seed) == (tmp_path / "second", False, 3)
    alone = Run(accelerator).stage("first")
    assert alone.folder is None and alone.checkpoints is None and not alone.resumable


def test_what_cannot_begin_is_refused_and_what_is_replaced_is_said(accelerator, tmp_path, caplog):
    with pytest.raises(UserError, match="--seed must be 0 or more, got -1"):
        Run(accelerator, seed=-1)
    with pytest.raises(UserError, match="without a folder"):
        Run(accelerator, resume=True)
    run, resumed = Run(accelerator, tmp_path), Run(accelerator, tmp_path, resume=True)
    for stages in ((), ("first", "second")):
        with pytest.raises(UserError, match="There is no checkpoint in"), resumed.alone(*stages):
            pass
        with run.alone(*stages):
            pass
    assert not caplog.text
    run.stage("second").checkpoints.save({"update": 1}, 1)
    with resumed.alone("first", "second"):
        assert not caplog.text
    with run.alone("first", "second"):
        assert "holds an earlier run" in caplog.text
    run.set_aside("first", "second")
    assert not run.stage("second").resumable
    assert (tmp_path / "second" / "checkpoints.earlier" / "last.pt").is_file()


def test_numbers_of_an_update_follow_from_seed_and_update(accelerator):
    def drawn(seed: int, update: int) -> list[float]:
        return torch.rand(4, generator=Run(accelerator, seed=seed).draws(update)).tolist()

    assert drawn(1, 2) == drawn(1, 2)
    assert len({tuple(drawn(seed, update)) for seed in range(3) for update in range(3)}) == 9


# -- checkpoints


def test_what_is_saved_is_read_again(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new" / "checkpoints")
    checkpoints.save({"model": {"w": torch.arange(3.0)}, "update": 7, "best": float("inf")}, 7)
    state = checkpoints.load()
    assert (state["update"], state["best"]) == (7, float("inf"))
    assert torch.equal(state["model"]["w"], torch.arange(3.0))
    checkpoints.write({"w": torch.ones(1)}, checkpoints.best)
    assert torch.equal(checkpoints.load(checkpoints.best)["w"], torch.ones(1))
    assert names(checkpoints) == ["best.pt", "last.pt", "step_00000007.pt"]


@pytest.mark.parametrize(("keep", "kept"), [(0, []), (1, [4]), (2, [3, 4]), (9, [1, 2, 3, 4])])
def test_only_the_newest_steps_are_kept(tmp_path, keep, kept):
    checkpoints = Checkpoints(tmp_path, keep)
    for step in range(1, 5):
        checkpoints.save({"update": step}, step)
        checkpoints.save({"update": step}, step)  # the same step again
    assert names(checkpoints) == ["last.pt", *(f"step_{step:08d}.pt" for step in kept)]
    assert [checkpoints.load(tmp_path / f"step_{step:08d}.pt")["update"] for step in kept] == kept


def test_steps_of_a_longer_run_that_was_replaced_do_not_push_out_new_ones(tmp_path):
    Checkpoints(tmp_path).save({"update": 900}, 900)
    Checkpoints(tmp_path).save({"update": 3}, 3)
    assert names(Checkpoints(tmp_path)) == ["last.pt", "step_00000003.pt"]


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    Checkpoints(tmp_path).save({"update": 3}, 3)
    assert Checkpoints(tmp_path).load(tmp_path / "step_00000003.pt") == {"update": 3}


@pytest.mark.parametrize("as_torch_says", [True, False])
def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch, as_torch_says):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"update": 1}, 1)

    def full_disk(state: object, file: BinaryIO) -> None:
        file.write(b"half")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            if as_torch_says:
                raise RuntimeError("unexpected pos 704 vs 598") from error
            raise

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(UserError, match=r"last\.pt cannot be written .*No space left"):
        checkpoints.save({"update": 2}, 2)
    assert checkpoints.load() == {"update": 1}
    assert names(checkpoints) == ["last.pt", "step_00000001.pt"]


def test_missing_and_damaged_files_are_named(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UserError, match=r"no checkpoint .*last\.pt; start without --resume"):
        checkpoints.load()
    checkpoints.save({"update": 1}, 1)
    checkpoints.last.write_bytes(checkpoints.last.read_bytes()[:100])
    with pytest.raises(UserError, match=r"last\.pt cannot be read"):
        checkpoints.load()


class Payload:
    def __reduce__(self):
        return os.system, ("true",)


def test_nothing_but_data_is_unpickled(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    torch.save({"update": Payload()}, checkpoints.last)
    with pytest.raises(UserError, match="cannot be read"):
        checkpoints.load()
    checkpoints.last.write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(UserError, match="cannot be read"):
        checkpoints.load()


# -- the log


def write(folder, epochs, resumed_epoch=0):
    log = RunLog(folder, resumed_epoch)
    for epoch in epochs:
        log.epoch({"epoch": epoch, "loss/image": epoch / 10, "xi": {"image": [0.0, 1.0]}, "note": "x"})


def test_one_json_line_an_epoch(tmp_path):
    write(tmp_path / "run", range(3))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[2]["xi"] == {"image": [0.0, 1.0]}
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_a_resumed_run_replaces_the_epochs_that_it_repeats(tmp_path):
    write(tmp_path, range(4))
    write(tmp_path, range(2, 6), resumed_epoch=2)
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3, 4, 5]
    write(tmp_path, range(1))
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0]


def test_numbers_that_are_not_finite_are_valid_json(tmp_path):
    log = RunLog(tmp_path)
    log.epoch({"epoch": 0, "loss": math.nan, "deep": {"list": [1.0, -math.inf], "numpy": np.float64("nan")}})
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"epoch": 0, "loss": None, "deep": {"list": [1.0, None], "numpy": None}}
    ]


def test_a_line_cut_off_by_a_crash_is_dropped_and_not_continued(tmp_path):
    write(tmp_path, range(2))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "lo')
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1]
    write(tmp_path, [2], resumed_epoch=2)
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2]
    assert read_metrics(tmp_path / "nothing.jsonl") == []


def test_tensorboard_holds_every_number(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path, range(3))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"epoch", "loss/image", "xi/image/0", "xi/image/1"}
    assert [(event.step, round(event.value, 3)) for event in events.Scalars("loss/image")] == [
        (0, 0),
        (1, 0.1),
        (2, 0.2),
    ]


def test_previews_are_pictures(tmp_path):
    log = RunLog(tmp_path)
    grey, colour = np.arange(12, dtype=np.uint8).reshape(3, 4), np.zeros((2, 5, 3), dtype=np.uint8)
    log.preview("grey", grey)
    log.preview("colour", colour)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "previews" / "grey.png")), grey)
    assert np.asarray(Image.open(tmp_path / "previews" / "colour.png")).shape == (2, 5, 3)


# -- other processes, kills and full disks


def test_two_trainings_do_not_share_a_folder(accelerator, tmp_path):
    run, part = Run(accelerator, tmp_path / "run"), Run(accelerator, tmp_path / "run" / "part")
    left = tmp_path / "run" / "checkpoints" / ".tmp-0123abcd-last.pt"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    with run.alone(), part.alone():
        assert not left.exists()
        for other in (run, replace(part, seed=3)):
            with pytest.raises(UserError, match=rf"Another run is writing to {other.folder}.*; wait"), other.alone():
                pass
    with run.alone(), Run(accelerator).alone():
        pass


KILLED = """
import resource, signal, sys
from pathlib import Path
from mmgen.training.run import RunLog
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
RunLog(Path(sys.argv[1]), 12)
"""


def test_a_kill_while_resuming_loses_no_row(tmp_path):
    """By the system, in the middle of writing."""
    write(tmp_path, range(14))
    done = subprocess.run([sys.executable, "-B", "-c", KILLED, tmp_path], check=False)
    assert done.returncode == -signal.SIGXFSZ
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == list(range(14))


def test_a_full_disk_ends_a_run_in_one_sentence(tmp_path):
    log = RunLog(tmp_path)
    log.path.unlink()
    log.path.symlink_to("/dev/full")
    with pytest.raises(
        UserError, match=r"^\S*metrics\.jsonl cannot be written \(.*No space left on device\); make room"
    ):
        log.epoch({"epoch": 0})


@pytest.mark.parametrize(
    "line", ["3", "[]", '{"loss": 1}', '{"epoch": "1"}', '{"epoch": null}', "[" * 10_000, "\udcff"]
)
def test_rows_end_where_they_are_damaged(tmp_path, line):
    write(tmp_path, range(2))
    with (tmp_path / "metrics.jsonl").open("a", errors="surrogateescape") as file:
        file.write(line + '\n{"epoch": 2}\n')
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1]
    write(tmp_path, [2], resumed_epoch=2)
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2]
