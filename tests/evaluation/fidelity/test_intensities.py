from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from small import LABELS, noise_samples, small_model

from mmgen.data.audio import AudioSettings
from mmgen.data.mel import log_mel
from mmgen.data.phantoms import phantom_cough, phantom_xray
from mmgen.data.samples import Samples
from mmgen.evaluation.fidelity.intensities import intensity_kl, kl_entry
from mmgen.evaluation.fidelity.sound import waveform_round_trip
from mmgen.evaluation.fidelity.variance import sample_variance, variance_curve
from mmgen.models.modality import Modality


@pytest.fixture(scope="module")
def xrays() -> np.ndarray:
    """uint8 (80, 1, 48, 48), both labels in turn."""
    return np.stack([phantom_xray(i % 2, np.random.default_rng([1, i]), 48)[None] for i in range(80)])


@pytest.fixture(scope="module")
def coughs() -> np.ndarray:
    """Log-mels (16, 1, 100, 100) of the first second of a cough."""
    waves = [phantom_cough(i % 2, np.random.default_rng([2, i]))[:16_000] for i in range(16)]
    padded = np.stack([np.pad(wave, (0, 16_000 - len(wave))) for wave in waves])
    return log_mel(torch.from_numpy(padded), AudioSettings()).numpy()[:, None]


# -- KL of intensities


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


def test_kl_entry_compares_equal_counts(xrays: np.ndarray) -> None:
    real = as_samples(xrays)
    for synthetic, half in ((real, 40), (as_samples(xrays[:7]), 7)):
        entry = kl_entry(real, synthetic, seed=1)
        assert entry.keys() == {"value", "real_vs_real", "better", "samples"}
        assert entry["better"] == "lower" and entry["samples"] == half
        assert entry["value"] < (0.1 if half == 40 else 0.5) and entry["real_vs_real"] < (0.1 if half == 40 else 0.5)
    assert kl_entry(real, real, 1) == kl_entry(real, real, 1) != kl_entry(real, real, 2)
    bright = kl_entry(real, as_samples(255 - xrays // 2))
    assert bright["value"] > 10 * bright["real_vs_real"]


# -- diversity


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


# -- sound


def test_the_way_to_sound_and_back_is_short_for_real_spectrograms(coughs: np.ndarray) -> None:
    real = waveform_round_trip(coughs[:4], AudioSettings())
    no_sound_has_it = np.random.default_rng(0).uniform(-11, 3, (2, 1, 100, 100)).astype(np.float32)
    assert 0 <= real < 3.0 < waveform_round_trip(no_sound_has_it, AudioSettings())
