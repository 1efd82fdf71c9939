"""Layers of the denoising decoder: noised patches become clean ones, told the time and the label."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmgen.models.mae_layers import (
    FusionQuery,
    GradualCrossAttention,
    attend,
    check_heads,
    gather_tokens,
    initialise,
    sincos_positions,
)
from mmgen.models.modality import Modality

_FREQUENCIES = 128
_BOTTLENECK = 128


class Modulated(nn.Module):
    """A transformer block whose normalisation is shifted, scaled and gated by a condition (adaLN-zero, Peebles and Xie
    2023), with normalised queries and keys and a gated MLP. At first it changes nothing.

    Args:
        dim: token width D.
        heads: attention heads; must divide ``dim``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        check_heads(dim, heads)
        hidden = 8 * math.ceil(dim / 3)  # as many parameters as an MLP of four times the width
        self.heads, self.fused_attn = heads, True
        self.table = nn.Parameter(torch.zeros(6, dim))
        self.norm = nn.RMSNorm(dim, elementwise_affine=False)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.query_norm, self.key_norm = nn.RMSNorm(dim // heads), nn.RMSNorm(dim // heads)
        self.widen, self.narrow = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, N, D) and (B, 6, D), shift, scale and gate of attention and of the MLP -> (B, N, D)."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (condition + self.table).unsqueeze(2).unbind(1)
        q, k, v = rearrange(self.qkv(self.norm(x) * (1 + scale) + shift), "b n (s h d) -> s b h n d", s=3, h=self.heads)
        mixed = attend(self.query_norm(q), self.key_norm(k), v, self.fused_attn)
        x = x + gate * self.proj(rearrange(mixed, "b h n d -> b n (h d)"))
        one, other = self.widen(self.norm(x) * (1 + mlp_scale) + mlp_shift).chunk(2, -1)
        return x + mlp_gate * self.narrow(F.silu(one) * other)


class DenoisingDecoder(nn.Module):
    """Predicts the clean patches of one modality from its visible tokens, its noised patches, the tokens of the other
    modalities, the time and the label.

    Args:
        modality: sizes.
        encoder_dim: width of encoded tokens.
        dim, depth, heads: width, layers and attention heads.
        classes: labels; one more, ``classes``, stands for no label.
        fused: whether there are other modalities to read.
        query: orientation of the cross-attention; tokens of the others are read whatever it is in the encoders.
    """

    def __init__(
        self, modality: Modality, encoder_dim: int, dim: int, depth: int, heads: int, classes: int, fused: bool
    ) -> None:
        super().__init__()
        size, query = modality.patch_size, FusionQuery.__args__[0]
        self.embed = nn.Linear(encoder_dim, dim)
        # Through a bottleneck, for large patches have few dimensions that matter.
        self.noised = nn.Sequential(
            nn.Linear(size, min(size, _BOTTLENECK), bias=False), nn.Linear(min(size, _BOTTLENECK), dim)
        )
        self.register_buffer("positions", sincos_positions(modality, dim))
        self.register_buffer(
            "frequencies", torch.exp(torch.linspace(0, math.log(1000), _FREQUENCIES)), persistent=False
        )
        self.time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(classes + 1, dim)
        self.modulation = nn.Linear(dim, 6 * dim)
        self.blocks = nn.ModuleList(Modulated(dim, heads) for _ in range(depth))
        self.others = nn.Linear(encoder_dim, dim) if fused else None
        gates = [layer / max(1, depth - 1) for layer in range(depth if fused else 0)]
        self.fusion = nn.ModuleList(GradualCrossAttention(dim, heads, xi, query) for xi in gates)
        self.norm, self.last, self.head = (
            nn.RMSNorm(dim, elementwise_affine=False),
            nn.Linear(dim, 2 * dim),
            nn.Linear(dim, size),
        )
        self.apply(initialise)
        nn.init.normal_(self.label.weight, std=0.02)
        for layer in (self.modulation, self.last, self.head):
            nn.init.zeros_(layer.weight)

    def forward(
        self, latent: Tensor, noised: Tensor, ids_restore: Tensor, time: Tensor, label: Tensor, others: list[Tensor]
    ) -> Tensor:
        """Clean patches (B, N, P) in normalised units, float32.

        Args:
            latent: (B, 1 + V, D_enc) class token and visible tokens.
            noised: (B, N, P); those of visible places are not looked at.
            ids_restore: (B, N) puts visible tokens, followed by hidden ones, back in place.
            time: (B,) 0 is noise alone, 1 the clean patch.
            label: (B,) integers.
            others: encoded tokens (B, 1 + V_k, D_enc) of the other modalities.
        """
        hidden = ids_restore.argsort(dim=1)[:, latent.shape[1] - 1 :]
        x = torch.cat([self.embed(latent[:, 1:]), self.noised(gather_tokens(noised, hidden)).to(latent.dtype)], 1)
        x = torch.cat([self.embed(latent[:, :1]), gather_tokens(x, ids_restore)], 1) + self.positions
        angles = time[:, None].float() * self.frequencies
        condition = self.time(torch.cat([angles.cos(), angles.sin()], 1)) + self.label(label)
        modulation = self.modulation(F.silu(condition)).unflatten(1, (6, -1))
        memory = [self.others(other) for other in others] if self.others is not None else []
        for layer, block in enumerate(self.blocks):
            if memory:
                x = x + self.fusion[layer](x, memory)
            x = block(x, modulation)
        shift, scale = self.last(F.silu(condition)).unsqueeze(1).chunk(2, -1)
        return self.head(self.norm(x[:, 1:]) * (1 + scale) + shift).float()
