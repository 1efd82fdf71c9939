"""Intensities: the distribution of pixel and log-mel values, synthetic against real."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmgen.data.decoding import DecodedArray


def intensity_kl(
    real: np.ndarray | DecodedArray, synthetic: np.ndarray | DecodedArray, bins: int = 256, epsilon: float = 1e-10
) -> float:
    """KL(real || synthetic) of intensity histograms (MMAE paper, equation 8), in nats; 0 is best, higher is worse.

    Bins span the union of both ranges; ``epsilon`` is added to every bin's share. Values are read in parts, twice.
    """
    lows, highs = zip(*((part.min(), part.max()) for x in (real, synthetic) for part in _parts(x)), strict=True)
    low, high = float(min(lows)), float(max(highs))
    if high <= low:
        return 0.0
    # Part by part: there is no float copy of all values.
    p, q = (
        sum(np.histogram(part.astype(np.float32), bins, (low, high))[0] for part in _parts(x)) / np.prod(x.shape)
        + epsilon
        for x in (real, synthetic)
    )
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def _parts(values: np.ndarray | DecodedArray) -> Iterator[np.ndarray]:
    return (values[start : start + 256] for start in range(0, len(values), 256))
