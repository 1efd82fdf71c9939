from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from decoded_samples import load_samples
from PIL import Image

from mmgen.data.cache import Cache
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import read_manifest
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.training.batches import LabelledBatches, PairedBatches
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


# -- labelled batches


def numbered(count: int = 10, labels: np.ndarray | None = None) -> Samples:
    """Sample i is the number i everywhere; labels alternate unless they are given."""
    values = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 4, 4)).copy()
    labels = np.arange(count) % 2 if labels is None else labels
    return Samples(values, labels, tuple("abcdefg"[: labels.max() + 1]), np.arange(count))


def drawn(source: LabelledBatches, updates: int, **options: int) -> list[list[int]]:
    positions = [Position(0, update, update, **options) for update in range(updates)]
    return [source.batch(position)["x"][:, 0, 0, 0].tolist() for position in positions]


def batches(count: int = 10, batch_size: int = 4, seed: int = 0, balanced: bool = False) -> LabelledBatches:
    return LabelledBatches(numbered(count), batch_size, 9, seed, balanced)


@pytest.mark.parametrize(("count", "batch_size"), [(12, 4), (10, 4), (7, 7), (5, 3)])
def test_no_sample_comes_again_before_all_have_come(count: int, batch_size: int) -> None:
    order = [index for batch in drawn(batches(count, batch_size), 40) for index in batch]
    rounds = [tuple(order[start : start + count]) for start in range(0, len(order) - count, count)]
    assert all(sorted(each) == list(range(count)) for each in rounds)
    assert len(set(rounds)) > len(rounds) // 2 > 0


@pytest.mark.parametrize("count", [1, 3, 4, 5, 10, 100])
def test_length_and_batches_do_not_depend_on_the_number_of_samples(count: int) -> None:
    source = batches(count, batch_size=4)
    assert source.steps_per_epoch == 9
    assert [len(batch) for batch in drawn(source, 9)] == [min(4, count)] * 9


@pytest.mark.parametrize("balanced", [False, True])
def test_labels_stay_with_their_samples(balanced: bool) -> None:
    source = batches(balanced=balanced)
    for update in range(20):
        batch = source.batch(Position(0, update, update))
        assert batch["x"].dtype == torch.uint8
        assert torch.equal(batch["x"][:, 0, 0, 0].long() % 2, batch["label"])


@pytest.mark.parametrize("balanced", [False, True])
def test_batches_are_a_function_of_seed_and_update_alone(balanced: bool) -> None:
    expected = drawn(batches(balanced=balanced), 30)
    assert expected == drawn(batches(balanced=balanced), 30)
    assert expected != drawn(batches(balanced=balanced, seed=1), 30)
    fresh = batches(balanced=balanced)  # begun late, or asked again, or in another epoch of the loop
    for update in (17, 4, 29, 29, 3):
        assert fresh.batch(Position(update // 9, update % 9, update))["x"][:, 0, 0, 0].tolist() == expected[update]
    # The measuring classifier is trained by one process of many, on whole batches.
    assert drawn(batches(balanced=balanced), 30, rank=1, world=2) == expected


def test_balanced_rounds_have_every_class_equally_often() -> None:
    labels = np.repeat([0, 1, 2], [20, 3, 7])
    source = LabelledBatches(numbered(30, labels), 4, 15, seed=0, balanced=True)
    assert source.batch_size * 15 == 3 * 20  # one round
    order = [index for batch in drawn(source, 30) for index in batch]
    for start in (0, 60):
        seen = Counter(order[start : start + 60])
        assert {c: sum(seen[i] for i in np.flatnonzero(labels == c)) for c in range(3)} == {0: 20, 1: 20, 2: 20}
        for c in range(3):  # and every sample of a class, as equally as can be
            times = [seen[i] for i in np.flatnonzero(labels == c)]
            assert min(times) >= 1 and max(times) - min(times) <= 1
    for start in range(0, 120, 3):
        assert sorted(labels[order[start : start + 3]]) == [0, 1, 2]
    assert len({tuple(labels[order[start : start + 3]]) for start in range(0, 60, 3)}) > 3


# -- shares of labelled batches


def shared(count: int = 10, batch_size: int = 8, balanced: bool = False) -> LabelledBatches:
    return LabelledBatches(numbered(count), batch_size, 9, 0, balanced, shared=True)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("world", [2, 4])
def test_shares_of_all_processes_are_the_whole_batch(world: int, balanced: bool) -> None:
    whole = drawn(shared(balanced=balanced), 12)
    shares = [drawn(shared(balanced=balanced), 12, rank=rank, world=world) for rank in range(world)]
    assert {len(share) for process in shares for share in process} == {8 // world}
    assert [[index for part in parts for index in part] for parts in zip(*shares, strict=True)] == whole
    assert whole == drawn(batches(batch_size=8, balanced=balanced), 12)  # what one process alone has always had


def test_labels_of_shares_stay_with_their_samples() -> None:
    source, alone = shared(), shared()
    for update in range(12):
        parts = [source.batch(Position(0, update, update, rank, 2)) for rank in range(2)]
        labels = torch.cat([part["label"] for part in parts])
        assert torch.equal(labels, alone.batch(Position(0, update, update))["label"])
        assert torch.equal(labels, torch.cat([part["x"] for part in parts])[:, 0, 0, 0].long() % 2)


def test_a_batch_that_is_shared_may_be_larger_than_the_set() -> None:
    """Otherwise what a process gets would depend on the size of the set, and perhaps not be shared out evenly."""
    source = shared(count=3)
    assert source.batch_size == 8 and batches(count=3, batch_size=8).batch_size == 3
    order = [
        index for update in range(3) for rank in range(2) for index in drawn(source, 3, rank=rank, world=2)[update]
    ]
    assert len(order) == 24
    assert all(sorted(order[start : start + 3]) == [0, 1, 2] for start in range(0, 24, 3))
