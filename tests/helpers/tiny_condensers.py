"""The smallest settings of every method of condensation, for tests."""

from __future__ import annotations

from typing import Any

from tiny_medsynth import TINY

from mmgen.condensation.condenser import Length
from mmgen.condensation.dcgan import DCGANConfig
from mmgen.condensation.dim import DiMConfig
from mmgen.condensation.dm import DMConfig
from mmgen.condensation.it_gan import ITGANConfig
from mmgen.condensation.mae import MAEMethodConfig
from mmgen.condensation.methods import METHODS
from mmgen.condensation.subset import FeatureConfig, SubsetConfig
from mmgen.training.conditional_gan import ConditionalGANConfig
from mmgen.training.denoising import DenoisingConfig
from mmgen.training.distribution_matching import DistributionConfig
from mmgen.training.inversion import InversionConfig
from mmgen.training.network_matching import PoolMatchingConfig

_FEATURES = FeatureConfig(width=4, updates=10, batch_size=4)
_GAN = ConditionalGANConfig(batch_size=4)
_DCGAN = DCGANConfig(noise=16, width=4, gan=_GAN, length=Length(2), ema_decay=0.5)
_MATCHING = DistributionConfig(width=4, real_per_class=4)

TINY_SETTINGS: dict[str, Any] = {
    "subset": SubsetConfig(2, "herding", _FEATURES),
    "dm": DMConfig(2, updates=2, matching=_MATCHING),
    "it_gan": ITGANConfig(
        2,
        gan=_DCGAN,
        features=_FEATURES,
        inverted_per_class=4,
        inversion=InversionConfig(updates=2, together=8),
        tuning_updates=2,
        tuning=DistributionConfig("adam", 1e-3, width=4, real_per_class=4),
    ),
    "dim": DiMConfig(
        noise=16,
        width=4,
        gan=ConditionalGANConfig(loss="wgan_gp", batch_size=4),
        length=Length(2),
        matching=PoolMatchingConfig(2, 4),
        matching_length=Length(2),
        ema_decay=0.5,
    ),
    "dcgan": _DCGAN,
    # Two draws are too few to choose a set of two from.
    "mae": MAEMethodConfig(
        8, 12, 1, 1, 12, 1, 1, 4,
        DenoisingConfig(batch_size=4),
        Length(2),
        teacher=_FEATURES,
        guidances=(1.0, 2.0),
        tried=4,
        steps=2,
        choose_from=2,
    ),
    "medsynth": TINY,
}  # fmt: skip


def use_tiny_methods(patch: Any) -> None:
    """Make the preset "quick" of every method the tiny one, by a pytest.MonkeyPatch."""
    for method, settings in TINY_SETTINGS.items():
        patch.setitem(METHODS[method].presets, "quick", settings)
