from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from mmgen.errors import UserError
from mmgen.evaluation.fidelity.frechet import frechet_distance, moments


def correlated(count: int, dimensions: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dimensions, dimensions))
    return (rng.normal(size=(count, dimensions)) @ mixing + shift).astype(np.float32)


@pytest.mark.parametrize("count", [30, 400])  # below and above the 64 dimensions
def test_a_set_is_at_no_distance_from_itself(count: int) -> None:
    a = correlated(count, 64, 0, shift=1000.0)
    assert 0 <= frechet_distance(a, a) < 1e-8 * a.var(0).sum()
    assert 0 <= frechet_distance(a, a[::-1]) < 1e-8 * a.var(0).sum()


def test_a_known_answer() -> None:
    a = np.random.default_rng(0).normal(size=(500, 3))
    a = np.linalg.solve(np.linalg.cholesky(np.cov(a.T)), (a - a.mean(0)).T).T  # mean 0 and covariance 1
    # |shift of the mean|^2 + sum of squared differences of the deviations
    assert frechet_distance(a, a * [1, 2, 5] + [3, 0, 0]) == pytest.approx(9 + 0 + 1 + 16)


@pytest.mark.parametrize(("n", "m"), [(300, 200), (300, 20), (15, 40)])
def test_it_is_that_of_a_matrix_square_root(n: int, m: int) -> None:
    a, b = correlated(n, 24, 0).astype(np.float64), correlated(m, 24, 1, shift=0.3).astype(np.float64)
    sa, sb = np.cov(a.T), np.cov(b.T)
    root = sqrtm(sa @ sb).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(sa + sb - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_it_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class AsItIs(nn.Module):
        num_features = 24

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).double()

    peer = FrechetInceptionDistance(AsItIs(), input_img_size=(1, 4, 6)).set_dtype(torch.float64)
    sets = [
        np.clip(x * 8 + 128, 0, 255).astype(np.uint8) for x in (correlated(300, 24, 0), correlated(200, 24, 1, 0.5))
    ]
    for pictures, real in zip(sets, (True, False), strict=True):
        peer.update(torch.from_numpy(pictures).view(-1, 1, 4, 6), real)
    ours = frechet_distance(*(pictures.astype(np.float32) for pictures in sets))
    assert ours == pytest.approx(float(peer.compute()), rel=1e-6)


def test_it_grows_with_a_shift_and_with_noise() -> None:
    a, b = correlated(400, 16, 0), correlated(400, 16, 1)
    noise = np.random.default_rng(2).normal(size=b.shape)
    for steps in ([b + s for s in (0, 0.5, 1, 3)], [b + s * noise for s in (0, 2, 4, 8)]):
        distances = [frechet_distance(a, step) for step in steps]
        assert all(near < far for near, far in pairwise(distances)), distances


def test_few_samples_bias_it_upwards() -> None:
    distances = [frechet_distance(correlated(n, 32, 0), correlated(n, 32, 1)) for n in (20, 100, 500, 2500)]
    assert all(few > 1.5 * many for few, many in pairwise(distances)), distances


def test_constant_features_are_no_trouble() -> None:
    constant = np.full((50, 4), 7.0, np.float32)
    assert frechet_distance(constant, constant) == 0.0
    assert frechet_distance(constant, constant + 2) == pytest.approx(16.0)


def test_moments_in_parts_are_those_of_the_whole() -> None:
    a = correlated(1000, 8, 0, shift=5000.0)
    for chunk in (7, 256, 5000):
        mean, covariance = moments(a, chunk)
        np.testing.assert_allclose(mean, a.mean(0, dtype=np.float64), rtol=1e-12)
        np.testing.assert_allclose(covariance, np.cov(a.T.astype(np.float64)), rtol=1e-9, atol=1e-9)


def test_one_sample_is_too_few() -> None:
    with pytest.raises(UserError, match="at least 2 samples on either side, got 5 and 1"):
        frechet_distance(np.zeros((5, 3)), np.zeros((1, 3)))
