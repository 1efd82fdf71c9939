"""Statistics of decoded samples."""

from __future__ import annotations

import numpy as np


def channel_statistics(values: np.ndarray, chunk: int = 1024) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of (N, C, H, W), in float64, without a float copy of the whole array."""
    count, total, squares = 0, 0.0, 0.0
    for start in range(0, len(values), chunk):
        part = values[start : start + chunk].astype(np.float64)
        count += part.shape[0] * part.shape[2] * part.shape[3]
        total = total + part.sum(axis=(0, 2, 3))
        squares = squares + (part**2).sum(axis=(0, 2, 3))
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return tuple(mean.tolist()), tuple(deviation.tolist())
