"""Intensities: the distribution of pixel and log-mel values, synthetic against real."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmgen.data.samples import Samples


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
