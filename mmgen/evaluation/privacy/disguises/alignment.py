"""Two records laid on each other as exactly as an affine map can, and how much alike they then are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.evaluation.privacy.disguises.forms import Form
from mmgen.evaluation.privacy.disguises.pixels import FLOOR, grey, locally_normalised, squared

# Local normalisations under which likeness is measured: side, sigma in its pixels, floor in grey levels.
_BANDS = ((64, 4.0, FLOOR), (64, 4.0, 3 * FLOOR), (32, 3.0, 2 * FLOOR), (16, 3.0, 2 * FLOOR))
_PLAIN_SIDES = (64, 16)
_CELLS = 8  # a side is cut into, for records of which a part is alike
# Sides, sigmas, steps and step lengths of the alignment, from coarse to fine.
_STAGES = ((32, 2.5, 16, 0.02), (64, 4.0, 8, 0.006))


def warped(records: Tensor, transforms: Tensor) -> tuple[Tensor, Tensor]:
    """Records (B, C, S, S) seen through affine maps (B, 2, 3), and a mask (B, 1, S, S) of where there is something."""
    # As affine_grid does, but several times faster.
    height, width = ((2 * torch.arange(n, device=records.device) + 1) / n - 1 for n in records.shape[2:])
    x, y = (
        row[:, 0, None, None] * width + row[:, 1, None, None] * height[:, None] + row[:, 2, None, None]
        for row in transforms.unbind(1)
    )
    inside = ((x.abs() <= 1) & (y.abs() <= 1))[:, None].float()
    return F.grid_sample(records, torch.stack([x, y], -1), padding_mode="border", align_corners=False), inside


def correlation(one: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """(B,) correlation of (B, C, H, W) where a mask (B, 1, H, W) is 1, each channel about its own mean."""
    weight = mask.sum((2, 3), keepdim=True).clamp_min(1)
    one, other = ((x - (x * mask).sum((2, 3), keepdim=True) / weight) * mask for x in (one, other))
    norms = (one**2).sum((1, 2, 3)) * (other**2).sum((1, 2, 3))
    return (one * other).sum((1, 2, 3)) / torch.sqrt(norms + 1e-6)


def aligned(queries: Tensor, references: Tensor, transforms: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """Affine maps (B, 2, 3), improved from ``transforms``, and the signed correlation (B,) of the grey records under
    them, 0 where too little overlaps.

    Args:
        queries: (N, 1, SIDE, SIDE), each for B / N pairs, one after the other.
        references: (B, 1, SIDE, SIDE).
    """
    each = len(references) // len(queries)
    for side, sigma, steps, length in _STAGES:
        q, r = (locally_normalised(squared(x, side), sigma, 2 * FLOOR) for x in (queries, references))
        rows, columns = _middle(side, form.cover)
        template = q[..., rows, columns].repeat_interleave(each, 0)
        current = transforms.clone().requires_grad_()
        optimiser = torch.optim.Adam([current], length)
        best, found = torch.full((len(current),), -1.0, device=q.device), torch.zeros(len(current), device=q.device)
        for step in range(steps + 1):
            moved, inside = warped(r, current)
            moved, inside = moved[..., rows, columns], inside[..., rows, columns]
            signed = correlation(template, moved, inside) * (inside.mean((1, 2, 3)) >= form.overlap)
            with torch.no_grad():
                better = signed.abs() > best
                best, found = torch.where(better, signed.abs(), best), torch.where(better, signed, found)
                transforms = torch.where(better[:, None, None], current, transforms)
            if step < steps:
                optimiser.zero_grad()
                (-signed.abs().sum()).backward()
                optimiser.step()
    return transforms.detach(), found.detach()


def likeness(queries: Tensor, references: Tensor, transforms: Tensor, form: Form) -> Tensor:
    """How much records in 0..255 are alike under affine maps: features (B, F), larger is more alike.

    Queries are (N, C, SIDE, SIDE), each for B / N pairs, references (B, C, SIDE, SIDE).

    Correlations under several local normalisations, of the whole, of its middle, and of the parts that are most alike;
    then of the plain values, and minus the logarithm of their distance. Correlations are made normal by atanh.
    """
    one, other = grey(queries), grey(references)
    features, each = [], len(references) // len(queries)
    for side, sigma, floor in _BANDS:
        q, r = (locally_normalised(squared(x, side), sigma, floor) for x in (one, other))
        q = q.repeat_interleave(each, 0)
        r, inside = warped(r, transforms)
        for cover in (form.cover, (0.75 * form.cover[0], 0.75 * form.cover[1])):
            rows, columns = _middle(side, cover)
            features.append(correlation(*(x[..., rows, columns] for x in (q, r, inside))).abs())
        products = [
            F.avg_pool2d(x, side // _CELLS).flatten(1) for x in (q * r * inside, q * q * inside, r * r * inside)
        ]
        sign = torch.sign(products[0].sum(1, keepdim=True))
        cells = (sign * products[0] / torch.sqrt(products[1] * products[2] + 0.01)).sort(1, descending=True).values
        features += [cells[:, : int(share * _CELLS**2)].mean(1) for share in (0.6, 0.3)]
    features = [_normal(feature) for feature in features]
    for side in _PLAIN_SIDES:
        q = squared(queries, side).repeat_interleave(each, 0)
        r, inside = warped(squared(references, side), transforms)
        rows, columns = _middle(side, form.cover)
        q, r, inside = (x[..., rows, columns] for x in (q, r, inside))
        features.append(_normal(correlation(q, r, inside).abs()))
        squares = ((q - r) ** 2 * inside).sum((1, 2, 3)) / (inside.sum((1, 2, 3)) * q.shape[1]).clamp_min(1)
        features.append(-torch.log(squares.sqrt() + 1))
    return torch.stack(features, 1)


def _normal(correlations: Tensor) -> Tensor:
    return torch.atanh(correlations.clamp(-0.9995, 0.9995))


def _middle(side: int, cover: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of the middle of a square that covers a share (x, y) of it."""
    edges = [round(side * (1 - share) / 2) for share in (cover[1], cover[0])]
    return slice(edges[0], side - edges[0]), slice(edges[1], side - edges[1])
