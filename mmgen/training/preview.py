"""Small pictures of reconstructions and draws, without a plotting library."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmgen.models.attention_gan import AttentionGenerator
from mmgen.models.class_prior import ClassPrior
from mmgen.models.cross_modal_mae import CrossModalMAE, random_masking
from mmgen.models.medsynth import RealImages
from mmgen.models.modality import Modality

# Where the input images of MedSynth's generator come from.
Prior = ClassPrior | RealImages


@torch.no_grad()
def reconstruction_grid(
    model: CrossModalMAE, batch: dict[str, Tensor], mask_ratio: float, seed: int
) -> dict[str, np.ndarray]:
    """A uint8 picture (H, W) or (H, W, 3) a modality: a row a sample, columns original, visible part, full decode."""
    size = len(next(iter(batch.values())))
    noise = model.noise(size, torch.Generator().manual_seed(seed))
    decoded = model.reconstruct(batch, mask_ratio, noise)
    grids = {}
    for name, modality in model.modalities.items():
        original = batch[name].float()
        columns = [original, hide(modality, original, noise[name].to(original.device), mask_ratio), decoded[name]]
        low, high = value_limits(modality, original)
        rows = [
            np.concatenate([to_picture(column[i], modality, low, high) for column in columns], axis=1)
            for i in range(size)
        ]
        grids[name] = np.concatenate(rows, axis=0)
    return grids


def hide(modality: Modality, x: Tensor, noise: Tensor, mask_ratio: float) -> Tensor:
    """(B, C, H, W) with the masked patches replaced by NaN."""
    mask = random_masking(noise, mask_ratio).mask.unsqueeze(-1)
    return modality.unpatchify(modality.patchify(x).masked_fill(mask.bool(), torch.nan))


def value_limits(modality: Modality, x: Tensor) -> tuple[float, float]:
    """Raw values shown as black and white."""
    return modality.value_range or (float(x.min()), float(x.max()))


def to_picture(x: Tensor, modality: Modality, low: float, high: float) -> np.ndarray:
    """(C, H, W) raw -> uint8 (H, W) or (H, W, 3); NaN becomes mid grey. A log-mel has low bands at the bottom."""
    scaled = ((x.float() - low) / max(high - low, 1e-6) * 255).clamp(0, 255).nan_to_num(128.0)
    picture = scaled.round().byte().cpu().numpy()
    if picture.shape[0] == 3:
        return picture.transpose(1, 2, 0)
    return picture[0] if modality.value_range == (0.0, 255.0) else picture[0, ::-1]


def draws_grid(generator: AttentionGenerator, prior: Prior, seed: int) -> np.ndarray:
    """:func:`generation_grid` of two draws of each of the first ten classes."""
    labels = torch.arange(min(generator.config["classes"], 10)).repeat_interleave(2)
    x = prior.sample(labels, torch.Generator().manual_seed(seed))
    return generation_grid(generator, x.to(next(generator.parameters()).device), labels)


@torch.no_grad()
def generation_grid(generator: AttentionGenerator, x: Tensor, labels: Tensor) -> np.ndarray:
    """A uint8 picture (H, W, 3): a row an image, columns input x, mask a, generated g, synthetic s."""
    generated = generator(x, labels.to(x.device))
    colour = (3, *x.shape[2:])
    columns = [x, 2.0 * generated.a - 1.0, generated.g, generated.s]
    rows = torch.cat([column.float().expand(-1, *colour) for column in columns], dim=3)
    picture = torch.cat(list(rows), dim=1).permute(1, 2, 0)
    return ((picture + 1.0) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
