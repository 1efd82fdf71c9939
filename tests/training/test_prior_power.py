"""What a spectral prior is told: the power of noise is everywhere, that of edges is not."""

from __future__ import annotations

import numpy as np
import pytest

from mmgen.models.modality import Modality
from mmgen.models.spectral_prior import RINGS, ring_radii
from mmgen.training.prior_power import calm_share, ring_power

IMAGE = Modality("image", (1, 48, 40), (8, 8), std=(2.0,))


def test_noise_is_everywhere_and_edges_are_not() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, 1, 48, 40))
    edges = np.zeros_like(noise)
    edges[:, :, 20:24, 18:22] = 5.0
    assert calm_share(IMAGE, noise).min() > 0.7
    shares = calm_share(IMAGE, edges + 0.01 * noise)
    fine = ring_radii(IMAGE) > 0.15
    assert shares[fine].max() < 0.2
    assert shares[0] > 0.9, "what is coarser than a part is shared by all of them"
    between = calm_share(IMAGE, edges + 0.3 * noise)[fine]
    assert (between > shares[fine]).all()


@pytest.mark.parametrize("shape", [(1, 48, 40), (3, 16, 9), (1, 5, 70)])
def test_shares_are_shares_whatever_the_sides(shape: tuple[int, int, int]) -> None:
    modality = Modality("x", shape, (1, 1))
    values = np.random.default_rng(1).normal(size=(8, *shape))
    for own in (values, np.zeros_like(values)):
        shares = calm_share(modality, own)
        assert shares.shape == (RINGS,) and np.isfinite(shares).all()
        assert (shares > 0).all() and (shares <= 1 + 1e-9).all()
        assert np.isfinite(ring_power(modality, own)).all()


def test_contrast_changes_the_power_and_not_the_share() -> None:
    values = np.random.default_rng(2).normal(size=(20, 1, 48, 40))
    values[:, :, 10:20] *= 8
    assert ring_power(IMAGE, 3 * values) == pytest.approx(9 * ring_power(IMAGE, values), rel=1e-6)
    assert calm_share(IMAGE, 3 * values) == pytest.approx(calm_share(IMAGE, values), rel=1e-3)
