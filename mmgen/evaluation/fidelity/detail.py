"""Where fine detail lies: along edges, or everywhere alike."""

from __future__ import annotations

import numpy as np

from mmgen.data.decoding import DecodedArray
from mmgen.errors import UserError

_AT_A_TIME = 32
_EVEN = 1e-12  # of the square of the values, rounding alone


def detail_kurtosis(values: np.ndarray | DecodedArray) -> float:
    """Kurtosis of the finest detail within a sample, the median over samples (N, C, H, W) that are not even.

    Fine detail is what a discrete Laplacian leaves. Along the edges of a picture there is much of it and elsewhere
    little, which gives it a kurtosis far above the 3 of Gaussian noise. A spectrum cannot tell them apart: noise that
    is filtered to the power of a picture at every frequency is as sharp, and shows nothing.

    Raises:
        UserError: sides below 3, or samples that are all even.
    """
    if min(values.shape[2:]) < 3:
        raise UserError(f"Fine detail needs samples with sides of at least 3, not {min(values.shape[2:])}.")
    found = []
    for start in range(0, len(values), _AT_A_TIME):
        x = values[start : start + _AT_A_TIME].astype(np.float64)
        inner = x[..., 1:-1, 1:-1]
        detail = 4 * inner - x[..., :-2, 1:-1] - x[..., 2:, 1:-1] - x[..., 1:-1, :-2] - x[..., 1:-1, 2:]
        detail -= detail.mean((1, 2, 3), keepdims=True)
        variance = np.square(detail).mean((1, 2, 3))
        varied = variance > _EVEN * np.square(x).mean((1, 2, 3))
        found.append((detail[varied] ** 4).mean((1, 2, 3)) / variance[varied] ** 2)
    kurtoses = np.concatenate(found) if found else np.zeros(0)
    if not len(kurtoses):
        raise UserError("Fine detail needs samples that are not even.")
    return float(np.median(kurtoses))
