from __future__ import annotations

import pytest
import torch
from torch import nn

from mmgen.errors import UserError
from mmgen.models.random_networks import POOL, random_network


@pytest.mark.parametrize("name", POOL)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 48, 48), (3, 64, 64), (1, 96, 96), (3, 224, 224)])
def test_shapes(name: str, shape: tuple[int, int, int]) -> None:
    logits = random_network(name, shape, 5, 4)(torch.randn(2, *shape))
    assert logits.shape == (2, 5) and logits.isfinite().all()


@pytest.mark.parametrize("name", POOL)
def test_an_image_is_seen_alone_in_either_mode(name: str) -> None:
    network = random_network(name, (3, 32, 32), 3, 4)
    images = torch.randn(4, 3, 32, 32)
    together = network.train()(images)
    assert torch.allclose(network.eval()(images[:1]), together[:1], atol=1e-5)
    assert list(network.buffers()) == []


def test_depths_and_ways_to_halve() -> None:
    def convolutions(name: str) -> list[nn.Conv2d]:
        return [m for m in random_network(name, (3, 32, 32), 3, 4).modules() if isinstance(m, nn.Conv2d)]

    for name, layers in (("resnet10", 9), ("resnet18", 17)):  # and one linear layer
        for suffix in ("", "_pool"):
            found = convolutions(name + suffix)
            assert sum(c.kernel_size == (3, 3) for c in found) == layers
            assert (max(c.stride for c in found) == (1, 1)) == bool(suffix)
            assert max(c.out_channels for c in found) == 32
    weights = [
        sum(p.numel() for p in random_network(f"resnet18{s}", (3, 32, 32), 3, 4).parameters()) for s in ("", "_pool")
    ]
    assert weights[0] == weights[1]


def test_small_images_keep_their_side_in_the_stem() -> None:
    for side, after in ((32, 32), (64, 64), (96, 48), (224, 56)):
        network = random_network("resnet10", (3, side, side), 2, 4)
        seen = []
        first = next(m for m in network.layers if type(m).__name__ == "_ResidualBlock")
        first.register_forward_hook(lambda _, x, y, seen=seen: seen.append(x[0].shape[-1]))
        network(torch.randn(1, 3, side, side))
        assert seen == [after]


def test_gradients_reach_the_input() -> None:
    for name in POOL:
        x = torch.randn(2, 3, 32, 32, requires_grad=True)
        random_network(name, (3, 32, 32), 2, 4)(x).square().sum().backward()
        assert (x.grad != 0).float().mean() > 0.5


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="'vgg'; there are convnet"):
        random_network("vgg", (3, 32, 32), 2, 4)
