"""Variance: over samples and against the masking ratio, for diversity; within patches, as in the MMAE paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from einops import rearrange

from mmgen.data.decoding import DecodedArray
from mmgen.data.samples import Samples
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality
from mmgen.models.seeds import counted_stream
from mmgen.training.mae_validation import tuples_around


def sample_variance(modality: Modality, values: np.ndarray | DecodedArray) -> float:
    """Diversity: variance over samples of every element, averaged; (N, C, H, W) raw -> normalised units, 0 and up.

    Real training data are at most 1, since normalisation also removes what all samples share.
    """
    scale = np.asarray(modality.std, dtype=np.float64).reshape(-1, 1, 1)
    total, squares = np.zeros(modality.shape), np.zeros(modality.shape)
    for start in range(0, len(values), 256):
        part = values[start : start + 256].astype(np.float64) / scale
        total += part.sum(0)
        squares += (part**2).sum(0)
    return float(np.maximum(squares / len(values) - (total / len(values)) ** 2, 0).mean())


_PATCHED_AT_A_TIME = 32  # large pictures in float64, several times over


@torch.no_grad()
def patch_variance(modality: Modality, values: np.ndarray | DecodedArray) -> float:
    """Mean squared distance of elements to the mean of their patch and channel; (N, C, H, W) raw -> normalised units.

    0 (every patch is even) and up. Blur lowers it and noise raises it: best is what real samples have. Coarse contrast
    fills it as well, so it is no measure of sharpness; :mod:`mmgen.evaluation.fidelity.spectrum` has that. Padding does
    not count.
    """
    valid = rearrange(modality.valid().double(), "n (c p) -> n c p", c=modality.shape[0])
    counts = valid.sum(-1, keepdim=True).clamp_min(1)
    total = 0.0
    for start in range(0, len(values), _PATCHED_AT_A_TIME):
        x = modality.normalise(torch.from_numpy(values[start : start + _PATCHED_AT_A_TIME]))
        patches = rearrange(modality.patchify(x).double(), "b n (c p) -> b n c p", c=modality.shape[0])
        deviations = (patches - (patches * valid).sum(-1, keepdim=True) / counts) * valid
        total += float(deviations.square().sum())
    return total / (len(values) * float(valid.sum()))


def variance_curve(
    model: CrossModalMAE,
    samples: Mapping[str, Samples],
    ratios: Sequence[float],
    seed: int = 0,
    limit: int = 128,
    batch_size: int = 32,
) -> dict[str, list[float]]:
    """Variance of what the model makes at each masking ratio (MMAE paper, figure 8): {modality: [variance, ...]}.

    ``limit`` samples of the first modality and their same-label partners are used, the same at every ratio.
    """
    device = next(model.parameters()).device
    first = next(iter(model.modalities))
    rows = tuples_around({name: samples[name] for name in model.modalities}, first, seed)
    chosen = np.random.default_rng(seed).permutation(len(rows[first]))[:limit]
    curves: dict[str, list[float]] = {name: [] for name in model.modalities}
    for ratio in ratios:
        synthetic: dict[str, list[np.ndarray]] = {name: [] for name in model.modalities}
        for start in range(0, len(chosen), batch_size):
            part = chosen[start : start + batch_size]
            batch = {
                name: torch.from_numpy(samples[name].values[index[part]]).to(device) for name, index in rows.items()
            }
            noise = model.noise(len(part), counted_stream(seed, start))
            for name, values in model.reconstruct(batch, ratio, noise).items():
                synthetic[name].append(values.cpu().numpy())
        for name, parts in synthetic.items():
            curves[name].append(sample_variance(model.modalities[name], np.concatenate(parts)))
    return curves
