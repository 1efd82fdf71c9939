"""Random masking as pure functions on indices: gathers only, so shapes depend on the ratio and never on the data."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgen.errors import UserError


def visible_count(tokens: int, mask_ratio: float) -> int:
    """How many of ``tokens`` stay visible: rounded, at least one unless ``mask_ratio`` is 1.

    Raises:
        UserError: ratio outside 0..1.
    """
    if not 0.0 <= mask_ratio <= 1.0:
        raise UserError(f"A mask ratio lies between 0 and 1, got {mask_ratio}.")
    if mask_ratio == 1.0:
        return 0
    return max(1, round(tokens * (1.0 - mask_ratio)))


def shuffle(noise: Tensor) -> tuple[Tensor, Tensor]:
    """Order and inverse order of tokens from uniform noise: (B, N) -> (B, N), (B, N).

    The first ``visible_count`` entries of the order are the visible tokens; the inverse order puts decoded tokens back
    in place.
    """
    order = noise.argsort(dim=1, stable=True)
    return order, order.argsort(dim=1)


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """(B, N, D), (B, M) -> (B, M, D)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def mask_from_order(inverse: Tensor, visible: int) -> Tensor:
    """(B, N) float mask in the original token order: 1 where masked, 0 where visible."""
    return (inverse >= visible).float()


def uniform_noise(batch: int, tokens: int, generator: torch.Generator | None = None) -> Tensor:
    """(B, N) uniform noise on the CPU, so that a seed gives the same masks on every device."""
    return torch.rand(batch, tokens, generator=generator)
