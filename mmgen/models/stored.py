"""Condensed sets that are fixed: images, kept or optimised, or latents and the generator that decodes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.errors import UserError, first_few
from mmgen.models.condensed import BATCH, CondensedModel
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.images import check_images, to_bytes
from mmgen.names import MethodName


class StoredImages(CondensedModel):
    """Labelled images, stored as bytes and given out in their order.

    There is one set: a seed changes nothing. A kept subset may have fewer images of a class than of another, since
    there may be no more real ones; :meth:`sample` then gives all of them.

    Args:
        image_size: side of the square images in pixels.
        channels: 1 (grey) or 3 (RGB).
        class_names: names of the labels.
        method: the method that made them, such as "subset", real images, or "dm", images optimised from real ones.
        counts: images of each class.

    Attributes:
        images: uint8 (sum of counts, C, H, W), class after class.

    Raises:
        UserError: an unknown method, or counts that do not fit it, or sizes that are not offered.
    """

    kind = "stored_images"
    origin = "stored"
    threat = "S"  # a fixed set: there is no generator to query

    def __init__(
        self, image_size: int, channels: int, class_names: Sequence[str], method: MethodName, counts: Sequence[int]
    ) -> None:
        super().__init__()
        check_images(image_size, channels)
        if method not in get_args(MethodName):
            raise UserError(f"Stored images are made by {' or '.join(get_args(MethodName))}, not by {method!r}.")
        if len(counts) != len(class_names) or min(counts, default=0) < 1:
            classes = f"Each of {len(class_names)} classes"
            raise UserError(f"{classes} needs at least 1 image; the numbers are {first_few(counts)}.")
        if method == "dm" and len(set(counts)) > 1:
            raise UserError(f"Optimised images are equally many of every class, not {first_few(counts)}.")
        self.method, self.class_names, self.counts = method, tuple(class_names), tuple(counts)
        self.most_per_class = max(counts)
        self.config = {"image_size": image_size, "channels": channels, "class_names": list(class_names)}
        self.config |= {"method": method, "counts": list(counts)}
        self._starts = np.cumsum([0, *counts]).tolist()
        self.register_buffer("images", torch.zeros(sum(counts), channels, image_size, image_size, dtype=torch.uint8))

    @classmethod
    def build(
        cls, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], method: MethodName
    ) -> StoredImages:
        """One of these images, uint8 (N, C, H, W) with labels (N,); those of a class keep their order."""
        counts = np.bincount(labels, minlength=len(class_names)).tolist()
        model = cls(images.shape[-1], images.shape[1], list(class_names), method, counts)
        model.images = torch.from_numpy(images[np.argsort(labels, kind="stable")])
        return model.eval()

    def available(self, label: int) -> int:
        """Images of a class."""
        return self.counts[label]

    def make_batch(self, label: int, batch: int, seed: int) -> Tensor:
        """Images number ``16 * batch`` on of a class: 16, or what is left of them; ``seed`` changes nothing."""
        first = self._starts[label] + BATCH * batch
        return self.images[first : min(first + BATCH, self._starts[label + 1])].cpu()


class StoredLatents(CondensedModel):
    """So many latents of every class and a class-conditional generator (IT-GAN, Zhao and Bilen 2022).

    Its images are fixed: :meth:`sample` decodes the first latents of every class, and ``seed`` changes nothing. There
    is no pixel in the file, but every latent began as the one from which the generator makes a certain real image most
    exactly, so an image may show a patient as closely as the generator can. Such a set needs an audit like one of
    pixels.

    Args:
        image_size, channels, class_names, noise, width: of the generator, see :class:`ConditionalGenerator`.
        images_per_class: latents of a class.
        method: name of the method that made it.

    Attributes:
        generator: decodes latents; in evaluation mode, so that an image does not depend on its batch.
        latents: (K, images_per_class, noise).

    Raises:
        UserError: sizes that are not offered, or no image.
    """

    kind = "stored_latents"
    origin = "stored"

    def __init__(
        self,
        image_size: int,
        channels: int,
        class_names: Sequence[str],
        images_per_class: int,
        noise: int = 128,
        width: int = 64,
        method: Literal["it_gan"] = "it_gan",
    ) -> None:
        super().__init__()
        if images_per_class < 1:
            raise UserError(f"At least 1 image a class is kept, not {images_per_class}.")
        self.method, self.class_names, self.most_per_class = method, tuple(class_names), images_per_class
        self.generator = ConditionalGenerator(image_size, channels, list(class_names), method, noise, width)
        self.register_buffer("latents", torch.zeros(len(class_names), images_per_class, noise))

    @classmethod
    def build(cls, generator: ConditionalGenerator, latents: Tensor) -> StoredLatents:
        """One of this generator itself and latents (K, images_per_class, noise)."""
        sizes = {key: value for key, value in generator.config.items() if key != "method"}
        model = cls(**sizes, images_per_class=latents.shape[1])
        model.generator = generator
        model.latents.copy_(latents)
        return model.eval()

    @property
    def config(self) -> dict[str, Any]:
        """Parameters of the constructor."""
        return self.generator.config | {"images_per_class": self.most_per_class, "method": self.method}

    def make_batch(self, label: int, batch: int, seed: int) -> Tensor:
        """A batch of decoded latents; zeros fill up the last one."""
        self.eval()
        chosen = self.latents[label, batch * BATCH : (batch + 1) * BATCH]
        labels = torch.full((BATCH,), label, device=chosen.device)
        return to_bytes(self.generator(F.pad(chosen, (0, 0, 0, BATCH - len(chosen))), labels)).cpu()
