"""Draws of a denoising masked autoencoder as the images that MedSynth's generator starts from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.images import to_unit_range
from mmgen.models.mae_generator import MAEGenerator
from mmgen.models.prior import Prior
from mmgen.models.teacher import Teacher


class DrawnPrior(Prior):
    """New draws for every image that is kept; in training, draws from a pool, since each takes some network passes and
    a training asks for many.

    Args:
        image_size, channels, class_names, generator: see :class:`MAEGenerator`.

    Attributes:
        pool: draws of each class, uint8 (K, n, C, H, W), which are not saved; None where nothing is trained.
    """

    kind = "mae"
    origin = "noise"

    def __init__(self, image_size: int, channels: int, class_names: Sequence[str], **generator: Any) -> None:
        super().__init__()
        self.generator = MAEGenerator(image_size, channels, class_names, **generator)
        self.pool: Tensor | None = None

    @classmethod
    def build(cls, generator: MAEGenerator, pool: Tensor | None = None) -> DrawnPrior:
        """One that draws with a generator, which is not copied."""
        prior = cls(**{key: value for key, value in generator.config.items() if key != "method"})
        prior.generator, prior.pool = generator, pool
        return prior

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {key: value for key, value in self.generator.config.items() if key != "method"}

    @property
    def identity(self) -> dict[str, Any]:
        """See :attr:`Prior.identity`; with the size of the pool."""
        return self.config | {"pool": 0 if self.pool is None else self.pool.shape[1]}

    def kept(self) -> DrawnPrior:
        """See :meth:`Prior.kept`; without the pool, which only training needs."""
        return DrawnPrior.build(copy.deepcopy(self.generator)).train(self.training)

    @property
    def autoencoder(self) -> DenoisingMAE:
        """That of the generator."""
        return self.generator.autoencoder

    @property
    def teacher(self) -> Teacher | None:
        """That of the generator."""
        return self.generator.teacher

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :meth:`Prior.sample`; from the pool.

        Raises:
            RuntimeError: there is none.
        """
        if self.pool is None:
            raise RuntimeError("A prior that trains a generator needs a pool of draws.")
        rows = torch.randint(self.pool.shape[1], (len(labels),), generator=generator)
        return to_unit_range(self.pool[labels.cpu(), rows]).to(self._device)

    def conceal(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The images themselves: draws look like images, so what begins by passing on its input begins with these."""
        return images.to(self._device)

    def batch(self, label: int, number: int, seed: int) -> Tensor:
        """See :meth:`Prior.batch`; new draws."""
        return to_unit_range(self.generator.make_batch(label, number, seed)).to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.generator.parameters()).device
