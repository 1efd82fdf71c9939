"""Records as they are compared: as squares of grey levels, and locally normalised."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.data.samples import Sliceable
from mmgen.evaluation.fidelity.features import unit_range
from mmgen.models.modality import Modality

FLOOR = 4.0  # grey levels of 255
_LOUDNESS = 0.3
_RANGE = 6.0  # natural logarithms of power, between silence and the least that counts as loud
SIDE = 64
"""Side of the square that records are compared at."""


def in_parts(
    records: Sliceable, modality: Modality, is_picture: bool, size: int, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """Raw records (N, C, H, W) as they are compared, in 0..255 (n, C, SIDE, SIDE), at most ``size`` at a time."""
    for start in range(0, records.shape[0], size):
        part = torch.from_numpy(np.ascontiguousarray(records[start : start + size])).to(device)
        yield squared(255 * unit_range(modality, part) if is_picture else loudness(part))


def grey(values: Tensor) -> Tensor:
    """(N, C, H, W) in 0..255 -> (N, 1, SIDE, SIDE) float32: luma of colours."""
    values = squared(values)
    if values.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114], device=values.device).view(1, 3, 1, 1)
        values = (values * weights).sum(1, keepdim=True)
    return values


def loudness(log_mels: Tensor) -> Tensor:
    """(N, 1, bands, frames) natural logarithms of power -> 0..255, a root of the power over that of the loudest parts:
    in logarithms faint noise would change all that is quiet. What is nearly silent stays so."""
    flat = log_mels.float().flatten(1)
    loudest = torch.maximum(torch.quantile(flat, 0.995, dim=1), flat.amin(1) + _RANGE)
    return 255 * torch.exp(_LOUDNESS * (log_mels.float() - loudest.view(-1, 1, 1, 1))).clamp_max(1.0)


def squared(values: Tensor, side: int = SIDE) -> Tensor:
    """(N, C, H, W) -> (N, C, side, side) float32, by the mean of the pixels where it is reduced."""
    values = values.float()
    if values.shape[-2:] == (side, side):
        return values
    values = F.adaptive_avg_pool2d(values, [min(side, length) for length in values.shape[-2:]])
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
