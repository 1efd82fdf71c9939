"""A condensed set that is images themselves: kept real ones, or pixels that were optimised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.condensed import BATCH, CondensedModel
from mmgen.models.generative import Origin, Threat
from mmgen.models.images import check_images

StoringMethod = Literal["subset", "dm"]


class StoredImages(CondensedModel):
    """Labelled images, stored as bytes and given out in their order.

    There is one set: a seed changes nothing. A kept subset may have fewer images of a class than of another, since
    there may be no more real ones; :meth:`sample` then gives all of them.

    Args:
        image_size: side of the square images in pixels.
        channels: 1 (grey) or 3 (RGB).
        class_names: names of the labels.
        method: "subset", real images, or "dm", images optimised from real ones.
        counts: images of each class.

    Attributes:
        images: uint8 (sum of counts, C, H, W), class after class.

    Raises:
        UserError: an unknown method, or counts that do not fit it, or sizes that are not offered.
    """

    kind = "stored_images"
    origin: Origin = "stored"

    def __init__(
        self, image_size: int, channels: int, class_names: Sequence[str], method: StoringMethod, counts: Sequence[int]
    ) -> None:
        super().__init__()
        check_images(image_size, channels)
        if method not in get_args(StoringMethod):
            raise UserError(f"Stored images are of {' or '.join(get_args(StoringMethod))}, not of {method!r}.")
        if len(counts) != len(class_names) or min(counts, default=0) < 1:
            raise UserError(
                f"Each of {len(class_names)} classes needs at least 1 image; the numbers are {list(counts)}."
            )
        if method == "dm" and len(set(counts)) > 1:
            raise UserError(f"Optimised images are equally many of every class, not {list(counts)}.")
        self.method, self.class_names, self.counts = method, tuple(class_names), tuple(counts)
        self._starts = np.cumsum([0, *counts]).tolist()
        self.register_buffer("images", torch.zeros(sum(counts), channels, image_size, image_size, dtype=torch.uint8))

    @classmethod
    def build(
        cls, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], method: StoringMethod
    ) -> StoredImages:
        """One of these images, uint8 (N, C, H, W) with labels (N,); those of a class keep their order."""
        counts = np.bincount(labels, minlength=len(class_names)).tolist()
        model = cls(images.shape[-1], images.shape[1], list(class_names), method, counts)
        model.images = torch.from_numpy(images[np.argsort(labels, kind="stable")])
        return model.eval()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def config(self) -> dict[str, Any]:
        """Parameters of the constructor."""
        channels, image_size, _ = self.shape
        names = {"class_names": list(self.class_names), "method": self.method, "counts": list(self.counts)}
        return {"image_size": image_size, "channels": channels} | names

    @property
    def threat(self) -> Threat:
        """A fixed set: there is no generator to query."""
        return "S"

    @property
    def most_per_class(self) -> int:
        """Images of the largest class."""
        return max(self.counts)

    def available(self, label: int) -> int:
        """Images of a class."""
        return self.counts[label]

    def make(self, label: int, batch: int, seed: int) -> Tensor:
        """Images number ``16 * batch`` on of a class: 16, or what is left of them; ``seed`` changes nothing."""
        first = self._starts[label] + BATCH * batch
        return self.images[first : min(first + BATCH, self._starts[label + 1])].cpu()
