"""What a condensation leaves, whatever the method: a model that gives labelled images, made to be saved and sent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from mmgen.errors import UserError

# Images are made in whole batches of this many of one class whatever is asked for, so that the first ten of fifty are
# the ten that would be made alone, to the bit.
BATCH = 16

Origin = Literal["class", "noise", "stored", "real"]


class LabelledImages(NamedTuple):
    """Images of a condensed set, class after class.

    Attributes:
        images: uint8 (N, C, H, W), 0..255, on the CPU.
        labels: (N,) int64, index into ``class_names``.
        class_names: names of the classes.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


class CondensedModel(nn.Module, PyTorchModelHubMixin, library_name="mmgen"):
    """Base of what is kept of a condensed image set.

    ``save_pretrained(folder)`` writes ``config.json``, parameters of the constructor, and ``model.safetensors``;
    ``from_pretrained`` reads them.

    Attributes:
        method: the method that made it.
        class_names: names of the labels.
        shape: (C, H, W) of one image.
        origin: what its images are made from: "class", statistics of classes; "noise", random numbers; "stored", images
            or latents in its file that were real images, began as such or were fitted to one each; "real", real images
            that whoever runs it must hold.
        most_per_class: images of a class that there are; None: any number can be made.
    """

    method: str
    class_names: tuple[str, ...]
    origin: Origin
    most_per_class: int | None = None

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""

    @property
    def may_hold_real_pixels(self) -> bool:
        """Whether its images may be real ones in part or as a whole."""
        return self.origin in ("stored", "real")

    def available(self, label: int) -> int | None:
        """Images of a class that there are; None: any number."""
        return self.most_per_class

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Parameters of the constructor that make a model of the same form, as in ``config.json``."""

    def sample(self, images_per_class: int, seed: int = 0) -> LabelledImages:
        """So many images of every class.

        The same seed gives the same bytes on the same kind of machine; more images a class begin with the same ones.

        Raises:
            UserError: no positive number, more images than there are, a negative seed, or a model that needs real
                images.
        """
        count = images_per_class
        parts = [(label, x) for label in range(len(self.class_names)) for x in self.batches(label, range(count), seed)]
        labels = [torch.full((len(x),), label) for label, x in parts]
        return LabelledImages(torch.cat([x for _, x in parts]), torch.cat(labels), self.class_names)

    @torch.no_grad()
    def batches(self, label: int, indices: range, seed: int = 0) -> Iterator[Tensor]:
        """Images number ``indices`` of a class, uint8 (B, C, H, W) at a time on the CPU; see :meth:`sample`."""
        if not len(indices) or seed < 0:
            raise UserError(f"At least 1 image a class is made, from a seed of 0 or more, not {len(indices)}, {seed}.")
        if self.most_per_class is not None and indices.stop > self.most_per_class:
            raise UserError(
                f"There are {self.most_per_class} images a class, not {indices.stop}; condense again with more."
            )
        for batch in range(indices.start // BATCH, (indices.stop - 1) // BATCH + 1):
            here = slice(max(indices.start - batch * BATCH, 0), min(indices.stop - batch * BATCH, BATCH))
            yield self.make(label, batch, seed)[here]

    @abstractmethod
    def make(self, label: int, batch: int, seed: int) -> Tensor:
        """Images number ``16 * batch`` on of a class, uint8 (16, C, H, W), on the CPU."""


def to_bytes(images: Tensor) -> Tensor:
    """[-1, 1] -> uint8 0..255."""
    return ((images.float() + 1.0) * 127.5).round().clamp(0, 255).byte()


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers, by a rule that stays: 63 bits of a multiplicative hash."""
    value = 0
    for number in numbers:
        value = ((value ^ (number + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9) % 2**64
        value ^= value >> 31
    return value >> 1
