"""Fidelity: how near synthetic samples are to real ones, every distance beside real against real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mmgen.data.audio import AudioSettings
from mmgen.data.mel import log_mel, mel_to_waveform
from mmgen.data.samples import Samples
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality
from mmgen.training.mae_validation import tuples_around


def intensity_kl(real: np.ndarray, synthetic: np.ndarray, bins: int = 256, epsilon: float = 1e-10) -> float:
    """KL(real || synthetic) of intensity histograms (MMAE paper, equation 8), in nats; 0 is best, higher is worse.

    Bins span the union of both ranges; ``epsilon`` is added to every bin's share.
    """
    low = float(min(real.min(), synthetic.min()))
    high = float(max(real.max(), synthetic.max()))
    if high <= low:
        return 0.0
    p, q = (_histogram(x, bins, low, high) / x.size + epsilon for x in (real, synthetic))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def _histogram(values: np.ndarray, bins: int, low: float, high: float) -> np.ndarray:
    """Counts (bins,) of all values, without a float copy of them all."""
    parts = (values[start : start + 256].astype(np.float32) for start in range(0, len(values), 256))
    return sum(np.histogram(part, bins=bins, range=(low, high))[0] for part in parts)


def kl_entry(real: Samples, synthetic: Samples, seed: int = 0) -> dict[str, Any]:
    """Report entry: KL of a real half against as many synthetic samples, beside that half against the other half.

    Both comparisons have the same number of samples of every label, so that a shift of labels does not count, and no
    file is in both real halves. Values are NaN where no label has two real files and a synthetic sample.
    """
    rng = np.random.default_rng(seed)
    first, second, made = [], [], []
    for label in np.unique(real.labels):
        files = rng.permutation(np.unique(real.rows[real.labels == label]))
        in_first = np.isin(real.rows, files[: len(files) // 2])
        one = rng.permutation(np.flatnonzero((real.labels == label) & in_first))
        other = rng.permutation(np.flatnonzero((real.labels == label) & ~in_first))
        candidates = rng.permutation(np.flatnonzero(synthetic.labels == label))
        count = min(len(one), len(other), len(candidates))
        first.append(one[:count])
        second.append(other[:count])
        made.append(candidates[:count])
    half = real.values[np.concatenate(first)]
    entry = {"value": np.nan, "real_vs_real": np.nan, "better": "lower", "samples": len(half)}
    if len(half):
        entry["value"] = intensity_kl(half, synthetic.values[np.concatenate(made)])
        entry["real_vs_real"] = intensity_kl(half, real.values[np.concatenate(second)])
    return entry


def sample_variance(modality: Modality, values: np.ndarray) -> float:
    """Diversity: variance over samples of every element, averaged; (N, C, H, W) raw -> normalised units, 0 and up.

    Real training data are at most 1, since normalisation also removes what all samples share.
    """
    scale = np.asarray(modality.std, dtype=np.float64).reshape(-1, 1, 1)
    total = np.zeros(modality.shape)
    squares = np.zeros(modality.shape)
    for start in range(0, len(values), 256):
        part = values[start : start + 256].astype(np.float64) / scale
        total += part.sum(0)
        squares += (part**2).sum(0)
    return float(np.maximum(squares / len(values) - (total / len(values)) ** 2, 0).mean())


def waveform_round_trip(log_mels: np.ndarray, settings: AudioSettings) -> float:
    """Mean absolute difference in dB between log-mels (N, 1, bands, frames) and those of waveforms made from them.

    0 and up, lower is better.
    """
    mels = torch.from_numpy(log_mels[:, 0].astype(np.float32))
    again = log_mel(mel_to_waveform(mels, settings), settings)
    return float((again - mels).abs().mean()) * 10.0 / float(np.log(10.0))


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
        made: dict[str, list[np.ndarray]] = {name: [] for name in model.modalities}
        for start in range(0, len(chosen), batch_size):
            part = chosen[start : start + batch_size]
            batch = {
                name: torch.from_numpy(samples[name].values[index[part]]).to(device) for name, index in rows.items()
            }
            noise = model.noise(len(part), torch.Generator().manual_seed(seed * 1_000_003 + start))
            for name, values in model.reconstruct(batch, ratio, noise).items():
                made[name].append(values.cpu().numpy())
        for name, parts in made.items():
            curves[name].append(sample_variance(model.modalities[name], np.concatenate(parts)))
    return curves
