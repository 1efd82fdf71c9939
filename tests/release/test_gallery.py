"""The picture in a released data set's card: of its own samples, listed, and taken for a sample by nobody."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small import SETTINGS

from mmgen import load_dataset
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.data.writing.writer import FolderWriter, ShardWriter, SyntheticSample
from mmgen.evaluation.report.contact_sheet import CELL, GAP
from mmgen.release.datasets import copy_dataset, dataset_digest
from mmgen.release.gallery import GALLERY, add_gallery

LABELS, PER_CLASS = ("covid", "ΑΒ | [c](d)"), 12


def write(folder: Path, writer: Callable[..., Any], **about: Any) -> Path:
    """Pictures of one shade each, ten times their number, with sounds."""

    def samples() -> Iterator[SyntheticSample]:
        for index in range(2 * PER_CLASS):
            log_mel = np.random.default_rng(index).uniform(-9, 1, (40, 40)).astype(np.float32)
            picture = np.full((1, 32, 32), 10 * index, np.uint8)
            yield SyntheticSample(index, {"image": picture}, {"audio": (log_mel, np.zeros(8000, np.float32))})

    folder.mkdir()
    made = writer(folder, SETTINGS, LABELS, PER_CLASS, 5, lambda i: {"label": LABELS[i // PER_CLASS], "index": i})
    made.write(samples())
    made.finish({"seed": 0, "input_prior": "noise", **about})
    return folder


@pytest.mark.parametrize("writer", [FolderWriter, ShardWriter])
def test_it_shows_samples_of_the_set_and_changes_none(writer: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "set", writer)
    digest, before = dataset_digest(folder), read_dataset(folder, SETTINGS)
    add_gallery(folder)
    assert verify_dataset(folder) == [] and dataset_digest(folder) == digest
    assert np.array_equal(read_dataset(folder, SETTINGS)["image"].values, before["image"].values)
    assert len(load_dataset(folder)) == 2 * PER_CLASS
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n") and card.count(f"({GALLERY})") == 1
    assert card.index("# Synthetic data set") < card.index(f"({GALLERY})") < card.index("## Intended use")
    sheet = np.asarray(Image.open(folder / GALLERY).convert("L"))
    left = sheet.shape[1] - (8 * CELL + GAP) + CELL // 2
    shown = [[sheet[GAP + 2 * row * CELL + 9, left + column * CELL] for column in range(8)] for row in (0, 1)]
    places = np.linspace(0, PER_CLASS - 1, 8).astype(int)
    assert np.array_equal(shown, [10 * places, 10 * (PER_CLASS + places)])


def test_it_is_no_picture_to_those_who_read_the_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = write(tmp_path / "set", FolderWriter)
    add_gallery(folder)
    loaded = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 2 * PER_CLASS and loaded.features["label"].names == list(LABELS)


def test_samples_that_may_hold_real_pixels_are_not_shown(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", FolderWriter, copies_real_data=True)
    card = (folder / "README.md").read_text(encoding="utf-8")
    add_gallery(folder)
    assert not (folder / GALLERY).exists() and verify_dataset(folder) == []
    assert (folder / "README.md").read_text(encoding="utf-8") == card


def test_a_set_is_released_twice(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", FolderWriter)
    add_gallery(folder)
    assert copy_dataset(folder, tmp_path / "again") == []
    assert not (tmp_path / "again" / GALLERY).exists()
    shutil.rmtree(folder)
    add_gallery(tmp_path / "again")
    assert verify_dataset(tmp_path / "again") == []
