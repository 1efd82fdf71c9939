from __future__ import annotations

import numpy as np
import pytest
import torch
from structures import smooth

from mmgen.evaluation.privacy.disguises.pixels import SIDE, blurred, locally_normalised, loudness, squared


def test_blur_keeps_constants_and_means() -> None:
    torch.testing.assert_close(blurred(torch.full((1, 1, 9, 12), 7.0), 2.0), torch.full((1, 1, 9, 12), 7.0))
    spot = torch.zeros(1, 1, 33, 33)
    spot[..., 16, 16] = 1
    assert blurred(spot, 2.0).sum() == pytest.approx(1.0, abs=1e-5)


def test_local_normalisation_knows_no_brightness_and_no_contrast() -> None:
    x = smooth(2)
    one, other = (locally_normalised(y, 4.0, 0.01) for y in (x, 0.5 * x + 60))
    torch.testing.assert_close(one, other, rtol=0, atol=2e-3)
    torch.testing.assert_close(locally_normalised(255 - x, 4.0, 0.01), -one, rtol=0, atol=2e-3)


def test_loudness_knows_no_gain_and_little_of_faint_noise() -> None:
    rng = np.random.default_rng(0)
    mel = torch.from_numpy(rng.normal(-8, 3, (2, 1, 100, 64)).astype(np.float32))
    one = loudness(mel)
    torch.testing.assert_close(loudness(mel + 2), one, rtol=0, atol=1e-2)
    faint = torch.logaddexp(mel, mel.amax((1, 2, 3), keepdim=True) - 12)
    changed, in_logarithms = (loudness(faint) - one).abs().mean() / one.std(), (faint - mel).abs().mean() / mel.std()
    assert 0 < changed < 0.5 * in_logarithms
    assert one.min() >= 0 and one.max() <= 255


@pytest.mark.parametrize("shape", [(40, 512), (512, 40), (100, 100), (64, 64), (20, 30), (200, 64)])
def test_squares_keep_the_mean_of_what_is_reduced(shape: tuple[int, int]) -> None:
    x = torch.zeros(1, 1, *shape)
    x[..., ::8] = 255
    made = squared(x)
    assert made.shape == (1, 1, SIDE, SIDE)
    if max(shape) > SIDE:
        assert made.mean().item() == pytest.approx(x.mean().item(), rel=0.1)
