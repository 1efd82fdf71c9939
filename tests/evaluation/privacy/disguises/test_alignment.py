from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from structures import smooth

from mmgen.evaluation.privacy.disguises.alignment import aligned, likeness, warped
from mmgen.evaluation.privacy.disguises.forms import picture_form, sound_form
from mmgen.evaluation.privacy.disguises.pixels import SIDE


def turn(degrees: float, scale: float, x: float, y: float) -> torch.Tensor:
    a = math.radians(degrees)
    return torch.tensor([[scale * math.cos(a), -scale * math.sin(a), x], [scale * math.sin(a), scale * math.cos(a), y]])


def test_warping_is_that_of_affine_grid() -> None:
    records, maps = smooth(3), torch.stack([turn(10, 0.8, 0.1, -0.2), turn(0, 1, 0, 0), turn(90, 1.3, 0, 0)])
    grid = F.affine_grid(maps, [3, 1, SIDE, SIDE], align_corners=False)
    expected = F.grid_sample(records, grid, padding_mode="border", align_corners=False)
    moved, inside = warped(records, maps)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-2)
    assert torch.equal(inside[:, 0] > 0, (grid.abs() <= 1).all(-1)) and inside[1].all()


@pytest.mark.parametrize("inverted", [False, True])
def test_a_map_is_found_from_near_it(inverted: bool) -> None:
    references = smooth(4, seed=1)
    maps = torch.stack([turn(5, 0.9, 0.06, -0.05), turn(-6, 1.05, 0, 0.05), turn(0, 0.85, -0.1, 0), turn(3, 1, 0, 0)])
    queries = warped(references, maps)[0]
    queries = 255 - queries if inverted else queries
    near = maps + 0.02 * torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    found, signed = aligned(queries, references, near, picture_form())
    assert (signed < -0.95).all() if inverted else (signed > 0.95).all()
    assert (found - maps).abs().max() < 0.02 < (near - maps).abs().max()


def test_likeness_of_a_copy_is_above_that_of_others_in_every_feature() -> None:
    references, same = smooth(6, seed=2), torch.eye(2, 3).expand(6, -1, -1)
    for form in (picture_form(), sound_form()):
        copies = likeness(references + 3 * torch.randn(references.shape), references, same, form)
        others = likeness(references.roll(1, 0), references, same, form)
        assert (copies > others).all()
