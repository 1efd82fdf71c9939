from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from small import LABELS

from mmgen.data.samples import Samples
from mmgen.evaluation.fidelity.intensities import intensity_kl


def test_kl_of_equal_sets_is_zero(xrays: np.ndarray, coughs: np.ndarray) -> None:
    assert intensity_kl(xrays, xrays) == 0.0
    assert intensity_kl(coughs, coughs[::-1]) == 0.0
    assert intensity_kl(np.full((3, 4), 7, np.uint8), np.full((9,), 7, np.uint8)) == 0.0


def test_kl_of_a_histogram_by_hand() -> None:
    real = np.array([0, 0, 0, 255], dtype=np.uint8)  # shares 3/4 and 1/4
    synthetic = np.array([0, 255], dtype=np.uint8)  # shares 1/2 and 1/2
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert intensity_kl(real, synthetic) == pytest.approx(expected, abs=1e-6)
    backwards = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert intensity_kl(synthetic, real) == pytest.approx(backwards, abs=1e-6)


def test_kl_of_disjoint_sets_is_bounded_by_epsilon() -> None:
    real, synthetic = np.zeros(100), np.ones(100)
    assert intensity_kl(real, synthetic, epsilon=1e-10) == pytest.approx(np.log(1e10), rel=1e-3)
    assert intensity_kl(real, synthetic, epsilon=1e-4) < intensity_kl(real, synthetic, epsilon=1e-10)


def test_kl_tells_every_grey_level_from_the_next() -> None:
    levels = np.arange(256, dtype=np.uint8)
    shifted = np.clip(levels.astype(int) + 1, 0, 255).astype(np.uint8)  # loses level 0, has 255 twice
    assert intensity_kl(levels, shifted) == pytest.approx(np.log(1 / 256 / 1e-10) / 256 - np.log(2) / 256, abs=1e-3)


def test_kl_does_not_depend_on_counts_or_scale(coughs: np.ndarray) -> None:
    first, second = coughs[:8], coughs[8:]
    assert intensity_kl(np.concatenate([first, first]), second) == pytest.approx(intensity_kl(first, second), abs=1e-9)
    assert intensity_kl(2 * first + 3, 2 * second + 3) == pytest.approx(intensity_kl(first, second), rel=0.05)


def test_kl_grows_with_noise_and_with_blur(xrays: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=xrays.shape)
    noisy = [np.clip(xrays + level * noise, 0, 255).astype(np.uint8) for level in (0, 5, 15, 40, 90)]
    blurred = [gaussian_filter(xrays.astype(float), (0, 0, s, s)).astype(np.uint8) for s in (0, 1, 3, 6, 12)]
    for steps in (noisy, blurred):
        distances = [intensity_kl(xrays, step) for step in steps]
        assert distances[0] == 0.0
        assert all(near < far for near, far in pairwise(distances)), distances


def test_kl_of_real_halves_is_far_below_that_of_noise(xrays: np.ndarray) -> None:
    between_halves = intensity_kl(xrays[:40], xrays[40:])
    noise = np.random.default_rng(0).integers(0, 256, xrays[40:].shape, dtype=np.uint8)
    assert between_halves < 0.05 < 0.12 < intensity_kl(xrays[:40], noise)
    assert intensity_kl(xrays[:40], 255 - xrays[40:]) > 0.2  # the same histogram, mirrored


def as_samples(values: np.ndarray) -> Samples:
    return Samples(values, np.arange(len(values)) % 2, LABELS, np.arange(len(values)))


def test_kl_of_many_parts_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(700, 1, 3, 4)), rng.normal(0.5, 1, size=(300, 1, 3, 4))  # three parts and two
    low, high = min(real.min(), synthetic.min()), max(real.max(), synthetic.max())
    p, q = (np.histogram(x.astype(np.float32), 256, (low, high))[0] / x.size + 1e-10 for x in (real, synthetic))
    assert intensity_kl(real, synthetic) == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-6)
