"""The convolutions of a denoising decoder: from tokens and what the noise leaves visible to clean patches."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmgen.models.modality import Modality

_CELLS = (4, 2, 1)
_FINE, _COARSE = 3, 4  # blocks
_BLURS = (3, 7)  # sides of the boxes that part fine from coarser detail
_LEAST_ENERGY = 1e-6


class ConvolutionalHead(nn.Module):
    """A U-Net of two levels over whole samples, whose lower level also reads the tokens of a transformer.

    A patch that is predicted by one matrix product from one token has seams and little detail. What noise leaves of
    detail can be seen in the noised sample itself, near by, and convolutions learn to see it from a few hundred
    samples, which a transformer does not.

    To tell detail from noise is to compare how much happens at a place with what noise alone would do, and to let pass
    or not. Sums are slow to learn such products, so both are built in: the inputs hold the local energy of two bands
    of detail, and the outputs gates for those bands of the noise.

    The upper level has four cells a token along each side, the lower one two; fewer where the patch is not divisible.

    Args:
        modality: sizes.
        dim: width D of tokens and condition.
        width: channels of the upper level; the lower one has twice as many.
    """

    def __init__(self, modality: Modality, dim: int, width: int) -> None:
        super().__init__()
        self.modality = modality
        self.cells = tuple(next(cells for cells in _CELLS if side % cells == 0) for side in modality.patch)
        self.stride = tuple(2 if cells > 1 else 1 for cells in self.cells)
        channels, bands = modality.patch_size // math.prod(self.cells), len(_BLURS)
        self.first = nn.Conv2d(2 * channels + 2 * bands * modality.shape[0] + 1, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, padding=1, stride=self.stride)
        self.tokens = nn.Linear(dim, 2 * width * math.prod(self.cells) // math.prod(self.stride))
        self.up = nn.Conv2d(2 * width, width * math.prod(self.stride), 1)
        self.fine = nn.ModuleList(ModulatedConvolution(width, dim) for _ in range(_FINE))
        self.coarse = nn.ModuleList(ModulatedConvolution(2 * width, dim) for _ in range(_COARSE))
        self.last = nn.Conv2d(width, (1 + bands) * channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self, known: Tensor, noise: Tensor, hidden: Tensor, tokens: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What to add to a guess at clean patches, (B, N, P) float32 each: in units of what is wrong with it, and in
        units of the noise, that part of it which is detail.

        Args:
            known: (B, N, P) patches: visible ones, and by the spectrum alone where hidden.
            noise: (B, N, P) what the noised patches hold beside those, in deviations of the noise.
            hidden: (B, N), 1 where hidden.
            tokens: (B, N, D) of the transformer.
            condition: (B, D) of time, label and augmentation.
        """
        spread = hidden[..., None].expand(-1, -1, self.modality.patch_size)
        bands = [_bands(self.modality.picture(patches.float())) for patches in (known, noise)]
        energies = [self._energy(band) for of_one in bands for band in of_one]
        x = torch.cat([self._planes(known), self._planes(noise), *energies, self._planes(spread)[:, :1]], 1)
        x = self.first(x.contiguous(memory_format=torch.channels_last))  # on CPUs 1.6 times as fast in bf16
        x = self.fine[0](x, condition)
        (gh, gw), (h, w), (p, q) = self.modality.grid, self.cells, self.stride
        form = "b (gh gw) (h w c) -> b c (gh h) (gw w)"
        below = self.down(x) + rearrange(self.tokens(tokens), form, gh=gh, gw=gw, h=h // p, w=w // q)
        for block in self.coarse:
            below = block(below, condition)
        x = x + rearrange(self.up(below), "b (p q c) h w -> b c (h p) (w q)", p=p, q=q)
        for block in self.fine[1:]:
            x = block(x, condition)
        parts = self.last(F.silu(_normalised(x))).chunk(1 + len(_BLURS), 1)
        added, *gates = (self._patches(part).float() for part in parts)
        passed = [gate * self.modality.cut(band) for gate, band in zip(gates, bands[1], strict=True)]
        return added, torch.stack(passed).sum(0)

    def _energy(self, band: Tensor) -> Tensor:
        """Logarithm of the mean square around every cell, (B, C, H', W') -> (B, C, cells, cells)."""
        height, width = (side // cells for side, cells in zip(self.modality.patch, self.cells, strict=True))
        return (_blurred(F.avg_pool2d(band.square(), (height, width)), 3) + _LEAST_ENERGY).log() / 4

    def _planes(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, ..., cells, cells): what lies in one cell becomes channels."""
        (gh, gw), (h, w), (height, width) = self.modality.grid, self.cells, self.modality.patch
        form = "b (gh gw) (c h p w q) -> b (c p q) (gh h) (gw w)"
        return rearrange(patches, form, gh=gh, gw=gw, h=h, w=w, p=height // h, q=width // w)

    def _patches(self, planes: Tensor) -> Tensor:
        """The inverse of :meth:`_planes`."""
        (h, w), (height, width) = self.cells, self.modality.patch
        form = "b (c p q) (gh h) (gw w) -> b (gh gw) (c h p w q)"
        return rearrange(planes, form, h=h, w=w, p=height // h, q=width // w)


class ModulatedConvolution(nn.Module):
    """A residual convolution of (B, C, H, W) whose normalised input is scaled and shifted by a condition.

    Args:
        width: channels.
        dim: width of the condition.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(dim, 2 * width)
        self.convolution = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W) and (B, D) -> (B, C, H, W)."""
        scale, shift = self.modulation(condition)[..., None, None].chunk(2, 1)
        return x + self.convolution(F.silu(torch.addcmul(shift, _normalised(x), 1 + scale)))


def _normalised(x: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over the channels of every place; those lie next to each other in memory."""
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)


def _bands(x: Tensor) -> list[Tensor]:
    """What each of the blurs takes away from (B, C, H, W)."""
    blurred = [x, *(_blurred(x, side) for side in _BLURS)]
    return [finer - coarser for finer, coarser in pairwise(blurred)]


def _blurred(x: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)
