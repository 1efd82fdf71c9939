"""Fine detail along edges, and noise that has the same power spectrum."""

from __future__ import annotations

import numpy as np
import pytest

from mmgen.errors import UserError
from mmgen.evaluation.fidelity.detail import detail_kurtosis
from mmgen.evaluation.fidelity.spectrum import sharpness
from mmgen.models.modality import Modality


def shapes(count: int = 60, side: int = 48) -> np.ndarray:
    """Grey rectangles, one before the other."""
    rng, pictures = np.random.default_rng(0), np.zeros((count, 1, side, side))
    for picture in pictures:
        for _ in range(12):
            (top, left), (height, width) = rng.integers(0, side - 8, 2), rng.integers(8, 24, 2)
            picture[0, top : top + height, left : left + width] = rng.uniform(0, 255)
    return pictures


def noise_like(pictures: np.ndarray) -> np.ndarray:
    """Gaussian noise with the power of the pictures at every frequency."""
    power = np.square(np.abs(np.fft.fft2(pictures - pictures.mean()))).mean(0)
    white = np.fft.fft2(np.random.default_rng(1).normal(size=pictures.shape))
    return pictures.mean() + np.fft.ifft2(white * np.sqrt(power / pictures[0].size)).real


def test_noise_with_the_spectrum_of_pictures_is_told_from_them() -> None:
    pictures = shapes()
    noise = noise_like(pictures)
    shares = sharpness(Modality("x", pictures.shape[1:], (8, 8)), pictures, noise)
    assert all(0.7 < share < 1.3 for share in shares.values()), "their spectra do not differ"
    assert detail_kurtosis(noise) == pytest.approx(3.0, abs=0.1)
    assert detail_kurtosis(pictures) > 6


def test_more_noise_is_less_concentrated() -> None:
    pictures, noise = shapes(), np.random.default_rng(2).normal(size=(60, 1, 48, 48))
    found = [detail_kurtosis(pictures + level * noise) for level in (0, 5, 15, 60)]
    assert found == sorted(found, reverse=True) and found[-1] < 4


def test_brightness_and_contrast_change_nothing_and_even_samples_do_not_count() -> None:
    pictures = shapes(20)
    expected = detail_kurtosis(pictures)
    assert detail_kurtosis(0.1 * pictures + 40.0) == pytest.approx(expected)
    even = np.full((30, 1, 48, 48), 0.1)
    assert detail_kurtosis(np.concatenate([even, pictures])) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((3, 1, 8, 8), 7, np.uint8), "not even"),
        (np.zeros((0, 1, 8, 8)), "not even"),
        (np.zeros((3, 1, 8, 2)), "at least 3"),
    ],
)
def test_what_has_no_detail_is_named(values: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        detail_kurtosis(values)
