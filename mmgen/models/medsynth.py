"""The generator that MedSynth shares: attention-based generator and prior in one, made to be saved and sent; and
the real images that it may start from in place of a prior."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.errors import UserError, first_few
from mmgen.models.attention_gan import AttentionGenerator
from mmgen.models.class_prior import ClassPrior
from mmgen.models.condensed import BATCH, CondensedModel, LabelledImages
from mmgen.models.drawn_prior import DrawnPrior
from mmgen.models.generative import GenerativeModel, Origin
from mmgen.models.images import to_bytes, to_unit_range
from mmgen.models.prior import Prior
from mmgen.models.teacher import Teacher
from mmgen.names import InputPrior

_PRIORS: dict[str, type[Prior]] = {prior.kind: prior for prior in (ClassPrior, DrawnPrior)}


class ImageArray(Protocol):
    """Images (N, C, H, W) of bytes that are read when they are indexed."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n,) int64 -> (n, C, H, W) uint8."""
        ...


class RealImages(nn.Module):
    """Draws from the real images themselves, as the paper has it: only who holds the data can run it.

    The images are no part of the state dict, so nothing of them is saved with a model.

    Args:
        images: (N, C, H, W), float in [-1, 1], or uint8 for 0..255; or an array of uint8 that is read when integers
            index it, so that not all images need to be in memory.
        labels: classes (N,).
        device: where sampled images go. None: the tensor's own device, the CPU for an array.

    Raises:
        UserError: another number of labels than of images.
    """

    def __init__(self, images: Tensor | ImageArray, labels: Tensor, device: torch.device | str | None = None) -> None:
        super().__init__()
        if len(images) != len(labels):
            raise UserError(f"There are {len(labels)} labels for {len(images)} images; give one for every image.")
        self._images = images
        self._device = device or (images.device if isinstance(images, Tensor) else "cpu")
        self._rows = labels.cpu().argsort(stable=True)
        self._counts = torch.bincount(labels.cpu())
        self._starts = self._counts.cumsum(0) - self._counts

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """A random image of each class in ``labels`` (B,), float32 (B, C, H, W) in [-1, 1], on ``device``.

        ``generator`` lives on the CPU; the choice is a function of its state.

        Raises:
            UserError: a class without images, or an array that holds no bytes.
        """
        labels = labels.cpu()
        known = set(self._counts.nonzero().flatten().tolist())
        if missing := sorted(set(labels.tolist()) - known):
            raise UserError(f"There is no real image of class {first_few(missing)} to draw; there are {sorted(known)}.")
        places = torch.rand(len(labels), generator=generator, dtype=torch.float64)
        rows = self._rows[self._starts[labels] + (places * self._counts[labels]).long()]
        if isinstance(self._images, Tensor):
            return to_unit_range(self._images[rows.to(self._images.device)].to(self._device))
        images = self._images[rows.numpy()]
        if images.dtype != np.uint8:  # log-mel values, for example, would be no images
            raise UserError(f"Real images that are read from an array must be uint8, not {images.dtype}.")
        return to_unit_range(torch.from_numpy(images).to(self._device))


class MedSynthGenerator(CondensedModel):
    """Makes labelled images of its classes, any number of them.

    With ``input_prior="class"`` it starts from draws of a :class:`ClassPrior` that is saved with it, with "mae" from
    those of a :class:`DrawnPrior`, so that a receiver needs no real image (:meth:`sample`). With "real", the MedSynth
    paper as printed, it starts from real images and is of use only to those who hold some (:meth:`condense`); what it
    makes may hold pixels of them.

    Args:
        image_size: side of the square images in pixels, a multiple of 16 from 32 to 256.
        channels: 1 (grey) or 3 (RGB).
        class_names: names of the labels.
        width, blocks: see :class:`AttentionGenerator`.
        input_prior: what generation starts from.
        prior: configuration of the class prior or of the :class:`DrawnPrior`, beyond sizes and names.

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
        if input_prior not in get_args(InputPrior):
            raise UserError(f"The input prior is one of {get_args(InputPrior)}, not {input_prior!r}.")
        self.class_names = tuple(class_names)
        self.generator = AttentionGenerator(image_size, channels, len(class_names), width, blocks)
        sizes = {"image_size": image_size, "channels": channels, "class_names": list(class_names)}
        self.prior = None if input_prior == "real" else _PRIORS[input_prior](**sizes, **(prior or {}))

    @classmethod
    def build(cls, generator: AttentionGenerator, class_names: Sequence[str], prior: Prior | None) -> MedSynthGenerator:
        """One of these parts themselves; without a prior it starts from real images."""
        sizes = {key: value for key, value in generator.config.items() if key != "classes"}
        model = cls(class_names=list(class_names), input_prior="real", **sizes)
        model.generator, model.prior = generator, prior
        return model.eval()

    @property
    def config(self) -> dict[str, Any]:
        """Parameters of the constructor; the prior's sizes and names are those of the whole."""
        config = {key: value for key, value in self.generator.config.items() if key != "classes"}
        config |= {"class_names": list(self.class_names), "input_prior": "real", "prior": None}
        if self.prior is not None:
            own = {key: value for key, value in self.prior.config.items() if key not in config}
            config |= {"input_prior": self.prior.kind, "prior": own}
        return config

    @property
    def origin(self) -> Origin:
        """That of its prior's draws, or real samples."""
        return "real" if self.prior is None else self.prior.origin

    @property
    def autoencoder(self) -> GenerativeModel | None:
        """That of its prior, if there is one."""
        return None if self.prior is None else self.prior.autoencoder

    @property
    def teacher(self) -> Teacher | None:
        """That of its prior, if it carries one."""
        return None if self.prior is None else self.prior.teacher

    def batches(self, label: int, indices: range, seed: int = 0) -> Iterator[Tensor]:
        """Images number ``indices`` of a class, uint8 (B, C, H, W) at a time; see :meth:`sample`."""
        if self.prior is None:
            raise UserError(
                "This generator starts from real images (input_prior='real'); "
                "call condense(images, labels), or train one with another prior."
            )
        return super().batches(label, indices, seed)

    def make_batch(self, label: int, batch: int, seed: int) -> Tensor:
        """A batch from draws of the prior."""
        return self._restore(self.prior.batch(label, batch, seed), torch.full((BATCH,), label))

    @torch.no_grad()
    def condense(self, images: Tensor, labels: Tensor) -> LabelledImages:
        """A synthetic image from every real one; for a generator with ``input_prior="real"``.

        Args:
            images: (N, C, H, W), uint8 0..255 or float in [-1, 1].
            labels: (N,) classes, 0 to K - 1.

        Raises:
            UserError: images of another shape, labels out of range, or a generator that has another prior.
        """
        if self.prior is not None:
            raise UserError("This generator starts from its own prior and needs no real images; call sample(...).")
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape:
            hint = "; convert grey to RGB first" if images.ndim == 4 and images.shape[1] < self.shape[0] else ""
            raise UserError(f"This generator takes images (N, {self.shape}), not {(*images.shape,)}{hint}.")
        if len(images) != len(labels) or not len(images):
            raise UserError(f"There are {len(labels)} labels for {len(images)} images; give one for every image.")
        if unknown := sorted(set(labels.tolist()) - set(range(len(self.class_names)))):
            raise UserError(f"Labels are 0 to {len(self.class_names) - 1}, not {first_few(unknown)}.")
        pairs = zip(images.split(BATCH), labels.split(BATCH), strict=True)
        synthetic = torch.cat([self._restore(to_unit_range(x), y) for x, y in pairs])
        return LabelledImages(synthetic, labels.cpu(), self.class_names)

    def _restore(self, x: Tensor, labels: Tensor) -> Tensor:
        """Input images in [-1, 1] -> uint8."""
        self.eval()  # in training mode spectral normalisation changes a little with every call
        device = self.generator.to_image.bias.device
        return to_bytes(self.generator(x.to(device), labels.to(device)).s).cpu()
