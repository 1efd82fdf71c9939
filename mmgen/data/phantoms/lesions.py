"""Phantom dermoscopic pictures: every subject has an own skin and camera, the label is how the lesion is built.

Skin and lesion are layers of pigment that take light by the law of Beer and Lambert, with the colours of melanin and
blood; what scatters (scars, keratin, the blue veil of deep pigment) is mixed in as a colour.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator
from scipy.special import expit

from mmgen.data.phantoms.drawing import GOLDEN, canvas, finished, moved, peak, texture

LESIONS = ("nevus", "melanoma", "keratosis", "vascular")
MELANIN = np.array([0.62, 1.08, 1.55], dtype=np.float32)  # optical density of one unit in red, green, blue
BLOOD = np.array([0.20, 1.15, 0.95], dtype=np.float32)
MILK = np.array([0.93, 0.80, 0.76], dtype=np.float32)  # colours of what scatters
VEIL = np.array([0.42, 0.48, 0.60], dtype=np.float32)
KERATIN = np.array([0.93, 0.82, 0.58], dtype=np.float32)


class Skin:
    """A random subject's skin under a random dermatoscope; lengths in half picture widths."""

    def __init__(self, rng: Generator) -> None:
        self.melanin = 0.08 + 0.45 * rng.beta(1.2, 3.0)  # light skin is the most frequent in such collections
        self.blood = rng.uniform(0.08, 0.34)
        self.mottling = rng.uniform(0.01, 0.04)
        self.hairs = int(max(0, rng.integers(-7, 9)))
        self.hair_colour = rng.uniform(0.05, 0.5) * np.array([1.0, 0.8, 0.62], dtype=np.float32)
        self.hair_width = rng.uniform(0.008, 0.016)
        self.light = rng.uniform(0.82, 1.0) * rng.uniform([0.96, 0.94, 0.9], [1.04, 1.02, 1.06])  # RGB
        self.rim = max(0.0, rng.uniform(-0.3, 0.5))  # how much darker the corners are
        self.tube = rng.uniform(1.02, 1.9)  # radius of what the dermatoscope shows: below 1.41 the corners are black


class LesionPattern(NamedTuple):
    """How the lesions of a label are built: ranges of values that are drawn once a lesion."""

    radius: tuple[float, float]  # half picture widths
    ragged: tuple[float, float]  # share of the radius by which the border wanders
    edge: tuple[float, float]  # width of the border, share of the radius
    melanin: tuple[float, float]
    blood: tuple[float, float]
    patches: tuple[float, float] = (0.0, 0.25)  # how much the pigment varies from place to place
    network: tuple[float, float] = (0.0, 0.0)  # pigment of a honeycomb of lines
    globules: tuple[float, float] = (0.0, 0.0)  # pigment of round clods
    streaks: tuple[float, float] = (0.0, 0.0)  # length of radial lines over the border, share of the radius
    vessels: tuple[float, float] = (0.0, 0.0)  # blood in winding lines
    lacunae: tuple[float, float] = (0.0, 0.0)  # blood in round lakes
    veil: tuple[float, float] = (0.0, 0.0)  # share of blue-grey over a part of the lesion
    milk: tuple[float, float] = (0.0, 0.0)  # share of white over a part of the lesion
    keratin: tuple[float, float] = (0.0, 0.0)  # share of the yellow of horn, in dots and all over


_KNOWN = (
    LesionPattern(
        (0.25, 0.6), (0.02, 0.1), (0.06, 0.25), (0.25, 1.1), (0.0, 0.35), (0.0, 0.4), network=(0.0, 0.6),
        globules=(0.0, 0.5), veil=(0.0, 0.12), milk=(0.0, 0.1),
    ),
    LesionPattern(
        (0.36, 0.8), (0.08, 0.26), (0.04, 0.2), (0.5, 1.7), (0.0, 0.6), (0.3, 1.0), network=(0.0, 0.6),
        globules=(0.0, 0.7), streaks=(0.0, 0.2), vessels=(0.0, 0.4), veil=(0.0, 0.8), milk=(0.0, 0.6),
    ),
    LesionPattern(
        (0.32, 0.72), (0.04, 0.16), (0.02, 0.07), (0.2, 1.3), (0.0, 0.3), (0.1, 0.6), globules=(0.0, 0.4),
        vessels=(0.0, 0.15), milk=(0.0, 0.15), keratin=(0.25, 0.95),
    ),
    LesionPattern(
        (0.2, 0.56), (0.02, 0.14), (0.03, 0.16), (0.0, 0.45), (0.25, 1.0), (0.0, 0.4), vessels=(0.0, 0.4),
        lacunae=(0.2, 1.5), veil=(0.0, 0.25), milk=(0.0, 0.35),
    ),
)  # fmt: skip


def lesion_pattern(label_index: int) -> LesionPattern:
    """Nevus (0), melanoma (1), seborrhoeic keratosis (2), angioma (3), a mixture of its own (4...)."""
    if label_index < len(_KNOWN):
        return _KNOWN[label_index]
    place = [(GOLDEN * (label_index + 1) * step) % 1 for step in range(1, 7)]
    brown, red, wide, *_ = place

    def about(value: float, width: float) -> tuple[float, float]:
        return max(0.0, value - width), value + width

    features = ("network", "globules", "streaks", "vessels", "lacunae", "milk", "keratin")
    own = {features[(label_index + step) % len(features)]: about(0.25 + 0.4 * place[3 + step], 0.2) for step in (0, 2)}
    return LesionPattern(
        about(0.32 + 0.3 * wide, 0.12), (0.03, 0.2), (0.03, 0.2), about(1.3 * brown, 0.3), about(0.9 * red, 0.2), **own
    )


def _lattice(x: Array, y: Array, period: float, rng: Generator) -> Array:
    """A hexagonal lattice, bent: -1.5 on the lines between its cells, 3 in their middles."""
    bend = [1.3 * texture(rng, 9, len(x)) + 0.4 * texture(rng, 20, len(x)) for _ in range(2)]
    angle, total, x, y = rng.uniform(0, math.pi), 0.0, math.tau / period * x + bend[0], math.tau / period * y + bend[1]
    for turn in (0, math.pi / 3, 2 * math.pi / 3):
        total = total + np.cos(math.cos(angle + turn) * x + math.sin(angle + turn) * y)
    return total


def _within(x: Array, y: Array, lesion: LesionPattern, rng: Generator) -> tuple[Array, Array]:
    """Share of the lesion at every place, in [0, 1], and the distance from its middle, 1 on the border."""
    left, up, angle = rng.normal(0, [0.12, 0.12, 1.0]).tolist()
    stretch, c, s = math.sqrt(rng.uniform(1, 1.35)), math.cos(math.pi * angle), math.sin(math.pi * angle)
    dx, dy = (c * (x - left) + s * (y - up)) / stretch, (c * (y - up) - s * (x - left)) * stretch
    turn, turns, waves = np.arctan2(dy, dx), np.linspace(-math.pi, math.pi, 361), np.arange(2, 9)
    lobes = (rng.normal(0, 1, 7) / waves**0.7) @ np.cos(waves[:, None] * turns + rng.uniform(0, math.tau, (7, 1)))
    border = 1 + lesion.ragged * np.interp(turn, turns, lobes).astype(np.float32)
    spikes = expit(8 * (np.cos(int(rng.integers(14, 30)) * turn + texture(rng, 5, len(x))) - 0.4))
    one_side = expit(3 * np.cos(turn - rng.uniform(0, math.tau)))  # streaks on all sides would be a Spitz nevus
    border = border + lesion.streaks * spikes * one_side + 0.35 * lesion.ragged * texture(rng, 22, len(x))
    distance = np.hypot(dx, dy) / (lesion.radius * border.clip(0.3))
    return expit((1 - distance) / (0.35 * lesion.edge)), distance


def _part(rng: Generator, size: int) -> Array:
    """A smooth part of the picture, about a third: in [0, 1]."""
    return expit(4 * (texture(rng, 5, size) - 0.4))


def _dots(x: Array, y: Array, distance: Array, rng: Generator) -> Array:
    """Round dots within the lesion: in [0, 1]."""
    places, radii = rng.uniform(-0.6, 0.6, (14, 2, 1, 1)).astype(np.float32), rng.uniform(0.015, 0.05, (14, 1, 1))
    squares = ((x - places[:, 0]) ** 2 + (y - places[:, 1]) ** 2) / radii.astype(np.float32) ** 2
    return np.exp(-squares.min(axis=0)) * expit((0.9 - distance) / 0.05)


def _layers(x: Array, y: Array, skin: Skin, lesion: LesionPattern, rng: Generator) -> Array:
    """The colours of skin and lesion in white light: (n, n, 3)."""
    size = len(x)
    mask, distance = _within(x, y, lesion, rng)
    core = expit((0.85 - distance) / 0.12)
    cells, kind = _lattice(x, y, rng.uniform(0.1, 0.16), rng), _part(rng, size)
    lines, clods = expit(-3 * (cells + 0.45)), expit(3 * (cells - 1.2))
    patches = lesion.patches * (0.7 * texture(rng, 4, size) + 0.5 * texture(rng, 9, size))
    winding = np.exp(-np.square(texture(rng, 7, size) / 0.16)) + 0.6 * np.exp(-np.square(texture(rng, 14, size) / 0.2))
    lakes = expit(4 * (texture(rng, 11, size) - 0.1))
    structure = lesion.network * (lines - 0.3) * (1.5 - core) * (1 - kind) + lesion.globules * clods * kind
    pigment = lesion.melanin * (0.75 * np.exp(patches) + structure)
    red = lesion.blood + lesion.vessels * winding * (0.5 + 0.5 * _part(rng, size)) + lesion.lacunae * lakes
    mottling = skin.mottling * (texture(rng, 16, size) + texture(rng, 48, size))
    melanin = skin.melanin * (1 + mottling) + mask * pigment
    blood = skin.blood * (1 + 2 * mottling) + mask * red + 0.12 * lesion.blood * np.exp(-np.square(distance / 1.25))
    colours = np.exp(-(melanin[..., None] * MELANIN + blood[..., None] * BLOOD))
    horn = lesion.keratin * (0.45 + 0.55 * _dots(x, y, distance, rng)) * (0.6 + 0.4 * _part(rng, size))
    for share, colour in ((lesion.veil * _part(rng, size), VEIL), (lesion.milk * _part(rng, size), MILK)):
        colours += (0.8 * share * core)[..., None] * (colour * (0.35 + 0.65 * colours) - colours)
    colours += (0.75 * horn * mask)[..., None] * (KERATIN * (0.3 + 0.6 * colours) - colours)
    pores = lesion.keratin * mask * _dots(x, y, distance, rng)
    return colours * (1 - 0.65 * pores)[..., None]


def phantom_lesion(label_index: int, rng: Generator, size: int, subject_rng: Generator | None = None) -> Array:
    """One dermoscopic picture of a lesion of the skin.

    `label_index` (>= 0) chooses the `lesion_pattern`; `rng` gives the lesion, its place, the hairs' places and noise,
    and `subject_rng` (`rng` if None) the skin, the hairs and the camera: the same state gives the same skin. As much is
    drawn at every `size` (pixels a side, >= 8), so that the same states give the same picture at another resolution.
    Returns uint8 (size, size, 3), RGB, 0..255. Raises UserError if label_index or size is out of range.
    """
    (x, y), skin = canvas("lesion", label_index, size), Skin(subject_rng or rng)
    lesion = LesionPattern(*rng.uniform(*np.transpose(lesion_pattern(label_index))).tolist())
    turn, left, up = rng.normal(0, 0.03, 3).tolist()
    seen_x, seen_y = moved(x, y, turn, left, up, rng.uniform(0.85, 1.1))
    picture = _layers(seen_x, seen_y, skin, lesion, rng)
    bare = np.ones_like(x)  # share of the light that hairs leave
    for _ in range(skin.hairs):
        angle, offset, bow, start = rng.uniform([0, -0.9, -0.5, -0.6], [math.tau, 0.9, 0.5, 1.2]).tolist()
        c, s = math.cos(angle), math.sin(angle)
        along, across = c * x + s * y, c * y - s * x
        line = peak((across - offset - bow * along**2) / skin.hair_width)
        bare *= 1 - 0.85 * line * expit((along + start) / 0.04)
    shade = (1 - bare)[..., None]
    picture = picture * (1 - shade) + shade * skin.hair_colour
    (right, down), gain = rng.normal(0, 0.05, 2).tolist(), rng.uniform(0.9, 1.08)
    radius = np.hypot(x, y)
    light = gain * (1 + right * x + down * y) * (1 - skin.rim * radius**2 / 2)
    picture = picture * (light * expit((skin.tube - radius) / 0.02))[..., None] * skin.light
    picture += 0.012 * texture(rng, 160, len(x))[..., None]
    return finished(picture.clip(0) ** 0.85, size)
