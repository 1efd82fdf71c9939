"""Random squares with structure at several scales."""

from __future__ import annotations

import torch

from mmgen.evaluation.privacy.disguises.pixels import SIDE, blurred


def smooth(count: int, seed: int = 0) -> torch.Tensor:
    """(count, 1, SIDE, SIDE), 0..255."""
    noise = torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    mixed = sum(blurred(noise, sigma) * sigma for sigma in (1.0, 2.0, 4.0))
    low, high = mixed.amin((2, 3), keepdim=True), mixed.amax((2, 3), keepdim=True)
    return 255 * (mixed - low) / (high - low)
