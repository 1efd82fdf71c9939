from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import same_weights
from tiny_medsynth import LABELS

from mmgen.errors import UserError
from mmgen.models.condensed import BATCH
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.images import to_bytes
from mmgen.models.stored import StoredImages, StoredLatents
from mmgen.names import MethodName

NAMES = ("nevus", "меланома", "keratosis")


def stored(counts: tuple[int, ...] = (20, 3, 33), method: MethodName = "subset", channels: int = 3) -> StoredImages:
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
def test_saved_and_loaded_it_gives_equal_bytes(tmp_path: Path, method: MethodName, channels: int) -> None:
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


COUNT = BATCH + 2


@pytest.fixture
def model() -> StoredLatents:
    """Random latents, more of a class than a batch, and an untrained generator."""
    torch.manual_seed(0)
    generator = ConditionalGenerator(32, 3, LABELS, noise=8, width=8)
    generator.settle()
    return StoredLatents.build(generator, torch.randn(2, COUNT, 8))


def test_latents_become_the_images_of_their_classes(model: StoredLatents) -> None:
    made = model.sample(COUNT)
    assert made.images.shape == (2 * COUNT, 3, 32, 32) and made.class_names == LABELS
    assert made.labels.tolist() == [0] * COUNT + [1] * COUNT
    with torch.no_grad():
        expected = to_bytes(model.generator(model.latents.flatten(0, 1), made.labels))
    assert (made.images.int() - expected.int()).abs().max() <= 1  # in other batches
    assert len({image.numpy().tobytes() for image in made.images}) == 2 * COUNT


def test_fewer_images_are_the_first_of_more(model: StoredLatents) -> None:
    most = model.sample(COUNT).images.unflatten(0, (2, COUNT))
    for count in (1, BATCH - 1, BATCH, BATCH + 1):
        assert torch.equal(model.sample(count).images, most[:, :count].flatten(0, 1)), count


def test_there_are_so_many_images_whatever_the_seed(model: StoredLatents) -> None:
    assert torch.equal(model.sample(3, seed=1).images, model.sample(3, seed=2).images)
    assert model.most_per_class == COUNT
    with pytest.raises(UserError, match=f"{COUNT} images a class, not {COUNT + 1}"):
        model.sample(COUNT + 1)
    with pytest.raises(UserError, match="At least 1 image a class"):
        StoredLatents(32, 3, LABELS, images_per_class=0)
    with pytest.raises(UserError, match=r"is made by .*, not 'magic'"):
        StoredLatents(32, 3, LABELS, images_per_class=1, method="magic")


def test_what_is_saved_gives_the_same_bytes(model: StoredLatents, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = StoredLatents.from_pretrained(tmp_path)
    assert torch.equal(loaded.sample(COUNT).images, model.sample(COUNT).images)
    assert loaded.method == "it_gan" and loaded.may_hold_real_pixels
    assert loaded.config == model.config and loaded.shape == (3, 32, 32)
    assert StoredLatents(**model.config).state_dict().keys() == model.state_dict().keys()


def test_sampling_in_training_mode_changes_nothing(model: StoredLatents) -> None:
    before = model.sample(2).images
    state = {key: value.clone() for key, value in model.state_dict().items()}
    assert torch.equal(model.train().sample(2).images, before)
    assert same_weights(model.state_dict(), state)
