"""Small pictures of reconstructions and draws, without a plotting library."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mmgen.data.samples import Samples
from mmgen.models.attention_gan import AttentionGenerator
from mmgen.models.cross_modal_mae import CrossModalMAE, random_masking
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.denoising_steps import starting_noise
from mmgen.models.medsynth import RealImages
from mmgen.models.modality import Modality
from mmgen.models.prior import Prior
from mmgen.training.mae_validation import tuples_around

# Where the input images of MedSynth's generator come from.
Start = Prior | RealImages


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


@torch.no_grad()
def samples_grid(
    model: DenoisingMAE, samples: Mapping[str, Samples], seed: int, steps: int = 10
) -> dict[str, np.ndarray]:
    """Pictures by name: ``NAME_from_nothing``, a row of samples a label, and where there are several modalities
    ``NAME_from_others``, a row real samples of another modality and below it what is made from them."""
    device, columns = next(model.parameters()).device, 6
    labels = torch.arange(min(len(model.class_names), 8)).repeat_interleave(columns)
    grids = {}
    for name, made in model.sample(labels.to(device), steps, gaussian=starting_noise(model, len(labels), seed)).items():
        modality = model.modalities[name]
        limits = value_limits(modality, torch.from_numpy(samples[name].at_most(64).values[:]).float())
        pictures = [to_picture(x, modality, *limits) for x in made]
        rows = [np.concatenate(pictures[i : i + columns], 1) for i in range(0, len(pictures), columns)]
        grids[f"{name}_from_nothing"] = np.concatenate(rows)
    for name in model.modalities if len(model.modalities) > 1 else ():
        rows_of = tuples_around(samples, name, seed)
        picked = np.linspace(0, len(rows_of[name]) - 1, min(columns, len(rows_of[name]))).astype(int)
        others = {n: torch.from_numpy(samples[n].values[rows_of[n][picked]]) for n in model.modalities if n != name}
        told = torch.from_numpy(samples[name].labels[picked])
        start = starting_noise(model, len(picked), seed)
        made = model.sample(told, steps, gaussian=start, inputs={n: x.to(device) for n, x in others.items()})
        shown = []
        for n in (*others, name):
            modality = model.modalities[n]
            limits = value_limits(modality, made[n].float())
            shown.append([to_picture(x, modality, *limits) for x in made[n]])
        width = max(row[0].shape[1] for row in shown)
        lines = [np.concatenate([_widened(picture, width) for picture in row], 1) for row in shown]
        grids[f"{name}_from_others"] = np.concatenate(lines)
    return grids


def _widened(picture: np.ndarray, width: int) -> np.ndarray:
    return np.pad(picture, [(0, 0), (0, width - picture.shape[1]), *[(0, 0)] * (picture.ndim - 2)])


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


def draws_grid(generator: AttentionGenerator, prior: Start, seed: int) -> np.ndarray:
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
