"""By which templates pictures and sounds are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from mmgen.evaluation.privacy.disguises.templates import Templates


@dataclass(frozen=True)
class Form:
    """How records of a kind are compared.

    Attributes:
        coarse, fine: templates by which candidates are found among all, and by which these are aligned roughly; free
            of brightness and contrast.
        views: templates at fixed places; each finds a candidate of its own, and how much more a record is like one
            training record than like those of other people says most about copies that stayed in their place.
        cover: (x, y) share of a synthetic record that is compared once it is aligned.
        overlap: least part of it that must lie on the training record.
    """

    coarse: Templates
    fine: Templates
    views: tuple[Templates, ...]
    cover: tuple[float, float]
    overlap: float

    @property
    def whole_views(self) -> tuple[Templates, ...]:
        """Views that compare two records at one place each."""
        return tuple(view for view in self.views if len(view.offset) == 1)


def picture_form() -> Form:
    """Pictures: turned by quarters and mirrored, a little turned, shifted and scaled either way."""
    around = _turns((0,))
    centres = torch.zeros(len(around), 2)
    steps = torch.tensor(list(product((-0.5, -0.25, 0.0, 0.25, 0.5), repeat=2)))
    quarters = torch.tensor(list(product((-0.5, 0.5), repeat=2)))
    straight = torch.eye(2).expand(4, 2, 2)
    views = (
        Templates(32, 32, (1.0, 1.0), around, centres, sigma=3.0, whitening=0.3),
        Templates(32, 24, (0.75, 0.75), around, centres, whitening=10.0),
        Templates(16, 16, (1.0, 1.0), around, centres, by_distance=True),
        Templates(32, 14, (0.45, 0.45), straight, quarters, torch.ones(25, 2), steps, sigma=3.0, whitening=0.3),
    )
    coarse = _moved(16, 8, 0.75, 2.0, (0,), (1.0, 0.8, 1.25), (-0.15, 0.0, 0.15))
    fine = _moved(32, 12, 0.72, 3.0, (0, 12, -12), (1.0, 0.8, 1.2), (-0.2, -0.1, 0.0, 0.1, 0.2))
    return Form(coarse, fine, views, cover=(0.8, 0.8), overlap=0.6)


def sound_form() -> Form:
    """Log-mels, time along x: moved in time by up to half a record, reversed, a little moved in frequency."""
    semitone = 0.037  # in the upper half of the bands
    views = (
        _whole(32, (-semitone, 0.0, semitone), sigma=3.0, whitening=0.3),
        _whole(16, (0.0,), by_distance=True),
        _delayed(32, 14, None, 23, (0.0,), whitening=10.0),
    )
    coarse, fine = _delayed(16, 8, 2.0, 9, (0.0,)), _delayed(32, 12, 3.0, 23, (-0.07, 0.0, 0.07))
    return Form(coarse, fine, views, cover=(0.95, 0.9), overlap=0.4)


def _turns(angles: tuple[float, ...]) -> Tensor:
    """(8 A, 2, 2): the eight ways to lay a square on itself, each turned by so many degrees."""
    radians = [math.radians(90 * quarter + angle) for quarter in range(4) for angle in angles]
    return torch.tensor(
        [
            [[mirror * math.cos(a), -math.sin(a)], [mirror * math.sin(a), math.cos(a)]]
            for mirror in (1, -1)
            for a in radians
        ]
    )


def _moved(side: int, size: int, cover: float, sigma: float, angles: tuple, scales: tuple, places: tuple) -> Templates:
    linear, windows = _turns(angles), list(product(scales, places, places))
    scale = torch.tensor([[scale, scale] for scale, _, _ in windows])
    offset = torch.tensor([[x, y] for _, x, y in windows])
    return Templates(side, size, (cover, cover), linear, torch.zeros(len(linear), 2), scale, offset, sigma)


def _whole(side: int, bands: tuple[float, ...], **how: Any) -> Templates:
    queries = list(product((1.0, -1.0), bands))
    linear = torch.tensor([[[direction, 0.0], [0.0, 1.0]] for direction, _ in queries])
    return Templates(side, side, (1.0, 1.0), linear, torch.tensor([[0.0, band] for _, band in queries]), **how)


def _delayed(
    side: int, size: int, sigma: float | None, steps: int, bands: tuple[float, ...], whitening: float | None = None
) -> Templates:
    queries = [(direction, place) for direction in (1.0, -1.0) for place in (-0.5, 0.0, 0.5)]
    linear = torch.tensor([[[direction, 0.0], [0.0, 1.0]] for direction, _ in queries])
    centre = torch.tensor([[place, 0.0] for _, place in queries])
    offset = torch.tensor(list(product(torch.linspace(-0.55, 0.55, steps).tolist(), bands)))
    scale = torch.ones(len(offset), 2)
    return Templates(side, size, (0.45, 0.9), linear, centre, scale, offset, sigma, whitening)
