"""Draws of each class that MedSynth's generator is trained with when it starts from a masked autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgen.data.progress import progress_bar
from mmgen.models.condensed import BATCH
from mmgen.models.mae_generator import MAEGenerator

# Which no condensed set is drawn with.
_SEED = 0x706F6F6C


def draw_pool(generator: MAEGenerator, size: int) -> Tensor:
    """So many images of each class, uint8 (K, size, C, H, W), the same every time."""
    classes, batches = len(generator.class_names), -(-size // BATCH)
    places = [(label, batch) for label in range(classes) for batch in range(batches)]
    drawn = [generator.make_batch(*place, _SEED) for place in progress_bar(places, len(places), "drawing")]
    return torch.stack(drawn).view(classes, batches * BATCH, *drawn[0].shape[1:])[:, :size]
