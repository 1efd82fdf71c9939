from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmgen.errors import UserError
from mmgen.models.stored_images import StoredImages, StoringMethod

NAMES = ("nevus", "меланома", "keratosis")


def stored(counts: tuple[int, ...] = (20, 3, 33), method: StoringMethod = "subset", channels: int = 3) -> StoredImages:
    """Random images, given in a random order."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = rng.integers(0, 256, (len(labels), channels, 32, 32), dtype=np.uint8)
    return StoredImages.build(images, labels, NAMES[: len(counts)], method)


def test_images_are_sorted_by_class_and_keep_their_order() -> None:
    labels = np.random.default_rng(0).integers(0, 2, 200)
    images = np.arange(200, dtype=np.uint8)[:, None, None, None].repeat(32, 2).repeat(32, 3)
    model = StoredImages.build(images, labels, NAMES[:2], "subset")
    first, second = (np.flatnonzero(labels == label).tolist() for label in (0, 1))
    assert model.images[:, 0, 0, 0].tolist() == first + second
    assert model.counts == (len(first), len(second)) == (model.available(0), model.available(1))
    assert model.shape == (1, 32, 32) and model.most_per_class == max(model.counts)
    made = model.sample(2)
    assert made.images[:, 0, 0, 0].tolist() == first[:2] + second[:2] and made.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("count", [1, 3, 16, 17, 33])
def test_a_sample_is_the_first_images_of_each_class_or_all_of_a_smaller_one(count: int) -> None:
    model = stored()
    made = model.sample(count, seed=5)
    each = [min(count, there) for there in model.counts]
    assert made.labels.tolist() == np.repeat(np.arange(3), each).tolist()
    firsts = [part[:there] for part, there in zip(model.images.split(model.counts), each, strict=True)]
    assert made.images.dtype == torch.uint8 and torch.equal(made.images, torch.cat(firsts))
    assert torch.equal(made.images, model.sample(count, seed=0).images)  # one set, whatever the seed


def test_some_of_the_images_of_a_class() -> None:
    model = stored()
    some = torch.cat(list(model.batches(2, range(10, 30))))
    assert torch.equal(some, model.images[23 + 10 : 23 + 30])
    assert not sum(len(part) for part in model.batches(1, range(10, 30)))


@pytest.mark.parametrize("method", ["subset", "dm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_saved_and_loaded_it_gives_equal_bytes(tmp_path: Path, method: StoringMethod, channels: int) -> None:
    model = stored((4, 4), method, channels)
    model.save_pretrained(tmp_path)
    loaded = StoredImages.from_pretrained(tmp_path)
    assert torch.equal(loaded.sample(4).images, model.sample(4).images) and loaded.images.dtype == torch.uint8
    assert loaded.config == model.config and loaded.class_names == NAMES[:2] and loaded.method == method
    assert (tmp_path / "model.safetensors").stat().st_size < model.images.numel() + 1000  # one byte a value


def test_images_of_stored_sets_may_be_real() -> None:
    assert stored().may_hold_real_pixels and stored((2, 2), "dm").may_hold_real_pixels
    assert stored().origin == "stored"


def test_what_does_not_fit_is_refused() -> None:
    for counts, method, words in (
        ((2, 2), "mtt", "'mtt'"),
        ((2, 0), "subset", "at least 1 image"),
        ((2,), "subset", "at least 1 image"),
        ((2, 3), "dm", "equally many"),
    ):
        with pytest.raises(UserError, match=words):
            StoredImages(32, 3, NAMES[:2], method, counts)
    with pytest.raises(UserError, match="33 images a class, not 34"):
        stored().sample(34)
    with pytest.raises(UserError, match="At least 1 image"):
        stored().sample(0)
