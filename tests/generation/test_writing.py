from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import digests

from mmgen.data.images import ImageSettings
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.data.writing.writer import SyntheticSample
from mmgen.errors import UserError
from mmgen.generation.writing import Make, OutputOptions, refuse_occupied, write_samples

SETTINGS = {"image": ImageSettings(8, 1)}
LABELS = ("gesund", "больной")


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (1, 8, 8), dtype=np.uint8)


def maker(made: list[int] | None = None, stop_at: int = 1000) -> Make:
    """Makes noise pictures; notes which in ``made``, and is interrupted at one."""

    def make(batches: Sequence[range], device: torch.device) -> Iterator[SyntheticSample]:
        for batch in batches:
            for index in batch:
                if index == stop_at:
                    raise KeyboardInterrupt
                if made is not None:
                    made.append(index)
                yield SyntheticSample(index, {"image": picture(index)}, {})

    return make


def write(folder: Path, make: Make | None = None, per_class: int = 20, **options: Any) -> Path:
    run = options.pop("run", {"seed": 0})
    how = OutputOptions(**{"batch_size": 2, "shard_size": 3, **options})
    return write_samples(
        folder,
        SETTINGS,
        LABELS,
        per_class,
        make or maker(),
        lambda index: {"label": LABELS[index // per_class], "index": index},
        {"seed": 0},
        run,
        how,
    )


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
        write(tmp_path / "set", maker(stop_at=36), format=form)
    with pytest.raises(UserError, match=r"differs in seed \(0, now 1\)"):
        write(tmp_path / "set", format=form, run={"seed": 1})
    made: list[int] = []
    write(tmp_path / "set", maker(made), format=form)
    assert 0 < len(made) < 40 and made[-1] == 39
    assert digests(tmp_path / "set") == digests(whole)


def test_options_that_write_nothing_are_refused() -> None:
    for what in ("batch_size", "shard_size"):
        with pytest.raises(UserError, match=f"The {what.replace('_', ' ')} must be at least 1, got 0"):
            OutputOptions(**{what: 0})


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
            write(folder, maker(stop_at=30))
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
