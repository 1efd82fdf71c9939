"""Differentiable siamese augmentation (DSA): one random change, made alike to a real and to a synthetic batch.

    parameters = draw("lesion", generator)
    real, synthetic = augment(real, parameters), augment(synthetic, parameters)

What may change belongs to the kind of picture: a mirrored chest is another patient, a turned spectrogram is no sound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mmgen.errors import UserError
from mmgen.names import AugmentationName


@dataclass(frozen=True)
class Strategy:
    """The largest change that each operation makes; what is 0 is left alone.

    Attributes:
        brightness: added, either way, in units of the input.
        saturation, contrast: distance from grey, and from the picture's mean, is multiplied by 1 plus or minus this.
        shift: (down, right), either way, as shares of the sides.
        cutouts: (height, width) of the rectangle that is hidden, as shares of the sides; one of these is drawn.
        flips: whether pictures may be turned upside down, and mirrored left to right.
        scale: either side is multiplied by 1 / (1 + scale) to 1 + scale.
        rotation: degrees, either way.
    """

    brightness: float = 0.0
    saturation: float = 0.0
    contrast: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    cutouts: tuple[tuple[float, float], ...] = ()
    flips: tuple[bool, bool] = (False, False)
    scale: float = 0.0
    rotation: float = 0.0


_HALF = ((0.5, 0.5),)

# "lesion" has DSA's published ranges, and both flips: dermoscopy has no up or down. A patient who is X-rayed or lies in
# a scanner is turned a little and never mirrored. In log-mels added brightness is gain, a shift is one in time, and
# what is hidden is a stretch of time or a band of frequencies.
STRATEGIES: dict[AugmentationName, Strategy] = {
    "none": Strategy(),
    "lesion": Strategy(0.5, 1.0, 0.5, (0.125, 0.125), _HALF, (True, True), 0.2, 15.0),
    "radiograph": Strategy(0.5, 0.0, 0.5, (0.125, 0.125), _HALF, scale=0.2, rotation=5.0),
    "spectrogram": Strategy(0.3, shift=(0.0, 0.25), cutouts=((1.0, 0.2), (0.2, 1.0))),
}
_OPERATIONS = ("colour", "shift", "cutout", "flip", "scale", "rotation")


@dataclass(frozen=True)
class Parameters:
    """The changes that :func:`draw` has decided, for each sample of a batch (P = B) or one for all (P = 1); on the CPU.

    Attributes:
        brightness, saturation, contrast: (P,), see :class:`Strategy`.
        matrix: (P, 2, 2), from (x, y) in pixels from the centre of the result to those of the input.
        shift: (P, 2), (down, right) as shares of the sides.
        hole: (P, 4), centre (y, x) and size (height, width) of what is hidden, as shares of the sides.
    """

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    matrix: Tensor
    shift: Tensor
    hole: Tensor

    def part(self, which: slice) -> Parameters:
        """Those of some samples."""
        return Parameters(*(getattr(self, own.name)[which] for own in fields(self)))


def draw(
    name: AugmentationName,
    generator: Generator,
    count: int = 1,
    strength: float | Tensor = 1.0,
    compose: bool = False,
    hide: bool = True,
) -> Parameters:
    """Random changes.

    Args:
        name: strategy, by kind of picture.
        generator: on the CPU; as much is drawn from it whatever the strategy is.
        count: 1 for one change of a whole batch, as in DSA, or one for each of B samples.
        strength: 0 to 1, multiplies every range; 0 changes nothing. One for all, or (count,).
        compose: make all changes of the strategy; otherwise one of them, by chance, as in DSA.
        hide: also hide parts, where the strategy does.

    Raises:
        UserError: unknown name.
    """
    if name not in get_args(AugmentationName):
        raise UserError(f"Unknown augmentation {name!r}; there are {get_args(AugmentationName)}.")
    strategy, share = STRATEGIES[name], torch.rand(count, 14, generator=generator)
    if compose:
        chosen = torch.ones(count, len(_OPERATIONS), dtype=torch.bool)
    else:  # one true in a row, among the operations that the strategy has
        colour = strategy.brightness or strategy.saturation or strategy.contrast
        has = (colour, any(strategy.shift), strategy.cutouts, any(strategy.flips), strategy.scale, strategy.rotation)
        possible = torch.tensor([i for i, one in enumerate(has) if one] or [0])
        chosen = F.one_hot(possible[(share[:, 0] * len(possible)).long()], len(_OPERATIONS)).bool()
    on = dict(zip(_OPERATIONS, (chosen.T * strength).float().unbind(0), strict=True))  # 0, or the strength
    either = 2 * share - 1  # -1 to 1
    sizes = torch.tensor((hide and strategy.cutouts) or ((0.0, 0.0),))
    size = sizes[(share[:, 11] * len(sizes)).long()]
    # A band that spans a side stays in the middle of it; any other hole may hang over the border.
    centre = torch.where(size < 1, share[:, 12:14], 0.5)
    return Parameters(
        brightness=on["colour"] * strategy.brightness * either[:, 1],
        saturation=1 + on["colour"] * strategy.saturation * either[:, 2],
        contrast=1 + on["colour"] * strategy.contrast * either[:, 3],
        matrix=_matrix(strategy, on, share, either),
        shift=on["shift"][:, None] * torch.tensor(strategy.shift) * either[:, 4:6],
        hole=torch.cat([centre, size * on["cutout"][:, None]], 1),
    )


def _matrix(strategy: Strategy, on: dict[str, Tensor], share: Tensor, either: Tensor) -> Tensor:
    limit = 1 + on["scale"][:, None] * strategy.scale
    sides = 1 / limit + (limit - 1 / limit) * share[:, 6:8]
    # The chance of a flip is half the strength.
    flipped = (share[:, 8:10] < 0.5 * on["flip"][:, None]) & torch.tensor(strategy.flips[::-1])
    factors = torch.where(flipped, -1.0, 1.0) / sides
    angle = on["rotation"] * math.radians(strategy.rotation) * either[:, 10]
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1) * factors[:, :, None]


def told(parameters: Parameters) -> Tensor:
    """(P, 9) numbers of about one or less that say what was changed, for a network that has to know; zeros: nothing.
    What is hidden is not told."""
    p = parameters
    turned = (p.matrix - torch.eye(2)).flatten(1)
    colours = torch.stack([p.brightness, p.saturation - 1, p.contrast - 1], 1)
    return 5 * torch.cat([colours, turned, p.shift], 1)


def augment(x: Tensor, parameters: Parameters, outside: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Change (B, C, H, W) of normalised input, differentiably; same shape and dtype. What nothing happens to is
    returned as it is.

    Zero, the mean of normalised input, replaces what is hidden, and comes in from outside unless the border is
    continued.
    """
    p, dtype, (height, width) = parameters, x.dtype, x.shape[-2:]
    x = x.float()
    if (p.brightness != 0).any():
        x = x + p.brightness.to(x.device)[:, None, None, None]
    for factor, dims in ((p.saturation, (1,)), (p.contrast, (1, 2, 3))):
        if (factor != 1).any():
            mean = x.mean(dims, keepdim=True)
            x = mean + (x - mean) * factor.to(x.device)[:, None, None, None]
    if p.shift.any() or not torch.equal(p.matrix, torch.eye(2).expand_as(p.matrix)):
        # Scale, rotate, flip and shift in one sampling; by whole pixels, so that a shift alone does not blur.
        sides = torch.tensor([width, height])
        offset = -(p.shift.flip(1) * sides).round() * 2 / sides
        # From pixels to the coordinates of affine_grid, in which either side is 2 long.
        matrix = p.matrix * sides / sides[:, None]
        theta = torch.cat([matrix, offset[:, :, None]], 2).to(x.device).expand(len(x), 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, mode="bilinear", padding_mode=outside, align_corners=False)
    if p.hole[:, 2:].any():
        hidden = []
        for axis, side in enumerate((height, width)):
            distance = (torch.arange(side) + 0.5) / side - p.hole[:, axis : axis + 1]
            hidden.append(distance.abs() < p.hole[:, axis + 2 : axis + 3] / 2)  # (P, side)
        seen = ~(hidden[0][:, None, :, None] & hidden[1][:, None, None, :])
        x = x * seen.to(x.device, x.dtype)
    return x.to(dtype)
