"""Phantom T1-weighted axial slices of heads: every subject has an own brain, the label is how much of it is lost.

Tissues are where a place lies from the nearest fluid: first grey matter, then white. So sulci and ventricles that grow
take the tissue beside them, as atrophy does.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator
from scipy.interpolate import PchipInterpolator
from scipy.special import expit

from mmgen.data.phantoms.drawing import canvas, ellipse, finished, moved, texture

BRAINS = ("none", "very_mild", "mild", "moderate")


class Head:
    """A random subject's head; lengths in half picture widths, y downwards, the forehead is up."""

    def __init__(self, severity: float, rng: Generator) -> None:
        self.severity = max(-0.1, severity + rng.normal(0, 0.1))  # grades are not sharp in life either
        self.width, self.length = rng.uniform([0.66, 0.82], [0.74, 0.92]).tolist()  # half axes of the skull's inside
        self.taper = rng.uniform(0.02, 0.14)  # how much narrower the forehead is
        self.bone, self.scalp = rng.uniform([0.045, 0.03], [0.075, 0.055]).tolist()  # thickness
        self.marrow = rng.uniform(0.05, 0.45)  # signal of fat between the tables of the skull
        self.folds = rng.uniform(0.8, 1.1)  # number of folds, relative
        self.ventricles = rng.uniform(0.8, 1.25)  # size without atrophy: healthy people differ by as much as a grade
        self.horns = rng.uniform(0.8, 1.15)  # length of the ventricles
        self.lean = rng.normal(0, 0.06)  # right ventricle against left
        self.gap = rng.uniform(0.01, 0.03)  # fluid between brain and skull
        self.cortex = rng.uniform(0.07, 0.09)  # thickness
        self.grey, self.white, self.fluid = rng.uniform([0.46, 0.76, 0.1], [0.54, 0.86, 0.17]).tolist()
        self.fat = rng.uniform(0.6, 1.0)


def atrophy(label_index: int) -> float:
    """Typical share of atrophy of a grade: 0 at index 0, rises ever more slowly, stays below 1.8."""
    return 1.8 * (1 - float(np.exp(-0.24 * label_index)))


def _surface(x: Array, y: Array, head: Head) -> Array:
    """Distance from the inside of the skull, positive within."""
    width = head.width * (1 + head.taper * np.tanh(y / 0.5))
    level = np.sqrt((x / width) ** 2 + np.abs(y / head.length) ** 2.3 + 1e-6)
    return (1 - level) * np.sqrt(head.width * head.length)


def _line_distance(field: Array) -> Array:
    """Distance from the lines on which a smooth field is 0."""
    down, right = np.gradient(field, 2 / len(field))
    return np.abs(field) / np.sqrt(down**2 + right**2 + 3.0)  # the constant keeps flat places away from lines


def _sulci(x: Array, y: Array, depth: Array, head: Head, rng: Generator) -> Array:
    """Distance from the middle of the nearest sulcus, the longitudinal or the Sylvian fissure."""
    size, turn = len(x), np.arctan2(x, -y)
    waver = 1.5 * texture(rng, 7, size) + 0.5 * texture(rng, 13, size)
    radial = _line_distance(np.sin(head.folds * 8 * np.abs(turn) + waver))
    winding = _line_distance(texture(rng, 9, size) + 0.3)
    reach = 0.17 + 0.06 * texture(rng, 6, size)
    sulci = np.minimum(radial + (depth - reach).clip(0), winding + (depth - 0.6 * reach).clip(0))
    course = 0.012 * texture(rng, 4, size)
    between = (0.4 * head.length - np.abs(y + 0.02)).clip(0)  # the callosum joins the halves there
    middle = np.abs(x - course) + 1.2 * between
    lateral = np.abs(y - 0.02 - 0.35 * (np.abs(x) - 0.55 * head.width) + 0.03 * texture(rng, 6, size))
    sylvian = lateral + (0.62 * head.width - np.abs(x)).clip(0)
    return np.minimum(np.minimum(sulci, middle), sylvian)


def _brain(x: Array, y: Array, head: Head, rng: Generator) -> Array:
    """Signal of brain and fluid, everywhere inside the skull."""
    edge, lost, inside = 0.012, head.severity, _surface(x, y, head)
    depth = inside - head.gap * (1 + 1.3 * lost)
    sulcus = _sulci(x, y, depth, head, rng) - (0.007 + 0.024 * max(0.0, lost))
    fluid, cortex = np.minimum(depth, sulcus), head.cortex * (1 - 0.2 * lost)
    # Caudate, lentiform nucleus and thalamus are grey.
    side, push = np.abs(x), 0.05 * lost
    nuclei = (
        ellipse(side, y, (0.16 + push, -0.17), (0.06, 0.11), -0.3),
        ellipse(side, y, (0.33, -0.02), (0.065, 0.17), -0.2),
        ellipse(side, y, (0.13 + push, 0.12), (0.09, 0.12), -0.4),
    )
    deep_grey = np.max([expit((1 - nucleus) / 0.2) for nucleus in nuclei], axis=0)
    white = expit((fluid - cortex) / edge) * (1 - 0.9 * deep_grey)
    # The hippocampi shrink, and fluid fills the bed they leave.
    shrunk, middle = 1 - 0.45 * min(1.0, max(0.0, lost)), 0.34 * head.width / 0.7
    own = ellipse(side, y, (middle + 0.06 * (1 - shrunk), 0.27), (0.07 * shrunk, 0.11 * shrunk), -0.5)
    bed = ellipse(side, y, (middle - 0.01, 0.26), (0.075, 0.115), -0.5)  # its inner side opens to the ventricle
    hippocampus, bed = expit((1 - own) / 0.15), expit((1 - bed) / 0.25) * min(0.9, max(0.0, lost))
    signal = head.grey + (head.white - head.grey) * white * (1 - hippocampus)
    # The lateral and the third ventricle.
    size = head.ventricles * (1 + 1.1 * lost)
    level = ((y + 0.02) / (head.horns * (0.9 + 0.12 * size))).clip(-0.42, 0.5)
    heights = np.array([-0.42, -0.36, -0.24, -0.08, 0.06, 0.2, 0.32, 0.43, 0.5])
    middles = PchipInterpolator(heights, [0.19, 0.16, 0.1, 0.055, 0.07, 0.14, 0.2, 0.21, 0.2])
    halves = PchipInterpolator(heights, [-0.03, 0.012, 0.04, 0.024, 0.02, 0.035, 0.045, 0.02, -0.03])(level)
    half = halves * np.where(halves > 0, size, 1) * (1 + head.lean * np.sign(x))
    lateral = np.abs(side - middles(level) - 0.35 * half.clip(0)) - half
    third = np.sqrt(ellipse(x, y, (0, 0.1), (0.016 + 0.018 * size, 0.13))) * 0.05 - 0.05
    ventricle = expit(-np.minimum(0.85 * lateral, third) / edge)
    wet = 1 - expit(fluid / edge) * (1 - ventricle) * (1 - bed * (1 - hippocampus))
    return signal + (head.fluid - signal) * wet


def phantom_brain(label_index: int, rng: Generator, size: int, subject_rng: Generator | None = None) -> Array:
    """One axial T1-weighted slice of a head on black, at the height of the lateral ventricles; the forehead is up.

    `label_index` (>= 0) is the grade of atrophy: ventricles, sulci and the fluid at the skull grow with it, cortex and
    hippocampi shrink. `rng` gives the position, the coil's shading and noise, and `subject_rng` (`rng` if None) the
    head and its atrophy: the same state gives the same brain. As much is drawn at every `size` (pixels a side, >= 8),
    so that the same states give the same picture at another resolution.
    Returns uint8 (size, size), 0..255. Raises UserError if label_index or size is out of range.
    """
    (x, y), subject_rng = canvas("brain", label_index, size), subject_rng or rng
    head = Head(atrophy(label_index), subject_rng)
    turn, left, up = rng.normal(0, [0.04, 0.015, 0.015]).tolist()
    x, y = moved(x, y, turn, left, up, rng.uniform(0.97, 1.06))
    inside = _surface(x, y, head)
    outer = head.bone + head.scalp
    skull = head.marrow * np.exp(-np.square(np.square((inside + 0.5 * head.bone) / (0.3 * head.bone))))
    scalp = head.fat * expit((-inside - head.bone) / 0.01) * expit((inside + outer) / 0.01)
    signal = _brain(x, y, head, subject_rng) * expit(inside / 0.008) + 0.5 * skull + scalp
    shading, gain, noise = rng.uniform(0, 0.1), rng.uniform(0.85, 1.1), rng.uniform(0.008, 0.03)
    signal = signal * gain * np.exp(shading * texture(rng, 3, len(x)))
    real, imaginary = (noise * texture(rng, 160, len(x)) for _ in range(2))
    return finished(np.hypot(signal + real, imaginary), size)  # noise of a magnitude is Rician
