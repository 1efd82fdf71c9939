"""The single-modality halves of the masked autoencoder: an encoder sees visible tokens, a light decoder sees all."""

from __future__ import annotations

import torch
from timm.layers import LayerNorm, build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.heads import HEADS
from mmgen.models.masking import gather_tokens
from mmgen.models.modality import Modality


def sincos_positions(modality: Modality, dim: int) -> Tensor:
    """Fixed 2-d sine-cosine embeddings (1, 1 + N, D); the class token in front has zeros."""
    if dim % 4:
        raise UserError(f"Two-dimensional sine-cosine positions need a width that is a multiple of 4, got {dim}.")
    positions = build_sincos2d_pos_embed(list(modality.grid), dim=dim)
    return torch.cat([torch.zeros(1, dim), positions]).unsqueeze(0)


def transformer_blocks(dim: int, depth: int, heads: int) -> nn.ModuleList:
    """``depth`` pre-norm ViT blocks with timm's parameter names."""
    if dim % heads:
        raise UserError(f"The number of heads ({heads}) must divide the width ({dim}).")
    return nn.ModuleList(Block(dim, heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=LayerNorm) for _ in range(depth))


def initialise(module: nn.Module) -> None:
    """Xavier for linear layers, as in the MAE reference; biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


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

    def tokens(self, patches: Tensor, index: Tensor | None) -> Tensor:
        """Embedded visible tokens behind the class token: (B, N, P), (B, V) or None for all -> (B, 1 + V, D)."""
        positions = self.positions[:, 1:].expand(len(patches), -1, -1)
        if index is not None:  # gather before embedding: masked patches cost nothing
            patches, positions = gather_tokens(patches, index), gather_tokens(positions, index)
        visible = self.embed(patches) + positions
        first = (self.cls_token + self.positions[:, :1]).expand(len(patches), -1, -1)
        return torch.cat([first.to(visible.dtype), visible], dim=1)


class Decoder(nn.Module):
    """Fills masked places with a mask token, runs a few blocks over all places and hands them to the head."""

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

    def forward(self, encoded: Tensor, inverse: Tensor) -> Tensor:
        """(B, 1 + V, D_enc) and the inverse order (B, N) -> decoded tokens (B, N, D) ready for the head."""
        x = self.embed(encoded)
        missing = inverse.shape[1] - (x.shape[1] - 1)
        filled = torch.cat([x[:, 1:], self.mask_token.to(x.dtype).expand(len(x), missing, -1)], dim=1)
        x = torch.cat([x[:, :1], gather_tokens(filled, inverse)], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1:]
