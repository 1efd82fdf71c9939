"""Gradual cross-attention fusion (MMAE paper, section III-C, equations 6 and 7)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers import LayerNorm
from torch import Tensor, nn

from mmgen.errors import UserError

FusionQuery = Literal["own", "other"]


class GradualCrossAttention(nn.Module):
    """The term xi * C(.) that one layer adds to one modality's tokens.

    ``query="own"``: C(own, other, other), the tokens of all other modalities are read as one sequence; any lengths, any
    number of them. ``query="other"``: C(other, own, own) as printed in the paper; the output has the other's token
    count, so counts must be equal. With more than two modalities the outputs for each of the others are averaged.

    Args:
        dim: token width D.
        heads: attention heads; must divide ``dim``.
        xi: initial value of the learnable gate. At xi = 0 the term is exactly zero.
        query: orientation.
    """

    def __init__(self, dim: int, heads: int, xi: float, query: FusionQuery = "own") -> None:
        super().__init__()
        if query not in get_args(FusionQuery):
            raise UserError(f"fusion_query is one of {get_args(FusionQuery)}, got {query!r}.")
        if dim % heads:
            raise UserError(f"The number of heads ({heads}) must divide the width ({dim}).")
        self.heads = heads
        self.query_from = query
        self.fused_attn = True
        self.xi = nn.Parameter(torch.tensor(float(xi)))
        self.query_norm = LayerNorm(dim)
        self.key_norm = LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, own: Tensor, others: list[Tensor]) -> Tensor:
        """(B, N, D) and a list of (B, N_k, D) -> (B, N, D), already multiplied by xi."""
        if self.query_from == "own":
            attended = self._attend(own, torch.cat(others, dim=1))
        else:
            for other in others:
                if other.shape[1] != own.shape[1]:
                    raise UserError(
                        f"fusion_query='other' adds the other modality's {other.shape[1]} tokens "
                        f"to {own.shape[1]} own ones; "
                        "give all modalities the same mask ratio, or train with fusion_query='own'."
                    )
            attended = torch.stack([self._attend(other, own) for other in others]).mean(dim=0)
        return self.xi * attended

    def _attend(self, query: Tensor, memory: Tensor) -> Tensor:
        q = rearrange(self.query(self.query_norm(query)), "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(self.key_value(self.key_norm(memory)), "b n (kv h d) -> kv b h n d", kv=2, h=self.heads)
        if self.fused_attn:
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            out = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return self.proj(rearrange(out, "b h n d -> b n (h d)"))


def linear_xi(depth: int) -> list[float]:
    """Initial gates, a ramp from 0 to 1 over the layers: late fusion is the better prior (section III-C)."""
    return [layer / max(1, depth - 1) for layer in range(depth)]
