"""Windows of records that are laid on each other to find which records could be copies of which.

A few templates are cut out of a synthetic record, turned, mirrored or moved, and laid on windows of the training
records at several places and scales; the most alike pair counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.evaluation.privacy.disguises.pixels import FLOOR, grey, locally_normalised, squared

_ONE_PLACE = torch.zeros(1, 2)
_ONE_SCALE = torch.ones(1, 2)


@dataclass(frozen=True)
class Templates:
    """Templates of queries, Q of them, and windows of references, W, and how they are compared.

    A template shows, at u in [-1, 1]^2, the place ``linear @ (cover * u) + centre`` of a query; a window the place
    ``scale * cover * u + offset`` of a reference. Places run from -1 to 1 across a record, x before y.

    Attributes:
        side: of the square that records are reduced to.
        size: of a template in its own pixels.
        cover: (x, y) share of the side that a template covers.
        linear, centre: (Q, 2, 2) and (Q, 2).
        scale, offset: (W, 2) each.
        sigma: of the local normalisation, in pixels of ``side``; None: there is none.
        whitening: what all records have in common counts less: principal components of the windows are divided by
            their deviation, of which less than this, in units of the values, counts as this. None: not at all.
        by_distance: compared by the distance of colours and not by the correlation, without its sign, of grey values.
    """

    side: int
    size: int
    cover: tuple[float, float]
    linear: Tensor
    centre: Tensor
    scale: Tensor = field(default_factory=_ONE_SCALE.clone)
    offset: Tensor = field(default_factory=_ONE_PLACE.clone)
    sigma: float | None = None
    whitening: float | None = None
    by_distance: bool = False

    def of_queries(self, records: Tensor) -> Tensor:
        """(N, Q, D) of records (N, C, SIDE, SIDE)."""
        return self._cut(records, self.linear * torch.tensor(self.cover), self.centre)

    def of_references(self, records: Tensor) -> Tensor:
        """(N, W, D)."""
        return self._cut(records, torch.diag_embed(self.scale * torch.tensor(self.cover)), self.offset)

    def transforms(self, templates: Tensor, windows: Tensor) -> Tensor:
        """(..., 2, 3) affine maps from places in a query to places in a reference, for numbers (...) of both."""
        linear = torch.diag_embed(self.scale) @ torch.linalg.inv(self.linear)[:, None]  # (Q, W, 2, 2)
        moved = self.offset - (linear @ self.centre[:, None, :, None])[..., 0]
        return torch.cat([linear, moved[..., None]], -1).to(templates.device)[templates, windows]

    def _cut(self, records: Tensor, linear: Tensor, centre: Tensor) -> Tensor:
        base = squared(records if self.by_distance else grey(records), self.side)
        if self.sigma is not None:
            base = locally_normalised(base, self.sigma, FLOOR)
        maps = torch.cat([linear, centre[..., None]], -1).to(records.device)
        grids = F.affine_grid(maps, [len(maps), 1, self.size, self.size], align_corners=False)
        cut = [
            F.grid_sample(base, grid.expand(len(base), -1, -1, -1), padding_mode="border", align_corners=False)
            for grid in grids[:, None]
        ]
        return torch.stack(cut, 1).flatten(2)
