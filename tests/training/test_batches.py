from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmgen.data.cache import Cache
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import read_manifest
from mmgen.data.samples import Samples, load_samples
from mmgen.errors import UserError
from mmgen.training.batches import PairedBatches
from mmgen.training.loop import Position

SETTINGS = ImageSettings(8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label, count in (("a", 5), ("b", 8)):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{number}.png")
    return tmp_path / "pictures"


def unread(pictures: Path, cache: Cache | None = None) -> Samples:
    return load_samples(read_manifest(pictures, {".png"}), SETTINGS, cache)


def in_memory(samples: Samples) -> Samples:
    return Samples(samples.values[:], samples.labels, samples.label_names, samples.rows)


def positions(steps: int, batches: PairedBatches) -> list[Position]:
    return [Position(*divmod(update, batches.steps_per_epoch), update) for update in range(steps)]


@pytest.mark.parametrize("kept", [True, False])
def test_files_give_the_batches_that_arrays_give(tmp_path: Path, pictures: Path, kept: bool):
    samples = unread(pictures, Cache(tmp_path / "cache", 10**6) if kept else None)
    files, arrays = PairedBatches({"x": samples}, 4, seed=3), PairedBatches({"x": in_memory(samples)}, 4, seed=3)
    order = positions(9, files)
    for position in [*order, order[2], order[7], order[7], *order[4:]]:  # a resumed run starts anywhere
        assert torch.equal(files.batch(position)["x"], arrays.batch(position)["x"])


def test_a_file_that_breaks_in_training_is_named(pictures: Path):
    samples = unread(pictures)
    for file in pictures.glob("*/*.png"):
        file.write_bytes(b"broken")
    batches = PairedBatches({"x": samples}, 4, seed=0)
    with pytest.raises(UserError, match=r"\.png \(.*--skip-bad"):
        batches.batch(positions(1, batches)[0])
