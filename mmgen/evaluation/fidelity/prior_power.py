"""What a :class:`SpectralPrior` is told of data; see :mod:`mmgen.training.prior_power`."""

from __future__ import annotations

from mmgen.training.prior_power import calm_share, ring_power

__all__ = ["calm_share", "ring_power"]
