"""Shared by the phantom pictures: the canvas, smooth noise, and soft shapes."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator

from mmgen.errors import UserError

GOLDEN = 0.618034  # multiples of it, modulo 1, never come close to one another: spreads the patterns of further labels
RENDER_SIZE = 96  # smaller pictures are drawn at least this large and averaged, or their fine lines would alias


def canvas(phantom: str, label_index: int, size: int) -> tuple[Array, Array]:
    """Coordinates x and y, both (n, n) in (-1, 1), y downwards; n is the least multiple of `size` >= RENDER_SIZE.

    Raises UserError, which names the phantom as `phantom`, if label_index < 0 or size < 8.
    """
    if label_index < 0 or size < 8:
        raise UserError(f"a phantom {phantom} needs label_index >= 0 and size >= 8, not {label_index} and {size}")
    pixels = math.ceil(RENDER_SIZE / size) * size
    x, y = np.meshgrid(*[((np.arange(pixels) + 0.5) / pixels * 2 - 1).astype(np.float32)] * 2)
    return x, y


def moved(x: Array, y: Array, turn: float, left: float, up: float, zoom: float) -> tuple[Array, Array]:
    """Coordinates of a camera turned by `turn` radians and shifted by half picture widths."""
    return zoom * (x - turn * y) + left, zoom * (y + turn * x) + up


def finished(picture: Array, size: int) -> Array:
    """(n, n) or (n, n, C) in 0..1, clipped, averaged over blocks to (size, size, ...): uint8 0..255."""
    factor = len(picture) // size
    picture = picture.reshape(size, factor, size, factor, *picture.shape[2:]).mean(axis=(1, 3))
    return (255 * picture.clip(0, 1) + 0.5).astype(np.uint8)


@lru_cache(maxsize=32)
def _spread(cells: int, size: int) -> Array:
    """(size, cells): weights that draw `cells` values out to `size` pixels smoothly."""
    centre = (np.arange(size)[:, None] + 0.5) * cells / size - 0.5
    weight = np.exp(-(((centre - np.arange(cells)) / 0.6) ** 2))
    return (weight / np.sqrt((weight**2).sum(axis=1, keepdims=True))).astype(np.float32)  # keeps unit variance


def texture(rng: Generator, cells: int, size: int) -> Array:
    """(size, size) smooth noise of unit variance. The draw has `cells` values a side whatever the size is."""
    matrix = _spread(cells, size)
    return matrix @ rng.standard_normal((cells, cells), dtype=np.float32) @ matrix.T


def peak(distance: Array) -> Array:
    """1 at 0, flat-topped, near 0 beyond 1.5. Two squares, because a fourth power takes ten times as long."""
    return np.exp(-np.square(np.square(distance)))


def ellipse(x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0) -> Array:
    """Squared elliptic distance from the centre: 1 on the border."""
    dx, dy, c, s = x - centre[0], y - centre[1], math.cos(angle), math.sin(angle)
    return ((c * dx + s * dy) / radii[0]) ** 2 + ((c * dy - s * dx) / radii[1]) ** 2
