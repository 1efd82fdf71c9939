"""The generator that the condensation method "mae" shares: a denoising masked autoencoder of one modality that draws
labelled images, made to be saved and sent."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.classifiers import ConvNet
from mmgen.models.condensed import BATCH, CondensedModel
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.generative import Sampling
from mmgen.models.images import check_images
from mmgen.models.modality import Modality
from mmgen.models.seeds import torch_stream
from mmgen.models.teacher import Teacher
from mmgen.names import IMAGE

# Of a model's configuration, what its generator says itself.
_SAID = ("labels", "preprocessing")


class MAEGenerator(CondensedModel):
    """Draws images of a class from noise with a :class:`DenoisingMAE`, any number of them. It holds no image.

    Args:
        image_size: side of the square images in pixels, a multiple of 16 from 32 to 256.
        channels: 1 (grey) or 3 (RGB).
        class_names: names of the labels.
        mae: arguments of the autoencoder but for its labels, as in its ``config``.
        guidance, steps: how images are drawn, see :class:`Sampling`.
        teacher_width: channels of the :class:`ConvNet` that it carries as :attr:`teacher`; 0: it carries none.

    Raises:
        UserError: sizes that are not offered, or an autoencoder of something else than such images.
    """

    kind = "mae_generator"
    method = "mae"
    origin = "noise"

    def __init__(
        self,
        image_size: int,
        channels: int,
        class_names: Sequence[str],
        mae: Mapping[str, Any],
        guidance: float = Sampling.guidance,
        steps: int = Sampling.steps,
        teacher_width: int = 0,
    ) -> None:
        super().__init__()
        check_images(image_size, channels)
        self.class_names, self.sampling = tuple(class_names), Sampling(steps, guidance)
        self.config = {"image_size": image_size, "channels": channels, "class_names": list(class_names)}
        self.mae = DenoisingMAE(**mae, labels=class_names)
        form = {key: value for key, value in self.mae.config.items() if key not in _SAID}
        self.config |= {"method": self.method, "mae": form, "guidance": guidance, "steps": steps}
        self.config |= {"teacher_width": teacher_width}
        self.classifier = ConvNet(self.shape, len(class_names), teacher_width) if teacher_width else None
        shapes = {name: modality.shape for name, modality in self.mae.modalities.items()}
        if shapes != {IMAGE: self.shape}:
            raise UserError(f"A generator of images of {self.shape} needs an autoencoder of such, not of {shapes}.")

    @classmethod
    def build(cls, mae: DenoisingMAE, sampling: Sampling, classifier: ConvNet | None = None) -> Self:
        """A generator with the weights of a trained autoencoder of images, and of a classifier of such that it is to
        carry; both are copied."""
        (modality,) = mae.modalities.values()
        form = {key: value for key, value in mae.config.items() if key not in _SAID}
        width = 0 if classifier is None else classifier.blocks[0][0].out_channels
        about = (mae.class_names, form, sampling.guidance, sampling.steps, width)
        generator = cls(modality.shape[1], modality.shape[0], *about)
        generator.mae.load_state_dict(mae.state_dict())
        if classifier is not None:
            generator.classifier.load_state_dict(classifier.state_dict())
        return generator.eval()

    def guided(self, guidance: float) -> Self:
        """One with the same weights, shared, that draws with another guidance."""
        other = copy.copy(self)
        other.config = self.config | {"guidance": guidance}
        other.sampling = replace(self.sampling, guidance=guidance)
        return other

    @property
    def teacher(self) -> Teacher | None:
        """The classifier that it carries."""
        return (
            None if self.classifier is None else Teacher(self.classifier, self.mae.modalities[IMAGE], self.class_names)
        )

    @property
    def autoencoder(self) -> DenoisingMAE:
        """The autoencoder that draws."""
        return self.mae

    @property
    def encoders(self) -> Mapping[str, Modality]:
        """That of the images."""
        return self.mae.encoders

    def to_timm(self, name: str) -> VisionTransformer:
        """The encoder as a timm ``VisionTransformer``, see :meth:`CrossModalMAE.to_timm`."""
        return self.mae.to_timm(name)

    def make_batch(self, label: int, batch: int, seed: int) -> Tensor:
        """A batch from noise of its own."""
        self.eval()
        modality = self.mae.modalities[IMAGE]
        stream = torch_stream(seed, label, batch)
        noise = torch.randn(BATCH, modality.tokens, modality.patch_size, generator=stream)
        labels = torch.full((BATCH,), label)
        drawn = self.mae.sample(labels, self.sampling.steps, self.sampling.guidance, {IMAGE: noise})[IMAGE]
        return drawn.float().round().clamp(0, 255).byte().cpu()
