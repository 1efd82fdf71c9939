"""DiM (Wang et al. 2023): a conditional generator whose images random classifiers see as they see real ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from mmgen.condensation.condenser import Length
from mmgen.condensation.dcgan import DCGAN, DCGANConfig
from mmgen.training.conditional_gan import ConditionalGANConfig
from mmgen.training.network_matching import PoolMatcher, PoolMatchingConfig

_GAN = ConditionalGANConfig("wgan_gp", 64, 1e-4, 1e-4, (0.0, 0.9))
_EPOCHS, _MATCHING = Length(150, "epochs"), Length(100, "epochs")


@dataclass(frozen=True)
class DiMConfig(DCGANConfig):
    """Sizes and lengths of a DiM fit, beside those of a :class:`DCGANConfig`; its ``length`` is the first stage's.

    Attributes:
        matching: how its images are compared through networks; the augmentation is the one given here.
        matching_length: of the second stage; every epoch of its loop has a network of its own.
        matching_rate: learning rates in the second stage, as a share of those in the first.
    """

    gan: ConditionalGANConfig = _GAN
    length: Length = _EPOCHS
    matching: PoolMatchingConfig = field(default_factory=PoolMatchingConfig)
    matching_length: Length = _MATCHING
    matching_rate: float = 0.05


# In as few updates as a CPU makes, the published learning rates give noise. Faster ones do with 32 pixels; with 64 the
# critic diverges sooner, and Adam needs a longer memory than published (phantom lesions, 240 and 700 updates).
_QUICK = replace(_GAN, batch_size=32, lr=1e-3, discriminator_lr=2e-3)
_SMALL = replace(_GAN, batch_size=32, lr=2.5e-4, discriminator_lr=6e-4, betas=(0.5, 0.99), class_weight=3.0)

PRESETS: dict[str, DiMConfig] = {
    "quick": DiMConfig(
        width=16,
        discriminator_width=32,
        gan=_QUICK,
        length=Length(240),
        matching=PoolMatchingConfig(2, 8),
        matching_length=Length(40),
        ema_decay=0.98,
    ),
    "small": DiMConfig(
        width=16,
        discriminator_width=24,
        gan=_SMALL,
        length=Length(800),
        matching=PoolMatchingConfig(4, 8),
        matching_length=Length(80),
        ema_decay=0.99,
    ),
    "paper": DiMConfig(),
}


class DiM(DCGAN):
    """Fits a conditional WGAN-GP with a class head, then goes on with random networks to match.

    For the arguments see :class:`DCGAN`.
    """

    method = "dim"
    presets = PRESETS
    stages = ("gan", "matching")
    config: DiMConfig

    def fit(self) -> Self:
        """Both stages."""
        config = self.config
        self._train("gan", config.length)
        learning = replace(config.matching, augmentation=config.augmentation)
        matcher = PoolMatcher(learning, self.modality.shape, len(self.train.label_names), self.run)
        self._train("matching", config.matching_length, config.matching_rate, matcher)
        return self
