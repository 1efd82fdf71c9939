"""The generator that MedSynth shares: attention-based generator and class prior in one, made to be saved and sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from mmgen.errors import UserError, first_few
from mmgen.models.attention_gan import AttentionGenerator
from mmgen.models.class_prior import ClassPrior
from mmgen.models.real_images import to_unit_range

InputPrior = Literal["class", "real"]

# Images are made in whole batches of this many of one class whatever is asked for, so that the first ten of fifty are
# the ten that would be made alone, to the bit.
BATCH = 16


class LabelledImages(NamedTuple):
    """Synthetic images, class after class.

    Attributes:
        images: uint8 (N, C, H, W), 0..255, on the CPU.
        labels: (N,) int64, index into ``class_names``.
        class_names: names of the classes.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


class MedSynthGenerator(nn.Module, PyTorchModelHubMixin, library_name="mmgen"):
    """Makes labelled images of its classes, any number of them.

    With ``input_prior="class"`` it starts from draws of a :class:`ClassPrior` that is saved with it, so that a receiver
    needs no real image (:meth:`sample`). With ``input_prior="real"``, the MedSynth paper as printed, it starts from
    real images and is of use only to those who hold some (:meth:`condense`); what it makes may hold pixels of them.

    ``save_pretrained(folder)`` writes ``config.json`` and ``model.safetensors``, ``from_pretrained`` reads them.

    Args:
        image_size: side of the square images in pixels, a multiple of 16 from 32 to 256.
        channels: 1 (grey) or 3 (RGB).
        class_names: names of the labels.
        width, blocks: see :class:`AttentionGenerator`.
        input_prior: what generation starts from.
        prior: configuration of the class prior, beyond sizes and names: see :class:`ClassPrior`.

    Raises:
        UserError: sizes that are not offered, or an unknown prior.
    """

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

    def sample(self, images_per_class: int, seed: int = 0) -> LabelledImages:
        """So many images of every class, without any real image.

        The same seed gives the same bytes on the same kind of machine; more images a class begin with the same ones.

        Raises:
            UserError: no positive number, a negative seed, or a generator that starts from real images.
        """
        count = images_per_class
        classes = range(len(self.class_names))
        made = [images for label in classes for images in self.batches(label, range(count), seed)]
        labels = torch.arange(len(self.class_names)).repeat_interleave(count)
        return LabelledImages(torch.cat(made), labels, self.class_names)

    @torch.no_grad()
    def batches(self, label: int, indices: range, seed: int = 0) -> Iterator[Tensor]:
        """Images number ``indices`` of a class, uint8 (B, C, H, W) at a time; see :meth:`sample`."""
        if self.prior is None:
            raise UserError(
                "This generator starts from real images (input_prior='real'); "
                "call condense(images, labels), or train one with the class prior."
            )
        if not len(indices) or seed < 0:
            raise UserError(f"At least 1 image a class is made, from a seed of 0 or more, not {len(indices)}, {seed}.")
        for batch in range(indices.start // BATCH, (indices.stop - 1) // BATCH + 1):
            chance = torch.Generator().manual_seed(_seed(seed, label, batch))
            labels = torch.full((BATCH,), label)
            x = self.prior.sample(labels, chance)
            here = slice(max(indices.start - batch * BATCH, 0), min(indices.stop - batch * BATCH, BATCH))
            yield self._make(x, labels)[here]

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


def to_bytes(images: Tensor) -> Tensor:
    """[-1, 1] -> uint8 0..255."""
    return ((images.float() + 1.0) * 127.5).round().clamp(0, 255).byte()


def _seed(*numbers: int) -> int:
    """One seed from several numbers, by a rule that stays: 63 bits of a multiplicative hash."""
    value = 0
    for number in numbers:
        value = ((value ^ (number + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9) % 2**64
        value ^= value >> 31
    return value >> 1
