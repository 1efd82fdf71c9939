from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from small import noise_samples, small_model

from mmgen.evaluation.fidelity.variance import patch_variance, sample_variance, variance_curve
from mmgen.models.modality import Modality

# -- over samples


def test_sample_variance_by_hand() -> None:
    modality = Modality("x", (2, 1, 1), (1, 1), mean=(5.0, 0.0), std=(2.0, 1.0))
    values = np.array([[1, 4], [3, 4], [5, 4]], dtype=np.uint8).reshape(3, 2, 1, 1)
    # Channel 0: variance 8/3 in raw units, 2/3 in normalised ones; channel 1 is constant.
    assert sample_variance(modality, values) == pytest.approx((2 / 3 + 0) / 2)


def test_sample_variance_is_that_of_numpy_for_many_samples() -> None:
    modality = Modality("x", (1, 3, 4), (1, 1), mean=(-6.0,), std=(2.5,))
    values = np.random.default_rng(0).normal(-6, 2.5, (700, 1, 3, 4)).astype(np.float32)  # more than one part
    assert sample_variance(modality, values) == pytest.approx(float((values / 2.5).var(axis=0).mean()), rel=1e-5)


def test_sample_variance_sees_mode_dropping(xrays: np.ndarray) -> None:
    modality = Modality("image", (1, 48, 48), (8, 8), (float(xrays.mean()),), (float(xrays.std()),))
    kept = [sample_variance(modality, np.resize(xrays[:modes], xrays.shape)) for modes in (1, 2, 8, 80)]
    assert kept[0] < 1e-12 and all(few < many for few, many in pairwise(kept))
    assert kept[-1] <= 1.0


# -- within patches


def test_patch_variance_by_hand_without_padding() -> None:
    modality = Modality("x", (2, 2, 3), (2, 2), mean=(5.0, 0.0), std=(2.0, 1.0))  # 3 columns are padded to 4
    values = np.array([[[[1, 3, 7], [1, 3, 9]], [[4, 4, 0], [4, 4, 0]]]], dtype=np.uint8)
    # Channel 0: deviations of 1 in the four elements of the first patch and in the two of the second, over 2 ** 2.
    assert patch_variance(modality, values) == pytest.approx(6 / 4 / 12)
    assert patch_variance(modality, np.repeat(values, 70, axis=0)) == pytest.approx(6 / 4 / 12)


def test_patch_variance_falls_with_blur_and_grows_with_noise(xrays: np.ndarray) -> None:
    modality = Modality("image", (1, 48, 48), (8, 8), (float(xrays.mean()),), (float(xrays.std()),))
    blurred = [patch_variance(modality, gaussian_filter(xrays, (0, 0, s, s))) for s in (0, 1, 2, 4)]
    assert all(sharp > soft > 0 for sharp, soft in pairwise(blurred)), blurred
    noise = np.random.default_rng(0).normal(size=xrays.shape)
    noisy = [patch_variance(modality, (xrays + level * noise).astype(np.float32)) for level in (0, 5, 15, 40)]
    assert all(clean < coarse for clean, coarse in pairwise(noisy)), noisy
    even = np.repeat(np.arange(7, dtype=np.uint8), 48 * 48).reshape(7, 1, 48, 48)
    assert patch_variance(modality, even) < 1e-12 < sample_variance(modality, even)


# -- against the masking ratio


def test_variance_curve_has_a_value_a_ratio_and_modality() -> None:
    model, samples = small_model(), noise_samples((20, 20), (20, 20))
    ratios = (0.0, 0.5, 0.75)
    curves = variance_curve(model, samples, ratios, seed=3)
    assert list(curves) == ["image", "audio"]
    assert all(len(curve) == 3 and all(np.isfinite(curve)) and min(curve) > 0 for curve in curves.values())
    assert variance_curve(model, samples, ratios, seed=3) == curves
    assert variance_curve(model, samples, ratios, seed=4) != curves
    parts = variance_curve(model, samples, ratios, seed=3, limit=2)
    assert parts != curves and all(len(curve) == 3 for curve in parts.values())
