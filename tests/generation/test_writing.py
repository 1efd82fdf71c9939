from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from small import digests

from mmgen.data.images import ImageSettings
from mmgen.data.settings import settings_to_dict
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError
from mmgen.generation.plan import Plan
from mmgen.generation.writing import OutputOptions, refuse_occupied, write_dataset
from mmgen.models.generative import GenerativeModel, Request

SETTINGS = {"image": ImageSettings(8, 1)}
LABELS = ("gesund", "больной")


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (1, 8, 8), dtype=np.uint8)


class Pictures(GenerativeModel):
    """Makes noise pictures; notes which in ``made``, and is interrupted at one."""

    kind = "pictures"
    origin = "noise"
    class_names = LABELS
    config: ClassVar[dict[str, Any]] = {}
    preprocessing: ClassVar[dict[str, Any]] = {name: settings_to_dict(SETTINGS[name]) for name in SETTINGS}

    def __init__(self, stop_at: int = 1000) -> None:
        super().__init__()
        self.stop_at, self.made = stop_at, set[int]()

    def make(self, request: Request) -> dict[str, torch.Tensor]:
        if self.stop_at in request.indices:
            raise KeyboardInterrupt
        self.made.update(request.indices.tolist())
        return {"image": torch.from_numpy(np.stack([picture(index) for index in request.indices]))}


def write(folder: Path, model: Pictures | None = None, per_class: int = 20, seed: int = 0, **options: Any) -> Path:
    output = OutputOptions(**{"batch_size": 2, "shard_size": 3, **options})
    return write_dataset(model or Pictures(), Plan(LABELS, per_class, seed), folder, output)


@pytest.mark.parametrize("form", ["folder", "webdataset"])
def test_a_set_holds_every_sample_under_its_label(form: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "ein Satz", per_class=3, format=form)
    assert verify_dataset(folder) == []
    read = read_dataset(folder, SETTINGS)["image"]
    assert read.label_names == LABELS and read.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(read.values[:], np.stack([picture(index) for index in range(6)]))
    about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert about["seed"] == 0 and about["counts"] == dict.fromkeys(LABELS, 3)


def test_shards_are_of_whole_batches(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", format="webdataset")
    assert len(list((folder / "shards").glob("*.tar"))) == 10  # 40 samples, 3 rounded up to 4


@pytest.mark.parametrize("form", ["folder", "webdataset"])
def test_an_interrupted_set_goes_on_where_it_was(form: Any, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", format=form)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set", Pictures(stop_at=36), format=form)
    with pytest.raises(UserError, match=r"differs in seed \(0, now 1\)"):
        write(tmp_path / "set", format=form, seed=1)
    again = Pictures()
    write(tmp_path / "set", again, format=form)
    assert 0 < len(again.made) < 40 and max(again.made) == 39
    assert digests(tmp_path / "set") == digests(whole)


def test_options_that_write_nothing_are_refused() -> None:
    for option in ("batch_size", "shard_size"):
        with pytest.raises(UserError, match=f"The {option.replace('_', ' ')} must be at least 1, got 0"):
            OutputOptions(**{option: 0})


def occupy(folder: Path, state: str) -> Path:
    """A folder in this state."""
    states: dict[str, Callable[[], object]] = {
        "absent": lambda: None,
        "empty": folder.mkdir,
        "file": lambda: folder.write_text("mine"),
        "finished": lambda: write(folder, per_class=1),
        "foreign": lambda: (folder.mkdir(), (folder / "letter.txt").write_text("mine")),
    }
    if state == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            write(folder, Pictures(stop_at=30))
    else:
        states[state]()
    return folder


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("state", ["absent", "empty", "file", "finished", "foreign", "interrupted"])
def test_the_early_look_says_what_writing_would_say(state: str, overwrite: bool, tmp_path: Path) -> None:
    """An interrupted set of this very run goes on."""
    folder = occupy(tmp_path / "папка с пробелом", state)
    try:
        refuse_occupied(folder, overwrite)
        early = None
    except UserError as error:
        early = str(error)
    try:
        write(folder, overwrite=overwrite)
        late = None
    except UserError as error:
        late = str(error)
    assert (early is None) == (late is None), (early, late)
    assert early is None or early.split(";")[0] == str(late).split(";")[0]
