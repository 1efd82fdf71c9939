"""What MedSynth's generator starts from in place of real images: it draws images of a class, and is saved and sent with
the generator."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from mmgen.models.condensed import BATCH
from mmgen.models.generative import GenerativeModel, Origin
from mmgen.models.seeds import torch_stream
from mmgen.models.teacher import Teacher
from mmgen.names import InputPrior


class Prior(nn.Module):
    """Base of all priors.

    Attributes:
        kind: what it is called.
        origin: of images that are made from its draws, see :class:`GenerativeModel`.
        config: arguments of its constructor.
    """

    kind: ClassVar[InputPrior]
    origin: ClassVar[Origin]
    config: dict[str, Any]

    @abstractmethod
    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Images of the classes ``labels`` (B,), float32 (B, C, H, W) in [-1, 1], on the module's device.

        ``generator`` lives on the CPU; the images are a function of its state.
        """

    @abstractmethod
    def conceal(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """What a generator learns to restore these images from, to know what to make of a draw: (B, C, H, W) in [-1, 1]
        -> the same."""

    def batch(self, label: int, number: int, seed: int) -> Tensor:
        """The 16 draws that images number ``16 * number`` on of a class are made from, (16, C, H, W) in [-1, 1]."""
        return self.sample(torch.full((BATCH,), label), torch_stream(seed, label, number))

    @property
    def identity(self) -> dict[str, Any]:
        """What a training that starts from it depends on."""
        return self.config

    def kept(self) -> Self:
        """A copy to be saved with the generator."""
        return copy.deepcopy(self)

    @property
    def autoencoder(self) -> GenerativeModel | None:
        """The masked autoencoder that it draws with; None where there is none."""
        return None

    @property
    def teacher(self) -> Teacher | None:
        """A classifier trained on the real images that it carries; None where it carries none."""
        return None
