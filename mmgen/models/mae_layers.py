"""Layers of the cross-modal masked autoencoder: encoder streams, fusion between them, decoders and their heads."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers import LayerNorm, build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.modality import Modality

FusionQuery = Literal["own", "other"]


def gather_tokens(tokens: Tensor, ids: Tensor) -> Tensor:
    """(B, N, D), (B, M) -> (B, M, D). A gather keeps shapes static, whatever the mask."""
    return tokens.gather(1, ids.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def sincos_positions(modality: Modality, dim: int) -> Tensor:
    """Fixed 2-d sine-cosine embeddings (1, 1 + N, D); the class token in front has zeros."""
    if dim % 4:
        raise UserError(f"Two-dimensional sine-cosine positions need a width that is a multiple of 4, got {dim}.")
    positions = build_sincos2d_pos_embed(list(modality.grid), dim=dim)
    return torch.cat([torch.zeros(1, dim), positions]).unsqueeze(0)


def transformer_blocks(dim: int, depth: int, heads: int) -> nn.ModuleList:
    """``depth`` pre-norm ViT blocks with timm's parameter names."""
    check_heads(dim, heads)
    return nn.ModuleList(Block(dim, heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=LayerNorm) for _ in range(depth))


def check_heads(dim: int, heads: int) -> None:
    if heads < 1 or dim % heads:
        raise UserError(f"The number of heads ({heads}) must divide the width ({dim}).")


def initialise(module: nn.Module) -> None:
    """Xavier for linear layers, as in the MAE reference; biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def attend(q: Tensor, k: Tensor, v: Tensor, fused: bool) -> Tensor:
    """Softmax attention of (B, heads, N, d) to (B, heads, M, d), by one kernel or by two matrix products."""
    if fused:
        return F.scaled_dot_product_attention(q, k, v)
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v


class EncoderStream(nn.Module):
    """Patch embedding, class token, positions and blocks of one modality; the same parts as a timm ViT."""

    def __init__(self, modality: Modality, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Linear(modality.patch_size, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("positions", sincos_positions(modality, dim))
        self.blocks = transformer_blocks(dim, depth, heads)
        self.norm = LayerNorm(dim)
        self.apply(initialise)
        nn.init.normal_(self.cls_token, std=0.02)

    def tokens(self, patches: Tensor, ids_keep: Tensor | None) -> Tensor:
        """Embedded visible tokens behind the class token: (B, N, P), (B, V) or None for all -> (B, 1 + V, D)."""
        positions = self.positions[:, 1:].expand(len(patches), -1, -1)
        if ids_keep is not None:  # gather before embedding: masked patches cost nothing
            patches, positions = gather_tokens(patches, ids_keep), gather_tokens(positions, ids_keep)
        visible = self.embed(patches) + positions
        first = (self.cls_token + self.positions[:, :1]).expand(len(patches), -1, -1)
        return torch.cat([first.to(visible.dtype), visible], dim=1)


class GradualCrossAttention(nn.Module):
    """The term xi * C(.) that one layer adds to one modality's tokens (MMAE paper, section III-C, equations 6 and 7).

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
        check_heads(dim, heads)
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
            return self.xi * self._attend(own, torch.cat(others, dim=1))
        for other in others:
            if other.shape[1] != own.shape[1]:
                raise UserError(
                    f"fusion_query='other' adds the other modality's {other.shape[1]} tokens to {own.shape[1]} own "
                    "ones; give all modalities the same mask ratio, or train with fusion_query='own'."
                )
        return self.xi * torch.stack([self._attend(other, own) for other in others]).mean(dim=0)

    def _attend(self, query: Tensor, memory: Tensor) -> Tensor:
        q = rearrange(self.query(self.query_norm(query)), "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(self.key_value(self.key_norm(memory)), "b n (kv h d) -> kv b h n d", kv=2, h=self.heads)
        return self.proj(rearrange(attend(q, k, v, self.fused_attn), "b h n d -> b n (h d)"))


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


# How decoded tokens become patches, and what the patches cost. A new head is a class and a line here.
HEADS: dict[str, type[nn.Module]] = {"mse": MSEHead}


class Decoder(nn.Module):
    """Fills masked places with a mask token and runs a few blocks over all places; ``head`` makes patches of them."""

    def __init__(self, modality: Modality, encoder_dim: int, dim: int, depth: int, heads: int, head: str) -> None:
        super().__init__()
        if head not in HEADS:
            raise UserError(f"Unknown decoder head {head!r}; there are {sorted(HEADS)}.")
        self.embed = nn.Linear(encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("positions", sincos_positions(modality, dim))
        self.blocks = transformer_blocks(dim, depth, heads)
        self.norm = LayerNorm(dim)
        self.head = HEADS[head](dim, modality.patch_size)
        self.apply(initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, latent: Tensor, ids_restore: Tensor) -> Tensor:
        """(B, 1 + V, D_enc) and the inverse order (B, N) -> decoded tokens (B, N, D) ready for the head."""
        x = self.embed(latent)
        missing = ids_restore.shape[1] - (x.shape[1] - 1)
        filled = torch.cat([x[:, 1:], self.mask_token.to(x.dtype).expand(len(x), missing, -1)], dim=1)
        x = torch.cat([x[:, :1], gather_tokens(filled, ids_restore)], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1:]
