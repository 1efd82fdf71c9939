"""A network trained on the real training images, asked what it thinks of synthetic ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ViTClassifier, build_classifier
from mmgen.models.modality import Modality
from mmgen.models.timm_bridge import load_vit
from mmgen.names import OWN_BACKBONE, AugmentationName
from mmgen.training.classifier import LEARNING_RATES, ClassifierConfig, train_classifier
from mmgen.training.run import Run


@dataclass(frozen=True)
class Teacher:
    """A trained classifier and the form of its input.

    Attributes:
        network: (B, C, H, W) of normalised images -> logits (B, classes), with features by ``embed``.
        modality: normalises images in raw units.
    """

    network: nn.Module
    modality: Modality

    @torch.no_grad()
    def judge(self, images: Tensor, batch_size: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities (N, classes) and features (N, F), float32, of uint8 images (N, C, H, W)."""
        network, device = self.network.eval(), next(self.network.parameters()).device
        probabilities, features = [], []
        for part in images.split(batch_size):
            x = self.modality.normalise(part.to(device))
            probabilities.append(network(x).float().softmax(-1).cpu())
            features.append(network.embed(x).float().flatten(1).cpu())
        return torch.cat(probabilities).numpy(), torch.cat(features).numpy()


def check_backbone(spec: str, weights: Path | None) -> None:
    """Raise UserError for a file of weights that is not there, or that belongs to no model."""
    name, _, file = spec.partition("@")
    path = Path(file) if file else weights
    if path is not None and not path.is_file():
        raise UserError(f"There is no file {path} of weights; correct --{'backbone' if file else 'backbone-weights'}.")
    if path is not None and name == OWN_BACKBONE:
        raise UserError(f"--backbone-weights {path} belongs to a model; name it too, e.g. vit_base_patch16_224.")


def named_backbone(spec: str, weights: Path | None = None) -> VisionTransformer:
    """The pretrained ViT that ``--backbone`` names: a timm name, with the hub's weights or those of a file, which may
    also follow the name, ``NAME@FILE``; raises UserError as :func:`load_vit`."""
    name, _, file = spec.partition("@")
    return load_vit(name, Path(file) if file else weights)


def tuned_vit(
    backbone: VisionTransformer,
    modality: Modality,
    train: Samples,
    updates: int,
    augmentation: AugmentationName,
    run: Run,
    validation: Samples | None = None,
) -> ViTClassifier:
    """A backbone with LoRA tuned on labelled images, its changes merged, frozen; see :func:`train_classifier`."""
    learning = ClassifierConfig(
        updates=updates, lr=LEARNING_RATES["vit_lora"], balance="sampling", augmentation=augmentation
    )
    torch.manual_seed(run.seed)
    model = build_classifier("vit_lora", train.values.shape[1:], len(train.label_names), backbone)
    return train_classifier(model, modality, train, learning, run, validation).merged()
