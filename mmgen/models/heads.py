"""Decoder heads: how decoded tokens become patches, and what the patches cost.

A new head is a class here and a line in ``HEADS``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class MSEHead(nn.Module):
    """Predicts the conditional mean of a patch (He et al. 2022): blurred, but stable. Deterministic when sampling."""

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, patch_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> patches (B, N, P) in normalised units."""
        return self.proj(tokens).float()

    def loss(self, tokens: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Squared error of each patch, averaged over its valid elements: (B, N, D), (B, N, P), (N, P) -> (B, N)."""
        error = F.mse_loss(self(tokens), target, reduction="none")
        return (error * valid).sum(-1) / valid.sum(-1).clamp_min(1.0)


HEADS: dict[str, type[nn.Module]] = {"mse": MSEHead}
