"""Latents and the generator that decodes them: what IT-GAN keeps of a labelled image set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.condensed import BATCH, CondensedModel
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.generative import Origin
from mmgen.models.images import to_bytes


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
    origin: Origin = "stored"

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
        self.method, self.class_names = method, tuple(class_names)
        self.generator = ConditionalGenerator(image_size, channels, list(class_names), noise=noise, width=width)
        self.latents: Tensor
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
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.generator.shape

    @property
    def config(self) -> dict[str, Any]:
        """Parameters of the constructor."""
        return self.generator.config | {"images_per_class": self.most_per_class, "method": self.method}

    @property
    def most_per_class(self) -> int:
        """Latents of a class."""
        return self.latents.shape[1]

    def make(self, label: int, batch: int, seed: int) -> Tensor:
        """A batch of decoded latents; zeros fill up the last one."""
        self.eval()
        chosen = self.latents[label, batch * BATCH : (batch + 1) * BATCH]
        labels = torch.full((BATCH,), label, device=chosen.device)
        return to_bytes(self.generator(F.pad(chosen, (0, 0, 0, BATCH - len(chosen))), labels)).cpu()
