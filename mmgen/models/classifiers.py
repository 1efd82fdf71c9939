"""Classifiers that measure what a data set is good for; log-mels are one-channel images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import timm
import torch
import torch.nn.functional as F
from einops import repeat
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.lora import add_lora
from mmgen.names import ClassifierName


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
        self.blocks = nn.Sequential(*(_block(width if i else channels, width) for i in range(depth)))
        self.head = nn.Linear(width * (height >> depth) * (width_in >> depth), classes)

    def embed(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> features (B, F) before the linear layer."""
        return self.blocks(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, classes)."""
        return self.head(self.embed(x))


def _block(channels: int, width: int) -> nn.Sequential:
    # One group a channel is instance norm; unlike InstanceNorm2d it scales and shifts by default.
    parts = (nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(width, width), nn.ReLU(inplace=True), HalvingPool())
    return nn.Sequential(*parts)


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


def _from_timm(name: str) -> Callable[[tuple[int, int, int], int], nn.Module]:
    def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
        model = timm.create_model(name, pretrained=False, in_chans=shape[0], num_classes=classes)
        # A training step in bf16 on a CPU: 1.5 times as fast (densenet121) and 1.2 (resnet18). Not so ConvNet, whose
        # normalisation is several times slower in this order of memory.
        return model.to(memory_format=torch.channels_last)

    return build


_UNTRAINED: dict[str, Callable[[tuple[int, int, int], int], nn.Module]] = {
    "resnet18": _from_timm("resnet18"),
    "densenet121": _from_timm("densenet121"),
    "convnet": ConvNet,
}


def build_classifier(
    name: ClassifierName, shape: tuple[int, int, int], classes: int, backbone: VisionTransformer | None = None
) -> nn.Module:
    """A network (B, C, H, W) of normalised input -> logits (B, classes).

    Args:
        name: "resnet18", "densenet121" and "convnet" are untrained; "vit_lora" is a frozen ``backbone`` with low-rank
            changes and a new head, see :func:`mmgen.models.lora.add_lora`.
        shape: (C, H, W) of one input.
        classes: at least 2.
        backbone: pretrained, for "vit_lora" alone: from :func:`mmgen.models.timm_bridge.load_vit`, or the encoder of an
            autoencoder trained on the same kind of images, from ``CrossModalMAE.to_timm``. It is copied.

    Raises:
        UserError: unknown name, one class, or no backbone for "vit_lora".
    """
    if name not in get_args(ClassifierName):
        raise UserError(f"Unknown classifier {name!r}; there are {get_args(ClassifierName)}.")
    if classes < 2:
        raise UserError(f"A classifier needs at least two labels, got {classes}.")
    if name != "vit_lora":
        return _UNTRAINED[name](shape, classes)
    if backbone is None:
        raise UserError(
            "vit_lora adapts a pretrained Vision Transformer and there is none; name one of timm's, "
            "or give a masked autoencoder trained on such images."
        )
    return add_lora(backbone, shape, classes)
