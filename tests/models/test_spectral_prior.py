"""The guess by the power spectrum: it is the best linear one, and knows how good it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmgen.models.modality import Modality
from mmgen.models.spectral_prior import RINGS, SpectralPrior, ring_radii
from mmgen.training.prior_power import ring_power

IMAGE = Modality("image", (1, 32, 32), (8, 8))
SOUND = Modality("audio", (2, 20, 30), (8, 8))  # padded to 24 x 32


def smooth(modality: Modality, count: int, seed: int = 0) -> torch.Tensor:
    """Gaussian samples, periodic, with much power at coarse structure: (N, C, H', W')."""
    height, width = modality.padded
    noise = np.random.default_rng(seed).normal(size=(count, modality.shape[0], height, width))
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    x = np.fft.irfft2(np.fft.rfft2(noise) / (1 + (radius / 0.05) ** 2), s=(height, width))
    return torch.from_numpy(x / x.std()).float()


def told(modality: Modality, x: torch.Tensor) -> SpectralPrior:
    prior = SpectralPrior(modality)
    height, width = modality.padded
    whole = Modality(modality.name, (modality.shape[0], height, width), modality.patch)
    prior.tell(ring_power(whole, x.numpy()))
    return prior


@pytest.mark.parametrize("modality", [IMAGE, SOUND])
@pytest.mark.parametrize("time", [0.3, 0.7])
def test_its_error_is_what_it_says_and_far_below_that_of_one_who_knows_no_spectrum(
    modality: Modality, time: float
) -> None:
    x = smooth(modality, 64)
    prior, white = told(modality, smooth(modality, 64, seed=1)), SpectralPrior(modality)
    clean = prior.modality.cut(x)
    generator = torch.Generator().manual_seed(2)
    noised = time * clean + (1 - time) * torch.randn(clean.shape, generator=generator)
    times = torch.full((64,), time)
    guess, deviation = prior(noised, times)
    error = float((guess - clean).square().mean())
    assert error == pytest.approx(float(deviation[0]) ** 2, rel=0.1)
    other, _ = white(noised, times)
    assert error < 0.5 * float((other - clean).square().mean())
    # Nothing is gained by believing the noised sample more, or less.
    for factor in (0.8, 1.2):
        assert error < float((factor * guess - clean).square().mean())


def test_at_both_ends_it_is_the_mean_and_the_sample_itself() -> None:
    prior = told(IMAGE, smooth(IMAGE, 32))
    noised = torch.randn(3, IMAGE.tokens, IMAGE.patch_size)
    guess, deviation = prior(noised, torch.zeros(3))
    assert not guess.any() and deviation == pytest.approx(1.0, rel=0.1)
    guess, deviation = prior(noised, torch.full((3,), 0.99999))
    torch.testing.assert_close(guess, noised, atol=1e-2, rtol=1e-2)
    assert float(deviation.max()) < 1e-3


def test_the_spectrum_of_white_noise_is_flat_and_constant_samples_are_harmless() -> None:
    noise = np.random.default_rng(0).normal(size=(200, 1, 32, 32))
    power = ring_power(IMAGE, noise)
    assert power.shape == (RINGS + 1,) and len(ring_radii(IMAGE)) == RINGS
    assert power == pytest.approx(np.ones(RINGS + 1), abs=0.45)
    prior = SpectralPrior(IMAGE)
    prior.tell(ring_power(IMAGE, np.zeros((3, 1, 32, 32))))
    assert all(torch.isfinite(part).all() for part in prior(torch.randn(2, 16, 64), torch.tensor([0.0, 0.5])))
