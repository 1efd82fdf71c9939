from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from train_tiny import Disturbed

from mmgen.errors import UserError
from mmgen.training.loop import Interrupted, Loop, LoopConfig, NonFiniteLoss, Position, Task
from mmgen.training.run import Checkpoints, Run, read_metrics

TESTS = Path(__file__).resolve().parents[1]


class Counting:
    """Three batches an epoch that say where they stand."""

    batch_size, steps_per_epoch = 2, 3

    def __init__(self) -> None:
        self.asked: list[Position] = []

    def batch(self, position: Position) -> dict[str, torch.Tensor]:
        self.asked.append(position)
        return {"update": torch.full((2, 1), float(position.update))}


class Probe(Task):
    """A task of one weight that records what the loop does with it."""

    def __init__(self, scores: tuple[float, ...] = (), lr: float = 1.0) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.optimizers = {"sgd": torch.optim.SGD(self.model.parameters(), lr=lr)}
        self.scores = list(scores)
        self.seen: list[float] = []
        self.lrs: list[float] = []
        self.random: list[float] = []

    def update(self, batch, position):
        self.seen.append(float(batch["update"][0]))
        self.lrs.append(self.optimizers["sgd"].param_groups[0]["lr"])
        self.random.append(float(torch.rand(())))
        with torch.no_grad():
            self.model.weight += 1.0
        return {"loss/x": torch.tensor(self.seen[-1]), "norm": torch.tensor(1.0)}

    def validate(self, model):
        torch.rand(5)  # must not change what later updates draw
        return {"score": self.scores.pop(0), "weight": float(model.weight.detach())} if self.scores else {}

    def describe(self):
        return {"weight": float(self.model.weight.detach())}

    def preview(self, model):
        return {"probe": np.zeros((2, 2), np.uint8)}


def metrics(folder: Path) -> list[dict]:
    return read_metrics(folder / "metrics.jsonl")


# -- what a run is


def test_every_position_comes_once_and_in_order(accelerator):
    task, batches = Probe(), Counting()
    Loop(task, batches, LoopConfig(4), Run(accelerator)).train()
    assert batches.asked == [Position(u // 3, u % 3, u) for u in range(12)]
    assert task.seen == list(range(12))
    assert len(set(task.random)) == 12


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_learning_rate_warms_up_and_follows_its_schedule(accelerator, schedule):
    task = Probe(lr=0.5)
    Loop(task, Counting(), LoopConfig(20, schedule=schedule, warmup=0.2), Run(accelerator)).train()
    warm, rest = np.array(task.lrs[:12]), np.array(task.lrs[12:])
    np.testing.assert_allclose(warm, 0.5 * np.arange(1, 13) / 12)
    if schedule == "constant":
        np.testing.assert_allclose(rest, 0.5)
    else:
        np.testing.assert_allclose(rest, 0.25 * (1 + np.cos(np.pi * np.arange(48) / 48)))
        assert 0 < rest[-1] < 0.01


def test_moving_average_is_what_is_kept(accelerator, tmp_path):
    task = Probe(scores=(1.0,))
    model = Loop(task, Counting(), LoopConfig(2, ema_decay=0.5, validate_every=2), Run(accelerator, tmp_path)).train()
    average = 1.0  # the first average is the first weight
    for weight in range(2, 7):
        average = 0.5 * average + 0.5 * weight
    assert float(model.weight.detach()) == pytest.approx(average)
    assert float(task.model.weight.detach()) == 6.0
    assert metrics(tmp_path)[-1]["validation/weight"] == pytest.approx(average)
    assert float(Checkpoints(tmp_path / "checkpoints").load(tmp_path / "checkpoints/best.pt")["weight"]) == average


def test_an_epoch_is_a_line_of_means_and_state(accelerator, tmp_path):
    Loop(Probe(), Counting(), LoopConfig(3), Run(accelerator, tmp_path)).train()
    rows = metrics(tmp_path)
    assert [(row["epoch"], row["update"], row["loss/x"]) for row in rows] == [(0, 3, 1.0), (1, 6, 4.0), (2, 9, 7.0)]
    assert [row["weight"] for row in rows] == [3.0, 6.0, 9.0]
    for row in rows:
        assert row["samples_per_s"] * row["seconds"] == pytest.approx(6)
        assert row["peak_memory_mb"] > 1
        assert 0 < row["lr"] <= 1


def test_the_best_weights_are_those_with_the_lowest_score(accelerator, tmp_path):
    task = Probe(scores=(3.0, 1.0, 2.0, math.nan))
    Loop(task, Counting(), LoopConfig(4, validate_every=1), Run(accelerator, tmp_path)).train()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert float(checkpoints.load(checkpoints.best)["weight"]) == 6.0
    assert checkpoints.load()["best"] == 1.0
    assert [row.get("validation/score") for row in metrics(tmp_path)] == [3.0, 1.0, 2.0, None]


@pytest.mark.parametrize(("epochs", "every", "expected"), [(20, 0, 10), (5, 0, 5), (5, 2, 3), (5, 9, 1)])
def test_validation_comes_as_often_as_asked_and_at_the_end(accelerator, tmp_path, epochs, every, expected):
    config = LoopConfig(epochs, validate_every=every)
    Loop(Probe(scores=(1.0,) * 99), Counting(), config, Run(accelerator, tmp_path)).train()
    rows = metrics(tmp_path)
    assert sum("validation/score" in row for row in rows) == expected
    assert "validation/score" in rows[-1]


def test_there_is_a_picture_after_the_first_epoch_and_it_is_named_once(accelerator, tmp_path, caplog):
    caplog.set_level("INFO")
    seen = []

    class Watched(Probe):
        def update(self, batch, position):
            seen.append(sorted(path.name for path in tmp_path.glob("previews/*")))
            return super().update(batch, position)

    Loop(Watched(), Counting(), LoopConfig(5, validate_every=2), Run(accelerator, tmp_path)).train()
    assert seen[2] == [] and seen[3] == ["probe_0001.png"]
    assert sorted(path.name for path in tmp_path.glob("previews/*")) == [f"probe_000{n}.png" for n in (1, 2, 4, 5)]
    named = [record.getMessage() for record in caplog.records if "icture" in record.getMessage()]
    assert len(named) == 1 and str(tmp_path / "previews" / "probe_0001.png") in named[0]


def test_without_a_folder_nothing_is_written(accelerator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Loop(Probe(scores=(1.0,)), Counting(), LoopConfig(1), Run(accelerator)).train()
    assert list(tmp_path.iterdir()) == []


def test_no_epochs_are_refused(accelerator):
    with pytest.raises(UserError, match="at least 1, got 0"):
        Loop(Probe(), Counting(), LoopConfig(0), Run(accelerator))


# -- going on


def test_resuming_needs_a_checkpoint_of_the_same_settings(accelerator, tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        Loop(Probe(), Counting(), LoopConfig(1), Run(accelerator, tmp_path, True)).train()
    Loop(Probe(), Counting(), LoopConfig(1), Run(accelerator, tmp_path), {"lr": 1, "data": "a"}).train()
    with pytest.raises(UserError, match=r"other settings or data; .*--resume latest"):
        Loop(Probe(), Counting(), LoopConfig(1), Run(accelerator, tmp_path, True), {"lr": 1, "data": "b"}).train()
    finished = Probe()
    Loop(finished, Counting(), LoopConfig(1), Run(accelerator, tmp_path, True), {"data": "a", "lr": 1}).train()
    assert finished.seen == []  # a finished run is only read
    assert float(finished.model.weight.detach()) == 3.0
    assert len(metrics(tmp_path)) == 1


@pytest.mark.parametrize("stop_at", [3, 4, 5, 11])
def test_a_stop_request_ends_the_run_between_updates_and_nothing_is_lost(accelerator, tmp_path, stop_at):
    """Update 5 is the last of an epoch, 11 the last of the run."""

    class Stopped(Probe):
        def update(self, batch, position):
            if position.update == stop_at:
                signal.raise_signal(signal.SIGTERM)
            return super().update(batch, position)

    def loop(task: Probe, folder: Path, resume: bool = False) -> Loop:
        return Loop(task, Counting(), LoopConfig(4, validate_every=2, log_every=100), Run(accelerator, folder, resume))

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=rf"SIGTERM after update {stop_at + 1} of 12\. .*last\.pt; .*--resume latest"):
        loop(Stopped(scores=(1.0,) * 9), tmp_path / "stopped").train()
    assert signal.getsignal(signal.SIGTERM) is before
    resumed, whole = Probe(scores=(1.0,) * 9), Probe(scores=(1.0,) * 9)
    loop(resumed, tmp_path / "stopped", resume=True).train()
    loop(whole, tmp_path / "whole").train()
    assert resumed.random == whole.random[stop_at + 1 :]
    assert torch.equal(resumed.model.weight, whole.model.weight)
    keys = ("epoch", "update", "weight", "lr", "validation/score")
    rows = [[[row.get(key) for key in keys] for row in metrics(tmp_path / name)] for name in ("stopped", "whole")]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(accelerator, tmp_path, log_every):
    config = {"validate_every": 1, "log_every": log_every, "ema_decay": 0.9}
    loop = tiny.make_loop(accelerator, tmp_path, loop=config, wrap=lambda b: Disturbed(b, update=9, kind="nan"))
    with pytest.raises(NonFiniteLoss, match=r"last good checkpoint is .*last\.pt\. Lower the learning rate"):
        loop.train()
    state = Checkpoints(tmp_path / "checkpoints").load()
    assert state["update"] == 2 * loop.batches.steps_per_epoch
    assert all(torch.isfinite(value).all() for value in state["model"].values())
    assert [row["epoch"] for row in metrics(tmp_path)] == [0, 1]
    tiny.make_loop(accelerator, tmp_path, resume=True, loop=config).train()
    assert [row["epoch"] for row in metrics(tmp_path)] == [0, 1, 2, 3]


@pytest.fixture
def one_thread():
    """The processes that the tests start use one thread, and the order of sums depends on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(run: dict) -> subprocess.Popen:
    """``train_tiny.py`` in a process of its own."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(TESTS / "scripts" / "train_tiny.py"), json.dumps([run])]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.timeout(300)
def test_two_epochs_a_kill_and_two_resumed_are_four_to_the_bit(accelerator, tmp_path, one_thread):
    """Once stopped politely in the middle of the third epoch, once killed there and resumed from the second."""
    options = {"loop": {"ema_decay": 0.9, "validate_every": 1}, "task": {"validate": True, "whole_mask_share": 0.5}}
    kinds = ("SIGTERM", "SIGKILL")
    processes = {
        kind: start(
            {
                **options,
                "out": str(tmp_path / f"{kind}.pt"),
                "folder": str(tmp_path / kind),
                "disturb": {"update": 10, "kind": kind},
            }
        )
        for kind in kinds
    }
    whole = tiny.make_loop(accelerator, tmp_path / "whole", **options)
    whole.train()
    errors = {kind: process.communicate(timeout=120)[1] for kind, process in processes.items()}
    assert processes["SIGKILL"].returncode == -signal.SIGKILL
    assert processes["SIGTERM"].returncode == 1
    assert "Interrupted: Stopped by SIGTERM after update" in errors["SIGTERM"]
    for kind in kinds:
        update = Checkpoints(tmp_path / kind / "checkpoints").load()["update"]
        assert update in ((8,) if kind == "SIGKILL" else (10, 11)), kind
        resumed = tiny.make_loop(accelerator, tmp_path / kind, resume=True, **options)
        resumed.train()
        assert tiny.same_weights(resumed.task.model.state_dict(), whole.task.model.state_dict()), kind
        assert tiny.same_weights(resumed.ema.state_dict(), whole.ema.state_dict()), kind
        rows, expected = metrics(tmp_path / kind), metrics(tmp_path / "whole")
        assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
        assert [row["validation/score"] for row in rows] == [row["validation/score"] for row in expected]


def spoil(state: dict, fault: str) -> object:
    """A checkpoint with a fault that leaves its identity as it is."""
    weights, optimizer = state["model"], next(iter(state["optimizers"].values()))
    first = next(iter(weights))
    moments = optimizer["state"][0]
    faults = {
        "no object": lambda: [1],
        "a key less": lambda: weights.pop(first),
        "a key more": lambda: weights.update(other=torch.ones(1)),
        "another size": lambda: weights.update({first: torch.ones(3, 3)}),
        "no weights": lambda: state.update(model=None),
        "weights of text": lambda: weights.update({first: "x"}),
        "no optimiser": lambda: state["optimizers"].clear(),
        "an optimiser without groups": lambda: optimizer.pop("param_groups"),
        "fewer parameters": lambda: optimizer["param_groups"][0]["params"].pop(),
        "moments of another size": lambda: moments.update(exp_avg=torch.ones(7)),
        "no average": lambda: state.pop("ema"),
        "an update behind the last": lambda: state.update(update=99),
        "an update before the first": lambda: state.update(update=-1),
        "an update that is none": lambda: state.update(update="x"),
        "a score that is none": lambda: state.update(best=None),
        "no identity": lambda: state.pop("identity"),
    }
    made = faults[fault]()
    return made if fault == "no object" else state


@pytest.mark.parametrize(
    "fault",
    [
        *("no object", "a key less", "a key more", "another size", "no weights", "weights of text", "no optimiser"),
        *("an optimiser without groups", "fewer parameters", "moments of another size", "no average"),
        *("an update behind the last", "an update before the first", "an update that is none", "a score that is none"),
        "no identity",
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_sentence(accelerator, tmp_path, fault):
    options = {"loop": {"epochs": 1, "ema_decay": 0.9}}
    tiny.make_loop(accelerator, tmp_path, **options).train()
    last = Checkpoints(tmp_path / "checkpoints").last
    torch.save(spoil(torch.load(last, weights_only=True), fault), last)
    with pytest.raises(UserError, match=r"^Checkpoint \S*last\.pt cannot be used \(.*\); copy a step_") as refused:
        tiny.make_loop(accelerator, tmp_path, resume=True, **options).train()
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_best_weights_that_do_not_fit_are_one_sentence(accelerator, tmp_path):
    task = Probe(scores=(1.0,))
    loop = Loop(task, Counting(), LoopConfig(1), Run(accelerator, tmp_path))
    loop.train()
    loop.use_best()
    torch.save({"other": torch.ones(1)}, loop.checkpoints.best)
    with pytest.raises(UserError, match=r"best\.pt cannot be used"):
        loop.use_best()
