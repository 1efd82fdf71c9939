"""Encoders of masked autoencoders in folders, and backbones by name, as flags name them."""

from __future__ import annotations

from pathlib import Path

from timm.models.vision_transformer import VisionTransformer

from mmgen.artifacts.models import load_model
from mmgen.errors import UserError
from mmgen.models.generative import GenerativeModel
from mmgen.models.modality import Modality
from mmgen.models.timm_bridge import load_vit


def encoder_in(features: str) -> GenerativeModel | None:
    """The model in a folder whose encoder is meant, if that is what the features are."""
    path = Path(features)
    if not any((path / name / "config.json").is_file() for name in (".", "model")):
        return None
    model = load_model(path)
    if not model.encoders:
        raise UserError(f"{features} is no masked autoencoder and has no encoder; name other --features.")
    return model


def backbone_of(spec: str, modality: Modality) -> VisionTransformer:
    """The ViT that a timm name, NAME@FILE or a folder of a masked autoencoder stands for."""
    model = encoder_in(spec)
    if model is not None:
        return encoder_of(model, modality, spec)
    name, _, file = spec.partition("@")
    return load_vit(name, Path(file) if file else None)


def encoder_of(model: GenerativeModel, modality: Modality, folder: str) -> VisionTransformer:
    """The encoder of a modality; raises UserError for a model that encodes other samples."""
    shape = model.encoders[modality.name].shape if modality.name in model.encoders else None
    if shape != modality.shape:
        raise UserError(
            f"The encoder in {folder} has {'no' if shape is None else f'{shape}'} '{modality.name}', and the synthetic "
            f"set has it in shape {modality.shape}; name other --features or another --backbone."
        )
    return model.to_timm(modality.name)
