from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import same_weights
from tiny_medsynth import LABELS

from mmgen.errors import UserError
from mmgen.models.condensed import BATCH
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.images import to_bytes
from mmgen.models.stored_latents import StoredLatents

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
