"""Layers of the denoising decoder: noised patches become clean ones, told the time and the label."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers import LayerNorm
from torch import Tensor, nn

from mmgen.models.convolutional_head import ConvolutionalHead
from mmgen.models.mae_layers import (
    GradualCrossAttention,
    attend,
    check_heads,
    gather_tokens,
    initialise,
    sincos_positions,
)
from mmgen.models.modality import Modality
from mmgen.models.spectral_prior import SpectralPrior

TOLD = 9
"""Numbers that say how a sample was changed by augmentation."""
_FREQUENCIES = 128
_BOTTLENECK = 256
_CLEAREST = 6.9  # logit of 0.999
_LEAST_NOISE = 1e-3


class Modulated(nn.Module):
    """A transformer block whose normalisation is shifted, scaled and gated by a condition (adaLN-zero, Peebles and Xie
    2023), with normalised queries and keys and a gated MLP. At first it is a plain block, its gates open: in a training
    of some thousand updates there is no time to open them.

    Args:
        dim: token width D.
        heads: attention heads; must divide ``dim``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        check_heads(dim, heads)
        hidden = 8 * math.ceil(dim / 3)  # as many parameters as an MLP of four times the width
        self.heads, self.fused_attn = heads, True
        self.table = nn.Parameter(torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 1.0])[:, None].repeat(1, dim))
        self.norm = LayerNorm(dim, affine=False)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.query_norm, self.key_norm = LayerNorm(dim // heads), LayerNorm(dim // heads)
        self.widen, self.narrow = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, N, D) and (B, 6, D), shift, scale and gate of attention and of the MLP -> (B, N, D)."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (condition + self.table).unsqueeze(2).unbind(1)
        changed = torch.addcmul(shift, self.norm(x), 1 + scale)
        q, k, v = rearrange(self.qkv(changed), "b n (s h d) -> s b h n d", s=3, h=self.heads)
        mixed = attend(self.query_norm(q), self.key_norm(k), v, self.fused_attn)
        x = torch.addcmul(x, gate, self.proj(rearrange(mixed, "b h n d -> b n (h d)")))
        one, other = self.widen(torch.addcmul(mlp_shift, self.norm(x), 1 + mlp_scale)).chunk(2, -1)
        return torch.addcmul(x, mlp_gate, self.narrow(F.silu(one) * other))


class DenoisingDecoder(nn.Module):
    """Predicts the clean patches of one modality from its visible tokens, its noised patches, the tokens of the other
    modalities, the time and the label.

    Args:
        modality: sizes.
        encoder_dim: width of encoded tokens.
        dim, depth, heads: width, layers and attention heads.
        classes: labels; one more, ``classes``, stands for no label.
        fused: whether there are other modalities to read.
        head_width: channels of the convolutions.
    """

    def __init__(
        self,
        modality: Modality,
        encoder_dim: int,
        dim: int,
        depth: int,
        heads: int,
        classes: int,
        fused: bool,
        head_width: int,
    ) -> None:
        super().__init__()
        size = modality.patch_size
        self.embed = nn.Linear(encoder_dim, dim)
        self.guessed: nn.Module = nn.Linear(size, dim)
        if size > _BOTTLENECK:  # large patches have few dimensions that matter
            self.guessed = nn.Sequential(nn.Linear(size, _BOTTLENECK, bias=False), nn.Linear(_BOTTLENECK, dim))
        self.register_buffer("positions", sincos_positions(modality, dim))
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, math.log(20), _FREQUENCIES)), persistent=False)
        self.time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(classes + 1, dim)
        self.augmentation = nn.Linear(TOLD, dim, bias=False)
        self.modulation = nn.Linear(dim, 6 * dim)
        self.blocks = nn.ModuleList(Modulated(dim, heads) for _ in range(depth))
        self.others = nn.Linear(encoder_dim, dim) if fused else None
        # Every other layer reads them: what they have to say changes slowly.
        layers = sorted({*range(1, depth, 2), depth - 1}) if fused else ()
        gates = {str(layer): layer / max(1, depth - 1) for layer in layers}
        self.fusion = nn.ModuleDict({layer: GradualCrossAttention(dim, heads, xi) for layer, xi in gates.items()})
        self.norm, self.last = LayerNorm(dim, affine=False), nn.Linear(dim, 2 * dim)
        self.apply(initialise)
        nn.init.normal_(self.label.weight, std=0.02)
        for layer in (self.modulation, self.last):
            nn.init.zeros_(layer.weight)
        self.prior, self.head = SpectralPrior(modality), ConvolutionalHead(modality, dim, head_width)
        self.register_buffer("valid", modality.valid(), persistent=False)

    def forward(
        self,
        latent: Tensor,
        noised: Tensor,
        ids_restore: Tensor,
        time: Tensor,
        label: Tensor,
        others: list[Tensor],
        augmentation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Clean patches (B, N, P) in normalised units, float32, and the deviation (B,) of what the spectrum alone gets
        wrong.

        Args:
            latent: (B, 1 + V, D_enc) class token and visible tokens.
            noised: (B, N, P); those of visible places are clean.
            ids_restore: (B, N) puts visible tokens, followed by hidden ones, back in place.
            time: (B,) 0 is noise alone, 1 the clean patch.
            label: (B,) integers.
            others: encoded tokens (B, 1 + V_k, D_enc) of the other modalities.
            augmentation: (B, TOLD) how the sample was changed; None: not.
        """
        visible = latent.shape[1] - 1
        t, is_hidden = time.float()[:, None, None], (ids_restore >= visible).float()
        # A visible patch is what its noised one would be without noise.
        seen = torch.lerp(t * noised, noised, is_hidden[..., None])
        guess, deviation = self.prior(seen * self.valid, time)
        # Tokens hold the guess and not the noise: at time 0 they are all alike, as in a masked autoencoder.
        hidden = ids_restore.argsort(dim=1)[:, visible:]
        x = torch.cat([self.embed(latent[:, 1:]), self.guessed(gather_tokens(guess, hidden)).to(latent.dtype)], 1)
        x = torch.cat([self.embed(latent[:, :1]), gather_tokens(x, ids_restore)], 1) + self.positions
        # By the logarithm of signal to noise, in which both ends of the times are as wide as the middle.
        clearness = torch.logit(time.float(), eps=1e-3) / _CLEAREST
        angles = clearness[:, None] * self.frequencies
        if augmentation is None:
            augmentation = angles.new_zeros(len(angles), TOLD)
        condition = self.time(torch.cat([angles.cos(), angles.sin()], 1)) + self.label(label)
        condition = F.silu(condition + self.augmentation(augmentation))
        modulation = self.modulation(condition).unflatten(1, (6, -1))
        memory = [self.others(other) for other in others] if self.others is not None else []
        for layer, block in enumerate(self.blocks):
            if memory and str(layer) in self.fusion:
                x = x + self.fusion[str(layer)](x, memory)
            x = block(x, modulation)
        shift, scale = self.last(condition).unsqueeze(1).chunk(2, -1)
        tokens = torch.addcmul(shift, self.norm(x[:, 1:]), 1 + scale)
        # The noise, if the guess were right: what is fine and was not guessed is to be found in it, at any time.
        noise = (noised - t * guess) / (1 - t).clamp_min(_LEAST_NOISE) * is_hidden[..., None]
        known = torch.lerp(noised, guess, is_hidden[..., None])
        added, detail = self.head(known * self.valid, noise * self.valid, is_hidden, tokens, condition)
        return guess + deviation[:, None, None] * added + 2 * t * (1 - t) * detail, deviation
