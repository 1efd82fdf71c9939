"""Classifiers: those that measure what a data set is good for, and random small ones that images are compared through
(DM, DiM). Log-mels are one-channel images."""

from __future__ import annotations

import copy
import math
from typing import Any, get_args

import timm
import torch
import torch.nn.functional as F
from einops import repeat
from timm.models.vision_transformer import VisionTransformer
from torch import Generator, Tensor, nn

from mmgen.errors import UserError
from mmgen.models.mfcc import MFCCClassifier
from mmgen.models.timm_bridge import fit_vit
from mmgen.names import ClassifierName

POOL = ("convnet", "resnet10", "resnet18", "resnet10_pool", "resnet18_pool")
"""Random networks that DiM (Wang et al. 2023) uses; "_pool" halves sides by average pooling instead of strides."""


class ConvNet(nn.Module):
    """The plain network of data-set condensation (as in DM and VICO): blocks of convolution, instance norm, ReLU and
    2x2 average pooling, and one linear layer.

    Args:
        shape: (C, H, W) of one input; the shorter side of H and W needs 8 pixels.
        classes: logits.
        width: channels of every block.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int = 128) -> None:
        super().__init__()
        channels, height, width_in = shape
        depth = min(height, width_in).bit_length() - 3  # floor(log2(side)) - 2
        if depth < 1:
            raise UserError(f"convnet needs inputs of at least 8 x 8, got {height} x {width_in}.")
        self.blocks = nn.Sequential()
        for inputs in [channels, *[width] * (depth - 1)]:
            convolution = nn.Conv2d(inputs, width, 3, padding=1)
            self.blocks.append(nn.Sequential(convolution, _norm(width), nn.ReLU(inplace=True), HalvingPool()))
        self.head = nn.Linear(width * (height >> depth) * (width_in >> depth), classes)

    def embed(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> features (B, F) before the linear layer."""
        return self.blocks(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, classes)."""
        return self.head(self.embed(x))


def _norm(channels: int) -> nn.Module:
    # One group a channel is instance norm; unlike InstanceNorm2d it scales and shifts by default.
    return nn.GroupNorm(channels, channels)


class HalvingPool(nn.Module):
    """2x2 average pooling; an odd last row or column is left out."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H // 2, W // 2)."""
        if x.device.type != "cpu":
            return F.avg_pool2d(x, 2)
        height, width = (side // 2 * 2 for side in x.shape[-2:])
        return _HalvedOnCPU.apply(x[..., :height, :width])


class _HalvedOnCPU(torch.autograd.Function):
    """Average pooling of even sides. torch's own takes two to four times as long on a CPU, forwards and backwards, and
    was a third of this network's step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rows = x[..., ::2, :] + x[..., 1::2, :]
        return (rows[..., ::2] + rows[..., 1::2]).mul_(0.25)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        width = gradient.shape[-1]
        # A product with a matrix of quarters doubles columns two to three times as fast as a copy in bf16.
        double = 0.25 * torch.eye(width, dtype=gradient.dtype).repeat_interleave(2, dim=1)
        return repeat(gradient @ double, "b c h w -> b c (h two) w", two=2)


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
        while side > 64:
            stem.append(nn.AvgPool2d(2, ceil_mode=True))
            side = -(-side // 2)
        stages, inputs = [], width
        for stage in range(4):
            outputs = width << stage
            for block in range(blocks):
                stages.append(_ResidualBlock(inputs, outputs, stage > 0 and block == 0, pooled))
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
    blocks = 1 if name.startswith("resnet10") else 2  # in each of four stages
    return SmallResNet(shape, classes, width, blocks, name.endswith("_pool"))


class ViTClassifier(nn.Module):
    """A ViT, with or without LoRA, that takes inputs of any size: they are resized (antialiased) to its own.

    Args:
        vit: (B, C, H', W') -> logits (B, classes).
        size: (H', W').
    """

    def __init__(self, vit: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.vit, self.size = vit, size

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, classes)."""
        return self.vit(self._resized(x))

    def embed(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> features (B, F) before the last layer."""
        return self.vit.forward_head(self.vit.forward_features(self._resized(x)), pre_logits=True)

    def _resized(self, x: Tensor) -> Tensor:
        if tuple(x.shape[-2:]) == self.size:
            return x
        return F.interpolate(x, self.size, mode="bilinear", antialias=True)

    def merged(self) -> ViTClassifier:
        """A copy with LoRA's changes added to the weights: a plain timm ViT, all of it frozen, as fast as before."""
        vit = copy.deepcopy(self.vit).merge_and_unload()
        return ViTClassifier(vit.requires_grad_(False), self.size).train(self.training)


def build_classifier(
    name: ClassifierName, shape: tuple[int, int, int], classes: int, backbone: VisionTransformer | None = None
) -> nn.Module:
    """A network (B, C, H, W) of normalised input -> logits (B, classes).

    Args:
        name: "resnet18", "densenet121" and "convnet" are untrained; "vit_lora" is a frozen ``backbone`` of which only
            low-rank changes of every block's query, key and value, zero at first, and a new head are trained; "mfcc" is
            a :class:`.MFCCClassifier`, which is fitted and not trained by steps.
        shape: (C, H, W) of one input.
        classes: at least 2.
        backbone: pretrained, for "vit_lora" alone: from :func:`mmgen.models.timm_bridge.load_vit`, or the encoder of an
            autoencoder trained on the same kind of images, from ``CrossModalMAE.to_timm``. It is copied and fitted to
            the input, see :func:`mmgen.models.timm_bridge.fit_vit`.

    Raises:
        UserError: unknown name, one class, or no backbone or no peft for "vit_lora".
    """
    if name not in get_args(ClassifierName):
        raise UserError(f"Unknown classifier {name!r}; there are {get_args(ClassifierName)}.")
    if classes < 2:
        raise UserError(f"A classifier needs at least two labels, got {classes}.")
    if name == "convnet":
        return ConvNet(shape, classes)
    if name == "mfcc":
        return MFCCClassifier(shape, classes)
    if name != "vit_lora":
        network = timm.create_model(name, pretrained=False, in_chans=shape[0], num_classes=classes)
        # A training step in bf16 on a CPU: 1.5 times as fast (densenet121) and 1.2 (resnet18). Not so ConvNet, whose
        # normalisation is several times slower in this order of memory.
        return network.to(memory_format=torch.channels_last)
    if backbone is None:
        raise UserError(
            "vit_lora adapts a pretrained Vision Transformer and there is none; name one of timm's, "
            "or give a masked autoencoder trained on such images."
        )
    try:
        import peft
    except ImportError as error:
        raise UserError("vit_lora needs the package peft, which is not installed; run: pip install peft.") from error
    vit = fit_vit(copy.deepcopy(backbone), shape)
    vit.reset_classifier(classes)
    # timm keeps query, key and value in one matrix; its change is alpha / r * B A with B (3D, r) and A (r, D).
    config = peft.LoraConfig(r=8, lora_alpha=16.0, target_modules=["qkv"], modules_to_save=["head"])
    return ViTClassifier(peft.get_peft_model(vit, config), vit.patch_embed.img_size)
