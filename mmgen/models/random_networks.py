"""Random small classifiers of several kinds, which DiM (Wang et al. 2023) compares images through."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from mmgen.errors import UserError
from mmgen.models.classifiers import ConvNet

POOL = ("convnet", "resnet10", "resnet18", "resnet10_pool", "resnet18_pool")
"""Kinds of networks; "_pool" halves sides by average pooling instead of strides."""
_BLOCKS = {"resnet10": 1, "resnet18": 2}  # in each of four stages
_FULL_SIDE = 64


def random_network(name: str, shape: tuple[int, int, int], classes: int, width: int) -> nn.Module:
    """An untrained network (B, C, H, W) of normalised input -> logits (B, classes).

    Args:
        name: one of :data:`POOL`.
        shape: (C, H, W) of one input.
        classes: logits.
        width: channels of the first stage of a ResNet and of all blocks of a ConvNet.

    Raises:
        UserError: unknown name.
    """
    if name not in POOL:
        raise UserError(f"Unknown network {name!r}; there are {', '.join(POOL)}.")
    if name == "convnet":
        return ConvNet(shape, classes, width)
    kind, _, pooled = name.partition("_")
    return SmallResNet(shape, classes, width, _BLOCKS[kind], bool(pooled))


@torch.no_grad()
def draw_weights(network: ConvNet, generator: Generator) -> None:
    """New random weights in place, as torch draws them for a new network: uniform in +-1 / sqrt(inputs of a neuron).

    Only of the convolutions: norms begin as the identity and the linear layer gives no features. All are drawn at once,
    by a generator on the CPU.
    """
    convolutions = [part for part in network.blocks.modules() if isinstance(part, nn.Conv2d)]
    bounds = [1 / math.sqrt(part.weight[0].numel()) for part in convolutions]
    drawn = torch.rand(sum(part.weight.numel() + part.bias.numel() for part in convolutions), generator=generator)
    device, start = convolutions[0].weight.device, 0
    drawn = (drawn.pin_memory() if device.type == "cuda" else drawn).to(device, non_blocking=True).mul_(2).sub_(1)
    for part, bound in zip(convolutions, bounds, strict=True):
        for weights in (part.weight, part.bias):
            weights.copy_(drawn[start : start + weights.numel()].view_as(weights)).mul_(bound)
            start += weights.numel()


class SmallResNet(nn.Module):
    """A ResNet for small images: a 3 x 3 stem, four stages, all but the first at half the side of the one before, and
    the mean over places. The stem keeps sides up to 64 pixels; longer ones it halves until then.

    It has instance normalisation, so that what it says of an image depends on no other, nor on a mode.

    Args:
        shape: (C, H, W) of one input.
        classes: logits.
        width: channels of the first stage; they double with every stage.
        blocks: residual blocks in a stage.
        pooled: halve sides by 2 x 2 average pooling instead of strides.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int, blocks: int, pooled: bool) -> None:
        super().__init__()
        channels, height, width_in = shape
        stem = [nn.Conv2d(channels, width, 3, padding=1, bias=False), _norm(width), nn.ReLU()]
        side = min(height, width_in)
        while side > _FULL_SIDE:
            stem.append(nn.AvgPool2d(2, ceil_mode=True))
            side = -(-side // 2)
        stages, inputs = [], width
        for stage in range(4):
            outputs = width << stage
            for block in range(blocks):
                halve = stage > 0 and block == 0
                stages.append(_ResidualBlock(inputs, outputs, halve, pooled))
                inputs = outputs
        self.layers = nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, classes)."""
        return self.layers(x)


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, halve: bool, pooled: bool) -> None:
        super().__init__()
        stride = 2 if halve and not pooled else 1
        shrink = [nn.AvgPool2d(2)] if halve and pooled else []
        first = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), _norm(outputs), nn.ReLU(), *shrink]
        self.main = nn.Sequential(*first, nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), _norm(outputs))
        self.past = nn.Sequential()  # the input as it is
        if inputs != outputs:
            self.past = nn.Sequential(*shrink, nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, E, h, w), or half the sides."""
        return F.relu(self.main(x) + self.past(x))


def _norm(channels: int) -> nn.Module:
    # One group a channel is instance norm; unlike InstanceNorm2d it scales and shifts by default.
    return nn.GroupNorm(channels, channels)
