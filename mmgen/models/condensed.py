"""Models that condensation leaves, whatever the method: they give labelled images and are made to be saved and sent."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.generative import GenerativeModel, Request
from mmgen.models.memory import refuse_beyond_memory
from mmgen.names import IMAGE

# Images are made in whole batches of this many of one class whatever is asked for, so that the first ten of fifty are
# the ten that would be made alone, to the bit.
BATCH = 16


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


class CondensedModel(GenerativeModel):
    """Base of what is kept of a condensed image set.

    Its configuration has ``image_size`` and ``channels``.

    Attributes:
        method: the method that made it.
        most_per_class: images of a class that there are; None: any number can be made.
    """

    method: str
    most_per_class: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.config["channels"], self.config["image_size"], self.config["image_size"]

    @property
    def preprocessing(self) -> dict[str, dict[str, Any]]:
        """How image files become arrays of its size."""
        channels, size, _ = self.shape
        return {IMAGE: {"kind": IMAGE, "size": size, "channels": channels}}

    def available(self, label: int) -> int | None:
        """Images of a class that there are; None: any number."""
        return self.most_per_class

    def sample(self, images_per_class: int, seed: int = 0) -> LabelledImages:
        """So many images of every class.

        The same seed gives the same bytes on the same kind of machine; more images a class begin with the same ones.

        Raises:
            UserError: no positive number, more images than there are or than memory holds, a negative seed, or a model
                that needs real images.
        """
        count = images_per_class
        refuse_beyond_memory(count * len(self.class_names), math.prod(self.shape))
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
            yield self.make_batch(label, batch, seed)[here]

    def make(self, request: Request) -> dict[str, Tensor]:
        """Images of :meth:`batches`."""
        labels, places = np.divmod(request.indices, request.per_class)
        parts: list[Tensor] = []
        for label in np.unique(labels).tolist():
            own = places[labels == label].tolist()
            parts += self.batches(label, range(own[0], own[-1] + 1), request.seed)
        return {IMAGE: torch.cat(parts)}

    @abstractmethod
    def make_batch(self, label: int, batch: int, seed: int) -> Tensor:
        """Images number ``16 * batch`` on of a class, uint8 (16, C, H, W), on the CPU."""
