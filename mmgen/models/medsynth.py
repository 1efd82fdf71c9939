"""The generator that MedSynth shares: attention-based generator and class prior in one, made to be saved and sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mmgen.errors import UserError, first_few
from mmgen.models.attention_gan import AttentionGenerator
from mmgen.models.class_prior import ClassPrior
from mmgen.models.condensed import BATCH, CondensedModel, LabelledImages
from mmgen.models.generative import Origin
from mmgen.models.images import to_bytes, to_unit_range
from mmgen.models.seeds import mixed_seed
from mmgen.names import InputPrior


class MedSynthGenerator(CondensedModel):
    """Makes labelled images of its classes, any number of them.

    With ``input_prior="class"`` it starts from draws of a :class:`ClassPrior` that is saved with it, so that a receiver
    needs no real image (:meth:`sample`). With ``input_prior="real"``, the MedSynth paper as printed, it starts from
    real images and is of use only to those who hold some (:meth:`condense`); what it makes may hold pixels of them.

    Args:
        image_size: side of the square images in pixels, a multiple of 16 from 32 to 256.
        channels: 1 (grey) or 3 (RGB).
        class_names: names of the labels.
        width, blocks: see :class:`AttentionGenerator`.
        input_prior: what generation starts from.
        prior: configuration of the class prior, beyond sizes and names: see :class:`ClassPrior`.

    Raises:
        UserError: sizes that are not offered, or an unknown prior.

    Example:
        >>> from mmgen import MedSynthGenerator
        >>> generator = MedSynthGenerator.from_pretrained("runs/isic/model")
        >>> images, labels, class_names = generator.sample(images_per_class=5, seed=0)
        >>> images.shape, images.dtype, class_names
        (torch.Size([10, 3, 32, 32]), torch.uint8, ('melanoma', 'nevus'))
    """

    kind = "medsynth"
    method = "medsynth"

    def __init__(
        self,
        image_size: int,
        channels: int,
        class_names: Sequence[str],
        width: int = 64,
        blocks: int = 6,
        input_prior: InputPrior = "class",
        prior: dict | None = None,
    ) -> None:
        super().__init__()
        if input_prior not in ("class", "real"):
            raise UserError(f"The input prior is 'class' or 'real', not {input_prior!r}.")
        self.input_prior, self.class_names = input_prior, tuple(class_names)
        self.generator = AttentionGenerator(image_size, channels, len(class_names), width, blocks)
        sizes = {"image_size": image_size, "channels": channels, "class_names": list(class_names)}
        self.prior = ClassPrior(**sizes, **(prior or {})) if input_prior == "class" else None

    @classmethod
    def build(
        cls, generator: AttentionGenerator, class_names: Sequence[str], prior: ClassPrior | None
    ) -> MedSynthGenerator:
        """One of these parts themselves; without a prior it starts from real images."""
        config = {key: value for key, value in generator.config.items() if key != "classes"}
        sizes = ("image_size", "channels", "class_names")
        own = None if prior is None else {key: value for key, value in prior.config.items() if key not in sizes}
        kind: InputPrior = "real" if prior is None else "class"
        model = cls(**config, class_names=list(class_names), input_prior=kind, prior=own)
        model.generator, model.prior = generator, prior
        return model.eval()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        size = self.generator.config["image_size"]
        return self.generator.config["channels"], size, size

    @property
    def config(self) -> dict[str, Any]:
        """Parameters of the constructor."""
        generator = {key: value for key, value in self.generator.config.items() if key != "classes"}
        prior = None
        if self.prior is not None:
            sizes = ("image_size", "channels", "class_names")
            prior = {key: value for key, value in self.prior.config.items() if key not in sizes}
        names = {"class_names": list(self.class_names), "input_prior": self.input_prior}
        return generator | names | {"prior": prior}

    @property
    def origin(self) -> Origin:
        """The input prior."""
        return self.input_prior

    def batches(self, label: int, indices: range, seed: int = 0) -> Iterator[Tensor]:
        """Images number ``indices`` of a class, uint8 (B, C, H, W) at a time; see :meth:`sample`."""
        if self.prior is None:
            raise UserError(
                "This generator starts from real images (input_prior='real'); "
                "call condense(images, labels), or train one with the class prior."
            )
        return super().batches(label, indices, seed)

    def make(self, label: int, batch: int, seed: int) -> Tensor:
        """A batch from draws of the class prior."""
        chance = torch.Generator().manual_seed(mixed_seed(seed, label, batch))
        labels = torch.full((BATCH,), label)
        return self._make(self.prior.sample(labels, chance), labels)

    @torch.no_grad()
    def condense(self, images: Tensor, labels: Tensor) -> LabelledImages:
        """A synthetic image from every real one; for a generator with ``input_prior="real"``.

        Args:
            images: (N, C, H, W), uint8 0..255 or float in [-1, 1].
            labels: (N,) classes, 0 to K - 1.

        Raises:
            UserError: images of another shape, labels out of range, or a generator that has a class prior.
        """
        if self.prior is not None:
            raise UserError("This generator starts from its class prior and needs no real images; call sample(...).")
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape:
            hint = "; convert grey to RGB first" if images.ndim == 4 and images.shape[1] < self.shape[0] else ""
            raise UserError(f"This generator takes images (N, {self.shape}), not {(*images.shape,)}{hint}.")
        if len(images) != len(labels) or not len(images):
            raise UserError(f"There are {len(labels)} labels for {len(images)} images; give one for every image.")
        unknown = sorted(set(labels.tolist()) - set(range(len(self.class_names))))
        if unknown:
            raise UserError(f"Labels are 0 to {len(self.class_names) - 1}, not {first_few(unknown)}.")
        made = [self._make(to_unit_range(x), y) for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)]
        return LabelledImages(torch.cat(made), labels.cpu(), self.class_names)

    def _make(self, x: Tensor, labels: Tensor) -> Tensor:
        """Input images in [-1, 1] -> uint8."""
        self.eval()  # in training mode spectral normalisation changes a little with every call
        device = self.generator.to_image.bias.device
        return to_bytes(self.generator(x.to(device), labels.to(device)).s).cpu()
