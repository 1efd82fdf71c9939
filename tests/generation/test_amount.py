"""A mistyped number is refused with what it asks for, before anything is made; what fits is never refused."""

from __future__ import annotations

import math
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import SETTINGS, noise_samples, small_model
from tiny_medsynth import small_generator

from mmgen.condensation.representatives import representatives
from mmgen.data.images import ImageSettings
from mmgen.errors import UserError
from mmgen.generation.amount import refuse_too_much
from mmgen.generation.pairs import generate_pairs
from mmgen.generation.plan import Plan, make_plan
from mmgen.generation.writing import write_dataset

Usage = namedtuple("Usage", "total used free")
HUGE = (10**12, 10**30)


def on_disk(patch: pytest.MonkeyPatch, free: int) -> None:
    patch.setattr(shutil, "disk_usage", lambda path: Usage(free, 0, free))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize(
    "ask",
    [
        lambda number: next(generate_pairs(small_model(), noise_samples(), per_class=number)),
        lambda number: make_plan(small_model(), noise_samples(), number),
        lambda number: make_plan(small_model(), noise_samples(), 1, segments=number),
        lambda number: make_plan(small_generator(), per_class=number),
        lambda number: make_plan(small_generator(), per_class=1, choose_from=number),
        lambda number: small_generator().sample(number),
        lambda number: representatives(small_generator(), 1, number),
    ],
    ids=["generate_pairs", "tuples", "segments", "images", "choosing", "sample", "representatives"],
)
def test_more_than_memory_holds_is_refused_at_once(ask: Callable[[int], Any], number: int) -> None:
    with pytest.raises(UserError, match=r"take at least [\d,.]+ GB, where memory has .* days .*; ask for fewer\.$"):
        ask(number)


def test_longer_sounds_than_there_are_take_no_longer(tmp_path: Path) -> None:
    made = [
        write_dataset(
            small_model(), make_plan(small_model(), noise_samples(), 2, segments=count), tmp_path / str(count)
        )
        for count in (9, 9000)
    ]
    samples = [sorted(path.read_bytes() for path in folder.rglob("*.flac")) for folder in made]
    assert len(samples[0]) == 4 and samples[0] == samples[1]


def test_the_disk_is_looked_at_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk(monkeypatch, 25_000)
    out = tmp_path / "deep" / "set"
    with pytest.raises(UserError, match=rf"^20 samples take .* GB, where the disk of {out} has 0\.0 GB"):
        write_dataset(small_model(), make_plan(small_model(), noise_samples(), 10), out)
    assert not out.parent.exists()


def test_the_files_of_an_earlier_set_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = math.prod(SETTINGS["audio"].shape) * 4 + math.prod(SETTINGS["image"].shape) / 16
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(50_000))
    os.symlink("/dev/zero", tmp_path / "a" / "link")
    on_disk(monkeypatch, 50_000)
    refuse_too_much(SETTINGS, int(100_000 / counts), tmp_path)
    with pytest.raises(UserError, match="ask for fewer"):
        refuse_too_much(SETTINGS, int(100_000 / counts) + 1, tmp_path)


def test_the_estimate_is_not_more_than_the_files_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of noise, and of pictures that are as smooth as any."""
    plan = make_plan(small_model(), noise_samples(), 20, segments=2)
    smooth = np.linspace(0, 255, 32 * 32).reshape(1, 32, 32).astype(np.uint8)
    fixed = make_plan(small_generator(channels=1), per_class=1, choose_from=1)
    images = Plan(fixed.class_names, 1, 0, fixed=_alike(fixed.fixed, smooth))
    for model, made, settings in (
        (small_model(), plan, SETTINGS),
        (small_generator(channels=1), images, {"image": ImageSettings(32, 1)}),
    ):
        folder = write_dataset(model, made, tmp_path / str(len(settings)))
        files = [path for path in folder.rglob("*.*") if path.suffix in (".png", ".npy", ".flac")]
        taken = sum(path.stat().st_size for path in files)
        with monkeypatch.context() as patch:
            on_disk(patch, taken)
            refuse_too_much(settings, len(made), tmp_path / "new", lengths=made.lengths)


def _alike(samples: Any, picture: np.ndarray) -> Any:
    samples.values[:] = picture
    return samples
