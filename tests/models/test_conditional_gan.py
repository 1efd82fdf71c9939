from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mmgen.errors import UserError
from mmgen.models.conditional_gan import ConditionalDiscriminator, ConditionalGenerator, halvings

NAMES = ("nevus", "меланома")


def generator(image_size: int = 32, channels: int = 3, seed: int = 0, **options: object) -> ConditionalGenerator:
    """An untrained generator of width 4, settled."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = ConditionalGenerator(image_size, channels, NAMES, **{"noise": 16, "width": 4, **options})
    made.settle(batches=2, batch_size=8)
    return made


@pytest.mark.parametrize(("side", "times"), [(32, 3), (48, 3), (64, 4), (96, 4), (112, 4), (224, 5), (256, 6)])
def test_sides_are_halved_to_four_to_seven(side: int, times: int) -> None:
    assert halvings(side) == times and 4 <= side >> times <= 7


@pytest.mark.parametrize(("side", "channels"), [(32, 3), (48, 1), (64, 3), (96, 1), (224, 3)])
def test_shapes(side: int, channels: int) -> None:
    model = generator(side, channels)
    assert model.shape == (channels, side, side)
    images = model(torch.randn(2, 16), torch.tensor([0, 1]))
    assert images.shape == (2, channels, side, side) and images.abs().max() <= 1
    for norm in ("batch", "none"):
        said = ConditionalDiscriminator(side, channels, 2, 4, norm)(images)
        assert said.score.shape == (2,) and said.logits.shape == (2, 2)


def test_channels_double_towards_the_start_up_to_eight_times() -> None:
    def widths(side: int) -> list[int]:
        return [p.shape[0] for p in generator(side).parameters() if p.ndim == 4][1:]

    assert widths(64) == [32, 16, 8, 4]
    assert widths(32) == [16, 8, 4]
    assert widths(224) == [32, 32, 16, 8, 4]


def test_the_label_takes_the_place_of_the_first_noise() -> None:
    model = generator()
    noise, labels = torch.randn(4, 16), torch.tensor([0, 1, 0, 1])
    other = noise.clone()
    other[:, :2] += 5
    assert torch.equal(model(noise, labels), model(other, labels))
    assert not torch.equal(model(noise, labels), model(noise, 1 - labels))
    other[:, 2] += 1
    assert not torch.equal(model(noise, labels), model(other, labels))


def test_gradients_reach_the_noise() -> None:
    noise = torch.randn(2, 16, requires_grad=True)
    generator()(noise, torch.tensor([0, 1])).sum().backward()
    assert (noise.grad[:, :2] == 0).all() and (noise.grad[:, 2:] != 0).any()


def test_samples_are_functions_of_seed_and_number() -> None:
    model = generator()
    made = model.sample(20, seed=3)
    assert made.images.shape == (40, 3, 32, 32) and made.images.dtype == torch.uint8
    assert made.labels.tolist() == [0] * 20 + [1] * 20 and made.class_names == NAMES
    few = model.sample(3, seed=3)
    assert torch.equal(few.images, made.images[[0, 1, 2, 20, 21, 22]])
    assert not torch.equal(model.sample(3, seed=4).images, few.images)
    assert len(made.images.flatten(1).unique(dim=0)) == 40
    model.train()  # a model in the wrong mode gives the same
    assert torch.equal(model.sample(3, seed=3).images, few.images)


@pytest.mark.parametrize("method", ["dcgan", "dim"])
def test_saved_and_loaded_samples_are_equal(method: str, tmp_path: Path) -> None:
    model = generator(48, 1, method=method)
    model.save_pretrained(tmp_path)
    loaded = ConditionalGenerator.from_pretrained(tmp_path)
    assert loaded.method == method and loaded.class_names == NAMES and loaded.config == model.config
    assert torch.equal(loaded.sample(5, seed=1).images, model.sample(5, seed=1).images)
    assert ConditionalGenerator(**model.config).shape == model.shape


def test_settled_statistics_are_those_of_the_weights() -> None:
    model = generator()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    stale = model.layers[1].running_var.clone()
    model.settle()
    assert not model.training and model.layers[1].momentum == nn.BatchNorm2d(1).momentum
    assert not torch.allclose(model.layers[1].running_var, stale, rtol=0.5)
    found = [buffer.clone() for buffer in model.buffers()]
    model.settle()
    assert all(torch.equal(a, b) for a, b in zip(found, model.buffers(), strict=True))
    # Every channel after a settled normalisation is what its scale and shift say, over fresh noise too.
    labels = torch.arange(512) % 2
    told = torch.nn.functional.one_hot(labels, 2).float()
    x = torch.cat([told, torch.randn(512, 14, generator=torch.Generator().manual_seed(9))], 1)[:, :, None, None]
    with torch.no_grad():
        normed = (model.layers[:2](x) - model.layers[1].bias[:, None, None]) / model.layers[1].weight[:, None, None]
    assert normed.mean((0, 2, 3)).abs().max() < 0.1 and (normed.std((0, 2, 3)) - 1).abs().max() < 0.1


def test_a_critic_without_normalisation_sees_each_image_alone() -> None:
    images = torch.randn(6, 3, 32, 32)
    critic = ConditionalDiscriminator(32, 3, 2, 4, "none")
    assert torch.allclose(critic(images).score[:2], critic(images[:2]).score, atol=1e-5)
    batch = ConditionalDiscriminator(32, 3, 2, 4, "batch")
    assert not torch.allclose(batch(images).score[:2], batch(images[:2]).score, atol=1e-5)
    assert 0.2 < critic.features(images).std() < 5  # features keep their size


def test_what_is_not_offered_is_refused() -> None:
    for size, channels, options, words in (
        (40, 3, {}, "multiple of 16"),
        (32, 2, {}, "1 .*or 3"),
        (32, 3, {"noise": 3}, "2 classes leave too little of 3 entries of noise; give at least 4"),
        (32, 3, {"method": "gan"}, "dim or dcgan or mae or medsynth, not 'gan'"),
    ):
        with pytest.raises(UserError, match=words):
            ConditionalGenerator(size, channels, NAMES, **options)
    with pytest.raises(UserError, match="batch or none, not 'layer'"):
        ConditionalDiscriminator(32, 3, 2, 4, "layer")
