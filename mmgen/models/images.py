"""Square images in [-1, 1]: the sizes that generators and critics take, and the way from and to bytes."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgen.errors import UserError


def check_images(image_size: int, channels: int) -> None:
    """Raise :class:`UserError` unless images are squares of 32, 48, ... 256 pixels with 1 or 3 channels."""
    if image_size % 16 or not 32 <= image_size <= 256:
        raise UserError(
            f"Images must be squares with a side of 32 to 256 pixels that is a multiple of 16, not {image_size}; "
            "choose another image size."
        )
    if channels not in (1, 3):
        raise UserError(f"Images have 1 (grey) or 3 (RGB) channels, not {channels}.")


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1]; floats only become float32."""
    return images.float() / 127.5 - 1.0 if images.dtype == torch.uint8 else images.float()


def to_bytes(images: Tensor) -> Tensor:
    """[-1, 1] -> uint8 0..255."""
    return ((images.float() + 1.0) * 127.5).round().clamp(0, 255).byte()
