"""The encoder of a masked autoencoder of the images that are condensed, where no pretrained network is named."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer

from mmgen.data.samples import Samples
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality
from mmgen.training.loop import LoopConfig
from mmgen.training.mae import MAEConfig, train_mae
from mmgen.training.run import Run

# Settings that are arguments of its model.
_FORM = ("dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads")


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


def own_backbone(
    sizes: BackboneConfig, modality: Modality, train: Samples, validation: Samples | None, run: Run
) -> VisionTransformer:
    """Pretrained on images without their labels; see :meth:`Loop.train` for what is raised."""
    torch.manual_seed(run.seed)
    form = {key: value for key, value in vars(sizes).items() if key in _FORM}
    model = CrossModalMAE([modality], **form, labels=train.label_names)
    name = modality.name
    splits = {"train": {name: train}, "val": {} if validation is None else {name: validation}}
    learning = MAEConfig(batch_size=min(sizes.batch_size, len(train)), lr=sizes.lr)
    return train_mae(model, splits, learning, LoopConfig(epochs=10), run, updates=sizes.updates).cpu().to_timm(name)
