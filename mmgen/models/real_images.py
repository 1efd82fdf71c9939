"""What a generator may start from in place of a prior: the real images themselves."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.errors import UserError, first_few
from mmgen.models.images import to_unit_range


class ImageArray(Protocol):
    """Images (N, C, H, W) of bytes that are read when they are indexed."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n,) int64 -> (n, C, H, W) uint8."""
        ...


class RealImages(nn.Module):
    """Draws from the real images themselves, as the paper has it: only who holds the data can run it.

    The images are no part of the state dict, so nothing of them is saved with a model.

    Args:
        images: (N, C, H, W), float in [-1, 1], or uint8 for 0..255; or an array of uint8 that is read when integers
            index it, so that not all images need to be in memory.
        labels: classes (N,).
        device: where sampled images go. None: the tensor's own device, the CPU for an array.

    Raises:
        UserError: another number of labels than of images.
    """

    def __init__(self, images: Tensor | ImageArray, labels: Tensor, device: torch.device | str | None = None) -> None:
        super().__init__()
        if len(images) != len(labels):
            raise UserError(f"There are {len(labels)} labels for {len(images)} images; give one for every image.")
        self._images = images
        self._device = device or (images.device if isinstance(images, Tensor) else "cpu")
        self._rows = labels.cpu().argsort(stable=True)
        self._counts = torch.bincount(labels.cpu())
        self._starts = self._counts.cumsum(0) - self._counts

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """A random image of each class in ``labels`` (B,), float32 (B, C, H, W) in [-1, 1], on ``device``.

        ``generator`` lives on the CPU; the choice is a function of its state.

        Raises:
            UserError: a class without images, or an array that holds no bytes.
        """
        labels = labels.cpu()
        known = set(self._counts.nonzero().flatten().tolist())
        missing = sorted(set(labels.tolist()) - known)
        if missing:
            raise UserError(f"There is no real image of class {first_few(missing)} to draw; there are {sorted(known)}.")
        chance = torch.rand(len(labels), generator=generator, dtype=torch.float64)
        rows = self._rows[self._starts[labels] + (chance * self._counts[labels]).long()]
        return to_unit_range(self._read(rows).to(self._device))

    def _read(self, rows: Tensor) -> Tensor:
        if isinstance(self._images, Tensor):
            return self._images[rows.to(self._images.device)]
        images = self._images[rows.numpy()]
        if images.dtype != np.uint8:  # log-mel values, for example, would be no images
            raise UserError(f"Real images that are read from an array must be uint8, not {images.dtype}.")
        return torch.from_numpy(images)
