"""What of two records is compared to find which could be copies: small windows, free of brightness and contrast.

Every record is made grey, reduced to a square and normalised locally, so that neither brightness, contrast nor an
inversion (by the sign) counts. A few templates are cut out of a synthetic record, turned, mirrored or moved, and laid
on windows of the training records at several places and scales; the largest correlation counts.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_LOUDNESS = 0.3
SIDE = 64
"""Side of the square that records are compared at."""


def grey(values: Tensor) -> Tensor:
    """(N, C, H, W) in 0..255 -> (N, 1, SIDE, SIDE) float32: luma of colours."""
    values = squared(values)
    if values.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114], device=values.device).view(1, 3, 1, 1)
        values = (values * weights).sum(1, keepdim=True)
    return values


def loudness(log_mels: Tensor) -> Tensor:
    """(N, 1, bands, frames) natural logarithms of power -> 0..255, a root of the power over that of the loudest parts:
    in logarithms faint noise would change all that is quiet."""
    loudest = torch.quantile(log_mels.float().flatten(1), 0.995, dim=1).view(-1, 1, 1, 1)
    return 255 * torch.exp(_LOUDNESS * (log_mels.float() - loudest)).clamp_max(1.0)


def squared(values: Tensor, side: int = SIDE) -> Tensor:
    """(N, C, H, W) -> (N, C, side, side) float32, by the mean of the pixels where it is reduced."""
    values = values.float()
    if values.shape[-2:] == (side, side):
        return values
    if min(values.shape[-2:]) >= side:
        return F.interpolate(values, size=(side, side), mode="area")
    return F.interpolate(values, size=(side, side), mode="bilinear", align_corners=False)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """(..., H, W) under a Gaussian of so many pixels; edges go on for ever."""
    rows, columns = (_gaussian(side, sigma).to(x.device) for side in x.shape[-2:])
    return rows @ x @ columns.T


@functools.cache
def _gaussian(side: int, sigma: float) -> Tensor:
    """(side, side) matrix that blurs; as one channel is a small convolution, a product is much faster."""
    radius = math.ceil(3 * sigma)
    places = torch.arange(-radius, radius + 1)
    weights = torch.exp(-((places / sigma) ** 2) / 2)
    columns = (torch.arange(side)[:, None] + places).clamp(0, side - 1)
    return torch.zeros(side, side).scatter_add_(1, columns, (weights / weights.sum()).expand(side, -1))


def locally_normalised(x: Tensor, sigma: float, floor: float) -> Tensor:
    """(N, 1, H, W) less its local mean, by its local deviation; deviations far below ``floor`` count as none."""
    difference = x - blurred(x, sigma)
    return difference / torch.sqrt(blurred(difference**2, sigma) + floor**2)


@dataclass(frozen=True)
class Templates:
    """Templates of queries, Q of them, and windows of references, W.

    A template shows, at u in [-1, 1]^2, the place ``linear @ (cover * u) + centre`` of a query; a window the place
    ``scale * cover * u + offset`` of a reference. Places run from -1 to 1 across a record, x before y.

    Attributes:
        side: of the square that records are reduced to.
        size: of a template in its own pixels.
        cover: (x, y) share of the side that a template covers.
        sigma: of the local normalisation, in pixels of ``side``.
        linear, centre: (Q, 2, 2) and (Q, 2).
        scale, offset: (W, 2) each.
    """

    side: int
    size: int
    cover: tuple[float, float]
    sigma: float
    linear: Tensor
    centre: Tensor
    scale: Tensor
    offset: Tensor

    def of_queries(self, records: Tensor) -> Tensor:
        """Unit vectors (N, Q, size^2) of grey records (N, 1, SIDE, SIDE)."""
        return self._cut(records, self.linear * torch.tensor(self.cover), self.centre)

    def of_references(self, records: Tensor) -> Tensor:
        """Unit vectors (N, W, size^2)."""
        return self._cut(records, torch.diag_embed(self.scale * torch.tensor(self.cover)), self.offset)

    def transforms(self, templates: Tensor, windows: Tensor) -> Tensor:
        """(..., 2, 3) affine maps from places in a query to places in a reference, for numbers (...) of both."""
        linear = torch.diag_embed(self.scale) @ torch.linalg.inv(self.linear)[:, None]  # (Q, W, 2, 2)
        moved = self.offset - (linear @ self.centre[:, None, :, None])[..., 0]
        return torch.cat([linear, moved[..., None]], -1).to(templates.device)[templates, windows]

    def _cut(self, records: Tensor, linear: Tensor, centre: Tensor) -> Tensor:
        base = locally_normalised(squared(records, self.side), self.sigma, FLOOR)
        maps = torch.cat([linear, centre[..., None]], -1).to(records.device)
        grids = F.affine_grid(maps, [len(maps), 1, self.size, self.size], align_corners=False)
        cut = [
            F.grid_sample(base, grid.expand(len(base), -1, -1, -1), padding_mode="border", align_corners=False)
            for grid in grids[:, None]
        ]
        flat = torch.stack(cut, 1).flatten(2)
        flat = flat - flat.mean(-1, keepdim=True)
        return flat / flat.norm(dim=-1, keepdim=True).clamp_min(1e-6)


FLOOR = 4.0  # grey levels of 255


@dataclass(frozen=True)
class Form:
    """How records of a kind are compared.

    Attributes:
        coarse, fine: templates by which candidates are found, and by which they are aligned roughly.
        cover: (x, y) share of a synthetic record that is compared once it is aligned.
        overlap: least part of it that must lie on the training record.
    """

    coarse: Templates
    fine: Templates
    cover: tuple[float, float]
    overlap: float


def picture_form() -> Form:
    """Pictures: turned by quarters and mirrored, a little turned, shifted and scaled either way."""

    def templates(side: int, size: int, cover: float, sigma: float, angles: tuple, scales: tuple, places: tuple):
        linear = [
            [[mirror * math.cos(a), -math.sin(a)], [mirror * math.sin(a), math.cos(a)]]
            for mirror in (1, -1)
            for quarter in range(4)
            for a in (math.radians(90 * quarter + angle) for angle in angles)
        ]
        windows = [(scale, (x, y)) for scale in scales for x in places for y in places]
        return Templates(
            side,
            size,
            (cover, cover),
            sigma,
            torch.tensor(linear),
            torch.zeros(len(linear), 2),
            torch.tensor([[scale, scale] for scale, _ in windows]),
            torch.tensor([place for _, place in windows]),
        )

    coarse = templates(16, 8, 0.75, 2.0, (0,), (1.0, 0.8, 1.25), (-0.15, 0.0, 0.15))
    fine = templates(32, 12, 0.72, 3.0, (0, 12, -12), (1.0, 0.8, 1.2), (-0.2, -0.1, 0.0, 0.1, 0.2))
    return Form(coarse, fine, cover=(0.8, 0.8), overlap=0.6)


def sound_form() -> Form:
    """Log-mels, time along x: moved in time by up to half a record, reversed, a little moved in frequency."""

    def templates(side: int, size: int, sigma: float, steps: int, bands: tuple[float, ...]) -> Templates:
        queries = [(direction, place) for direction in (1.0, -1.0) for place in (-0.5, 0.0, 0.5)]
        places = torch.linspace(-0.55, 0.55, steps).tolist()
        windows = [(x, y) for x in places for y in bands]
        return Templates(
            side,
            size,
            (0.45, 0.9),
            sigma,
            torch.tensor([[[direction, 0.0], [0.0, 1.0]] for direction, _ in queries]),
            torch.tensor([[place, 0.0] for _, place in queries]),
            torch.ones(len(windows), 2),
            torch.tensor(windows),
        )

    coarse, fine = templates(16, 8, 2.0, 9, (0.0,)), templates(32, 12, 3.0, 23, (-0.07, 0.0, 0.07))
    return Form(coarse, fine, cover=(0.95, 0.9), overlap=0.4)
