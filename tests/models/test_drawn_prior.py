"""Draws of a masked autoencoder as a prior: of the class asked for, the same for the same chance."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_drawing

from mmgen.condensation.mae_prior import draw_pool
from mmgen.models.drawn_prior import DrawnPrior


@pytest.fixture
def prior() -> DrawnPrior:
    torch.manual_seed(0)
    return DrawnPrior.build(tiny_drawing(), draw_pool(tiny_drawing(), 20))


def test_images_are_draws_of_their_class(prior: DrawnPrior) -> None:
    labels = torch.tensor([1, 0, 1, 1])
    x = prior.sample(labels, torch.Generator().manual_seed(3))
    assert x.shape == (4, 3, 32, 32) and x.dtype == torch.float32 and x.abs().max() <= 1
    assert prior.pool is not None and prior.pool.shape[:2] == (2, 20)
    for image, label in zip(x, labels, strict=True):
        pool = prior.pool[label].float() / 127.5 - 1
        assert (image - pool).abs().amax((1, 2, 3)).min() < 1e-5
    assert torch.equal(x, prior.sample(labels, torch.Generator().manual_seed(3)))
    assert not torch.equal(x, prior.sample(labels, torch.Generator().manual_seed(4)))


def test_no_set_is_drawn_with_the_seed_of_the_pool(prior: DrawnPrior) -> None:
    assert prior.pool is not None
    assert not torch.equal(prior.pool[0, :16], prior.generator.make_batch(0, 0, 0))


def test_the_pool_is_not_saved(prior: DrawnPrior) -> None:
    bare = DrawnPrior(**prior.config)
    assert bare.pool is None and bare.state_dict().keys() == prior.state_dict().keys()
    with pytest.raises(RuntimeError, match="pool"):
        bare.sample(torch.tensor([0]), torch.Generator())


def test_images_to_restore_are_passed_on(prior: DrawnPrior) -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(prior.conceal(images, torch.tensor([0, 1]), torch.Generator()), images)
