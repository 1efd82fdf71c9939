"""DCGAN (Radford et al. 2016) as a method of condensation: a conditional generator stands for the images."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Self

import torch

from mmgen.condensation.condenser import Condenser, Length
from mmgen.models.conditional_gan import ConditionalDiscriminator, ConditionalGenerator, Norm
from mmgen.names import AugmentationName
from mmgen.training.conditional_gan import ConditionalGAN, ConditionalGANConfig, train_conditional_gan
from mmgen.training.network_matching import PoolMatcher

_EPOCHS = Length(100, "epochs")


@dataclass(frozen=True)
class DCGANConfig:
    """Sizes and lengths of a DCGAN fit.

    Attributes:
        noise, width: of the generator.
        discriminator_width: of the discriminator.
        gan: how both learn.
        length: of the training.
        ema_decay: of the moving average of weights that is kept.
        augmentation: of what networks see of the images; a DCGAN has none and learns them as they are.
    """

    noise: int = 128
    width: int = 64
    discriminator_width: int = 64
    gan: ConditionalGANConfig = field(default_factory=ConditionalGANConfig)
    length: Length = _EPOCHS
    ema_decay: float = 0.999
    augmentation: AugmentationName = "none"


_FAST = ConditionalGANConfig(batch_size=32, lr=1e-3, discriminator_lr=5e-4)

PRESETS: dict[str, DCGANConfig] = {
    "quick": DCGANConfig(width=16, discriminator_width=16, gan=_FAST, length=Length(300), ema_decay=0.98),
    "small": DCGANConfig(width=32, discriminator_width=32, gan=_FAST, length=Length(900), ema_decay=0.99),
    "paper": DCGANConfig(),
}


class DCGAN(Condenser):
    """Fits a conditional DCGAN, which makes any number of images; for the arguments see :class:`Condenser`.

    DCGAN itself has no classes: here the generator is told one, and a second head of the discriminator teaches it them.
    ``validation`` and ``subjects`` make no difference.

    Attributes:
        gan: with the newest weights: the moving average of the last stage that has ended.
    """

    method = "dcgan"
    presets = PRESETS
    stages = ("gan",)
    config: DCGANConfig

    def _begin(self) -> None:
        config, train = self.config, self.train
        norm: Norm = "batch" if config.gan.loss == "bce" else "none"
        channels, side, _ = train.values.shape[1:]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.run.seed)
            self.gan = ConditionalGAN(
                ConditionalGenerator(side, channels, list(train.label_names), self.method, config.noise, config.width),
                ConditionalDiscriminator(side, channels, len(train.label_names), config.discriminator_width, norm),
            )
        self.gan.generator.start_from(self.modality.mean)

    @property
    def model(self) -> ConditionalGenerator:
        """The generator, a copy on the CPU."""
        return copy.deepcopy(self.gan.generator).cpu().eval()

    def _train(self, stage: str, length: Length, rate: float = 1.0, matcher: PoolMatcher | None = None) -> None:
        """One stage, with learning rates multiplied by ``rate``."""
        gan = self.config.gan
        learning = replace(gan, lr=rate * gan.lr, discriminator_lr=rate * gan.discriminator_lr)
        loop = length.loop(len(self.train), gan.batch_size, self.config.ema_decay)
        self.gan = train_conditional_gan(
            self.gan, self.train, self.modality, learning, loop, self.run.stage(stage), matcher
        )

    def fit(self) -> Self:
        """Generator against discriminator."""
        self._train("gan", self.config.length)
        return self
