"""The benchmark of condensation's updates: that its variants do the same work, and that each has its habit."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from small import PROJECT
from tiny_medsynth import tiny_samples
from torch import Tensor

from mmgen.condensation.dm import real_images
from mmgen.models.modality import Modality
from mmgen.training.distribution_matching import DistributionConfig, DistributionTask
from mmgen.training.loop import Position
from mmgen.training.network_matching import PoolMatchingConfig
from mmgen.training.run import Run

SCRIPT = PROJECT / "benchmarks" / "condensation_step.py"
MODALITY = Modality("image", (3, 32, 32), (1, 1), (127.5,), (64.0,), value_range=(0.0, 255.0))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the script defines."""
    monkeypatch.syspath_prepend(SCRIPT.parent)  # as where a script is started
    return run_path(str(SCRIPT))


def test_every_habit_is_measured_alone_and_all_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    flags = ["--image-size", "32", "--classes", "2", "--images", "20", "--images-per-class", "2", "--budget", "quick"]
    flags += ["--updates", "1", "--workers", "1", "--device", "cpu", "--out", str(tmp_path / "a" / "b.json")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *flags])
    run_path(str(SCRIPT), run_name="__main__")
    document = json.loads((tmp_path / "a" / "b.json").read_text())
    assert document["command"].endswith(" ".join(flags)) and document["budget"] == "quick"
    measured = {(row["method"], tuple(row["habits"])): row for row in document["rows"]}
    dm, dim = ("float_set", "class_loop", "plain_network", "float32"), ("new_loader", "float32")
    expected = {("DM", ()), ("DM", dm), ("DiM", ()), ("DiM", dim)}
    assert set(measured) == expected | {("DM", (habit,)) for habit in dm} | {("DiM", (habit,)) for habit in dim}
    for (method, _), row in measured.items():
        assert row["times"] == pytest.approx(row["seconds"] / measured[method, ()]["seconds"])
    assert measured["DM", ("float_set",)]["set_mb"] == 4 * measured["DM", ()]["set_mb"] == 4 * 40 * 3 * 32**2 / 2**20


def test_habits_do_not_change_the_update(script: dict[str, Any]) -> None:
    train = tiny_samples((6, 6, 6))
    batch = {"x": torch.from_numpy(train.values), "label": torch.from_numpy(train.labels)}
    normalised = batch | {"x": MODALITY.normalise(batch["x"])}
    images = real_images(train, 3, MODALITY)
    config = DistributionConfig(width=8, augmentation="lesion")
    results = []
    for kind, modality, x, plain in (
        (DistributionTask, MODALITY, batch, False),
        (script["LoopingTask"], MODALITY, batch, False),
        (DistributionTask, script["Prepared"](**MODALITY.to_dict()), normalised, False),
        (DistributionTask, MODALITY, batch, True),
    ):
        task = kind(copy.deepcopy(images), config, Run(Accelerator(cpu=True)), modality)
        if plain:
            script["make_plain"](task.network)
            assert sum(isinstance(part, torch.nn.AvgPool2d) for part in task.network.modules()) == 3
        results.append([float(task.update(x, Position(0, n, n))["loss/match"]) for n in range(3)])
    for result in results[1:]:
        assert result == pytest.approx(results[0], rel=1e-4)
    assert len(set(results[0])) == 3


def test_the_set_of_floats_gives_images_of_every_class(script: dict[str, Any]) -> None:
    train = tiny_samples((6, 8))
    batch = script["FloatSet"](train, MODALITY, 4, torch.device("cpu"))(0)
    assert batch["label"].tolist() == [0] * 4 + [1] * 4
    known = MODALITY.normalise(torch.from_numpy(train.values))
    for x, label in zip(batch["x"], batch["label"], strict=True):
        assert int(label) in train.labels[[bool(torch.equal(x, y)) for y in known]]


def test_a_loader_starts_anew_for_every_step_and_the_network_goes_on(script: dict[str, Any]) -> None:
    class Loader:
        starts = 0

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            Loader.starts += 1
            while True:
                yield torch.zeros(2, 3, 32, 32), torch.tensor([0, 1])

    shape = ((3, 32, 32), 2, Run(Accelerator(cpu=True)))
    matcher = script["RestartingMatcher"](Loader(), 3, PoolMatchingConfig(batches=1, width=8), *shape)
    networks = []
    for step in range(2):
        matcher.learn(torch.empty(0), torch.empty(0), Position(0, step, step), None)
        networks.append(matcher.network)
    assert Loader.starts == 2 and networks[0] is networks[1]


def test_batches_are_read_ahead_in_their_order(script: dict[str, Any]) -> None:
    class Numbers:
        def batch(self, position: Position) -> dict[str, Tensor]:
            return {"x": torch.tensor(position.update)}

    with script["ThreadPoolExecutor"](1) as reader:
        read = script["Ahead"](Numbers(), torch.device("cpu"), reader)
        assert [int(read(number)["x"]) for number in range(4)] == [0, 1, 2, 3]


def test_phantoms_are_bytes_of_every_class(script: dict[str, Any]) -> None:
    train = script["lesions"](script["CondensationBenchmark"](image_size=32, classes=3, images=10))
    assert train.values.shape == (30, 3, 32, 32) and train.values.dtype == np.uint8
    assert np.bincount(train.labels).tolist() == [10, 10, 10]
