"""The Vision Transformer that a classifier is tuned from: ImageNet's, or one pretrained on the images themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality
from mmgen.models.timm_bridge import load_vit
from mmgen.names import OWN_BACKBONE
from mmgen.training.loop import LoopConfig
from mmgen.training.mae import MAEConfig, train_mae
from mmgen.training.run import Run


@dataclass(frozen=True)
class BackboneConfig:
    """Size and pretraining of an own backbone: the encoder of a masked autoencoder of one modality.

    Attributes:
        patch: side of a token in pixels.
        dim, depth, heads: width, layers and attention heads of the encoder.
        decoder_dim, decoder_depth, decoder_heads: the same of the decoder, which is dropped.
        updates, batch_size, lr: of pretraining; AdamW, three quarters of the patches hidden.
    """

    patch: int = 8
    dim: int = 192
    depth: int = 6
    heads: int = 6
    decoder_dim: int = 96
    decoder_depth: int = 2
    decoder_heads: int = 4
    updates: int = 1500
    batch_size: int = 64
    lr: float = 1e-3


def make_backbone(
    name: str,
    weights: Path | None,
    modality: Modality,
    train: Samples,
    validation: Samples | None,
    config: BackboneConfig,
    run: Run,
) -> VisionTransformer:
    """A pretrained ViT without a classifier.

    Args:
        name: :data:`mmgen.names.OWN_BACKBONE`, or one of timm's model names.
        weights: file of the named model's weights; without it they come from the hub.
        modality: of the images.
        train, validation: images to pretrain an own backbone on.
        config: size and pretraining of an own backbone.
        run: that of the pretraining.

    Raises:
        UserError: weights that cannot be had or are not those of the model.
    """
    if name != OWN_BACKBONE:
        return load_vit(name, weights)
    if weights is not None:
        raise UserError(f"--backbone-weights {weights} belongs to a model; name it too, e.g. vit_base_patch16_224.")
    torch.manual_seed(run.seed)
    model = CrossModalMAE(
        [modality],
        dim=config.dim,
        depth=config.depth,
        heads=config.heads,
        decoder_dim=config.decoder_dim,
        decoder_depth=config.decoder_depth,
        decoder_heads=config.decoder_heads,
        labels=train.label_names,
    )
    splits = {"train": {modality.name: train}, "val": {} if validation is None else {modality.name: validation}}
    learning = MAEConfig(batch_size=min(config.batch_size, len(train)), lr=config.lr)
    trained = train_mae(model, splits, learning, LoopConfig(epochs=10), run, updates=config.updates)
    return trained.cpu().to_timm(modality.name)
