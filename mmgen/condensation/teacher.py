"""Pretrained networks tuned on the real training images: what matches, chooses and labels synthetic ones."""

from __future__ import annotations

from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ViTClassifier, build_classifier
from mmgen.models.modality import Modality
from mmgen.models.timm_bridge import load_vit
from mmgen.names import OWN_BACKBONE, AugmentationName
from mmgen.training.classifier import LEARNING_RATES, ClassifierConfig, train_classifier
from mmgen.training.run import Run


def check_backbone(spec: str, weights: Path | None) -> None:
    """Raise UserError for a file of weights that is not there, or that belongs to no model."""
    name, _, file = spec.partition("@")
    path = Path(file) if file else weights
    if path is not None and not path.is_file():
        raise UserError(f"There is no file {path} of weights; correct --{'backbone' if file else 'backbone-weights'}.")
    if path is not None and name == OWN_BACKBONE:
        raise UserError(f"--backbone-weights {path} belongs to a model; name it too, e.g. vit_base_patch16_224.")


def pretrained_backbone(spec: str, weights: Path | None = None) -> VisionTransformer | None:
    """The pretrained ViT that ``--backbone`` names: a timm name, with the hub's weights or those of a file, which may
    also follow the name, ``NAME@FILE``; None for :data:`OWN_BACKBONE`.

    Raises:
        UserError: as :func:`load_vit`.
    """
    if spec == OWN_BACKBONE:
        return None
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
