"""Phantom chest X-rays: every subject has an own body, every film an own exposure, and labels differ in opacities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator
from scipy.interpolate import PchipInterpolator
from scipy.special import expit

from mmgen.data.phantoms.drawing import GOLDEN, canvas, ellipse, finished, moved, peak, texture


class Anatomy:
    """A random subject's chest; lengths in half picture widths, y downwards, +x is the patient's left."""

    def __init__(self, rng: Generator) -> None:
        self.chest = rng.uniform(0.62, 0.76)  # lateral lung border
        self.apex = rng.uniform(-0.80, -0.68)  # y of the lung tops
        self.base = rng.uniform(0.55, 0.78)  # y of the costophrenic angles
        self.dome = rng.uniform(0.14, 0.27)  # height of the diaphragm above `base`
        self.lift = rng.uniform(0.02, 0.08)  # how much higher the right dome stands
        self.roundness = rng.uniform(1.9, 2.7)  # exponent of the upper lung border
        self.heart = rng.uniform(0.30, 0.43)  # radius of the long axis
        self.lean = rng.uniform(0.55, 0.95)  # angle of the long axis, radians
        self.mediastinum = rng.uniform(0.10, 0.15)  # half width
        self.rib_spacing = rng.uniform(0.135, 0.17)
        self.rib_slope = rng.uniform(0.18, 0.42)
        self.bones = rng.uniform(0.6, 1.1)  # contrast of all bones
        self.tissue = rng.uniform(0.9, 1.1)  # attenuation of the body
        self.breast = max(0.0, rng.uniform(-0.1, 0.2))  # soft shadows over the lower zones, a little like disease
        self.vessels = rng.uniform(0.6, 1.3)  # contrast of the vessel markings
        self.shoulder = rng.uniform(-0.70, -0.56)  # y of the shoulders
        self.flank = self.chest + rng.uniform(0.14, 0.32)  # half width of the trunk

    def outer(self, y: Array | float) -> Array:
        """Lateral border |x| of the lungs at heights y."""
        depth, top = (y - self.apex) / (self.base - self.apex), 0.42 * self.chest
        crown = np.clip(1 - depth / 0.62, 0, 1) ** self.roundness
        flare = 1 + 0.08 * np.clip(depth - 0.62, 0, 1)
        return (top + (self.chest - top) * (1 - crown) ** (1 / self.roundness)) * flare

    def inner(self, y: Array | float) -> Array:
        """Medial border |x| of the lungs at heights y."""
        crown, top = np.clip(1 - (y - self.apex) / (0.3 * (self.base - self.apex)), 0, 1), 0.42 * self.chest
        return top - (top - self.mediastinum) * np.sqrt(1 - crown**2)


class OpacityPattern(NamedTuple):
    """Where lungs are opaque: ranges of the place across (0 medial, 1 lateral) and along (0 apex, 1 base) a lung."""

    sides: tuple[int, ...] = ()  # -1 the patient's right, +1 the left
    count: tuple[int, int] = (0, 0)  # blobs a lung
    across: tuple[float, float] = (0.0, 1.0)
    along: tuple[float, float] = (0.0, 1.0)
    radius: tuple[float, float] = (0.0, 0.0)
    density: tuple[float, float] = (0.0, 0.0)  # share of the air that is replaced


def opacity_pattern(label_index: int) -> OpacityPattern:
    """Bilateral peripheral ground glass in the lower zones (0), clear lungs (1), one dense focus of its own (2...)."""
    if label_index == 0:
        return OpacityPattern((-1, 1), (2, 5), (0.5, 1.0), (0.45, 0.92), (0.07, 0.17), (0.2, 0.75))
    if label_index == 1:
        return OpacityPattern()
    along, side = 0.15 + 0.6 * (GOLDEN * (label_index - 2) % 1), -1 if label_index % 2 == 0 else 1
    return OpacityPattern((side,), (1, 2), (0.3, 0.7), (along, along + 0.15), (0.14, 0.24), (0.5, 0.95))


def _lungs(x: Array, y: Array, body: Anatomy) -> tuple[Array, Array]:
    """Masks in [0, 1]: lungs, less what heart and aorta cover, and everything below the diaphragm."""
    side, edge = np.abs(x), 0.011
    across = (side - 0.45 * body.chest) / (0.55 * body.chest)
    diaphragm = body.base - body.dome * (1 - across**2).clip(-0.3) - body.lift * expit(-x / 0.05)
    below = expit((y - diaphragm) / edge)
    lung = expit((body.outer(y) - side) / edge) * expit((side - body.inner(y)) / edge) * (1 - below)
    floor, size = body.base - body.dome, body.heart
    ventricle = ellipse(x, y, (0.3 * size, floor - 0.4 * size), (1.1 * size, 0.68 * size), body.lean)
    atrium = ellipse(x, y, (-0.22 * size, floor - 0.5 * size), (0.45 * size, 0.7 * size))
    aorta = ellipse(x, y, (0.6 * body.mediastinum, body.apex + 0.38 * (body.base - body.apex)), (0.09, 0.15))
    outside = np.prod([expit((border - 1) / 0.1) for border in (ventricle, atrium, aorta)], axis=0)
    return lung * expit((y - body.apex) / edge) * (0.05 + 0.95 * outside), below


def _vessels(x: Array, y: Array, body: Anatomy, rng: Generator) -> Array:
    """Share of the air that vessels take, in [0, 0.4]: wavering rays from the hila, and a haze around these."""
    right, down = np.abs(x) - 0.13, y - 0.5 * (body.apex + body.base) + 0.1
    angle, distance = np.arctan2(down, right), np.hypot(right, 0.8 * down)
    haze, share = np.exp(-((distance / 0.2) ** 2)), 0.0
    for rays, width, reach in ((7, 0.013, 0.35), (17, 0.008, 0.45)):
        waver = 1.3 * texture(rng, 9, x.shape[-1]) + 0.25 * texture(rng, 24, x.shape[-1])
        line = np.exp(-((np.sin(rays / 2 * angle + waver) * distance / (rays / 2 * width)) ** 2))
        share = share + 0.26 * line * np.exp(-distance / reach)
    return body.vessels * np.minimum(share * (1 - 0.5 * haze) + 0.16 * haze, 0.3)


def _bones(x: Array, y: Array, body: Anatomy) -> Array:
    """Attenuation of ribs, clavicles, spine and shoulders, about 0 to 0.3."""
    side = np.abs(x)
    cage = expit((body.outer(y) + 0.035 - side) / 0.012) * expit((body.base - 0.4 * body.dome - y) / 0.12)

    def ribs(course: Array, count: int, half_width: float) -> Array:
        level = (y - body.apex - course) / body.rib_spacing
        distance = np.abs(level - np.clip(np.round(level), 0, count)) * body.rib_spacing / half_width
        return peak(distance) * (0.7 + 0.3 * np.minimum(distance, 1) ** 2)  # the rim is denser than the marrow

    bow = body.rib_slope * side**2 / body.chest
    posterior = ribs(0.02 + bow - 0.10 * np.sin(np.pi * np.clip(side / body.chest, 0, 1)), 9, 0.034)
    anterior = ribs(0.22 + 0.5 * (body.chest - side) + 0.1 * side, 6, 0.04) * expit((side - 0.3) / 0.04)
    along = np.clip((side - 0.06) / 0.75, 0, 1)
    clavicle = body.apex + 0.15 - 0.22 * along + 0.05 * np.sin(2 * np.pi * along)
    clavicles = peak((y - clavicle) / 0.032) * expit((side - 0.07) / 0.012) * expit((0.85 - side) / 0.02)
    discs = 0.8 + 0.2 * np.tanh(3 * np.sin(2 * np.pi * y / (0.8 * body.rib_spacing)))
    spine = peak(x / 0.08) * discs * expit((y + 1.1) / 0.2)
    humerus = np.exp(-np.square(ellipse(side, y, (body.chest + 0.22, body.shoulder + 0.12), (0.12, 0.17))))
    return body.bones * (cage * (0.10 * posterior + 0.05 * anterior) + 0.13 * clavicles + 0.07 * spine + 0.14 * humerus)


def _opacities(x: Array, y: Array, body: Anatomy, pattern: OpacityPattern, rng: Generator) -> Array:
    """Share of the air that disease takes, in [0, 1): blobs with a ragged border."""
    clear, severity = np.ones_like(x), rng.uniform(0.45, 1.0)  # one severity a picture: mild cases are the hard ones
    ragged = (1 + 0.35 * texture(rng, 20, x.shape[-1])).clip(0.3)
    for side in pattern.sides:
        for _ in range(rng.integers(*pattern.count, endpoint=True)):
            level = body.apex + rng.uniform(*pattern.along) * (body.base - body.apex)
            inner, outer = float(body.inner(level)), float(body.outer(level))
            centre = side * (inner + rng.uniform(*pattern.across) * (outer - inner))
            radius, density = rng.uniform(*pattern.radius), severity * rng.uniform(*pattern.density)
            distance = ellipse(x, y, (centre, level), (radius, radius * rng.uniform(0.8, 1.6)))
            clear *= 1 - density * np.exp(-distance * ragged)
    return 1 - clear


def _attenuation(x: Array, y: Array, body: Anatomy, pattern: OpacityPattern, rng: Generator) -> Array:
    """Attenuation of the rays, about 0 (beside the body) to 1.4 (spine in the abdomen)."""
    shoulder, flank, levels = body.shoulder, body.flank, np.linspace(-1.4, 1.4, 99)
    heights = [-1.4, shoulder - 0.28, shoulder - 0.1, shoulder + 0.1, shoulder + 0.45, 0.4, 1.4]
    widths = PchipInterpolator(heights, [0.26, 0.3, 0.6, flank + 0.13, flank + 0.06, flank, flank])(levels)
    outline = np.interp(y, levels, widths).astype(np.float32)
    trunk = np.clip(1 - (x / outline) ** 2, 0, 1) ** 0.3
    lung, below = _lungs(x, y, body)
    air = 0.7 * lung * (1 - _vessels(x, y, body, rng)) * (1 - _opacities(x, y, body, pattern, rng))
    trachea = 0.1 * peak(x / 0.055) * expit((-0.3 - y) / 0.04)
    breast = body.breast * np.exp(-np.square(ellipse(np.abs(x), y, (0.62 * body.chest, 0.32), (0.42, 0.36))))
    middle = 0.1 * peak(x / (body.mediastinum + 0.05))
    soft = trunk * (0.86 + 0.12 * below + middle) + 0.03 * texture(rng, 6, x.shape[-1]) * trunk
    return np.maximum(body.tissue * soft + trunk * (0.6 * breast + _bones(x, y, body) - air - trachea), 0)


def phantom_xray(label_index: int, rng: Generator, size: int, subject_rng: Generator | None = None) -> Array:
    """One frontal chest film, bright where rays are absorbed.

    `label_index` (>= 0) chooses the `opacity_pattern`; `rng` gives exposure, noise and places of the opacities, and
    `subject_rng` (`rng` if None) the anatomy: the same state gives the same body. As much is drawn at every `size`
    (pixels a side, >= 8), so that the same states give the same picture at another resolution.
    Returns uint8 (size, size), 0..255. Raises UserError if label_index or size is out of range.
    """
    (x, y), body = canvas("X-ray", label_index, size), Anatomy(subject_rng or rng)
    turn, left, up = rng.normal(0, 0.025, 3).tolist()  # radians, half widths
    zoom, gain, gamma, fog, grain = rng.uniform([0.9, 0.6, 0.8, 0, 0.004], [1.04, 0.84, 1.4, 0.08, 0.014]).tolist()
    x, y = moved(x, y, turn, left, up, zoom)
    film = fog + gain * _attenuation(x, y, body, opacity_pattern(label_index), rng) ** gamma
    film += grain * texture(rng, 160, len(x))
    film = np.where(film > 0.75, 0.75 + 0.25 * np.tanh((film - 0.75) / 0.25), film)  # shoulder of the film curve
    return finished(film, size)
