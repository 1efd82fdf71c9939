"""The power spectrum of samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmgen.data.decoding import DecodedArray

AT_A_TIME = 32
"""Samples that are transformed together; large pictures as complex numbers take memory."""


def radial_power(
    values: np.ndarray | DecodedArray, edges: Sequence[float] | np.ndarray, std: Sequence[float] = (1.0,)
) -> np.ndarray:
    """Mean power of samples (N, C, H, W) at the spatial frequencies between edges, ascending -> (len(edges) - 1,).

    The power spectrum in two dimensions is averaged over samples, channels and all frequencies of one ring, from an
    edge up to below the next (the last one included); a ring without a frequency is NaN. Frequencies are in cycles an
    element along either axis, so sides may differ. White noise of variance 1 has power 1 in every ring.

    Each sample has its mean removed and a Hann window laid over it. Without a window the jump from one border to the
    opposite one, which the discrete transform takes for an edge, has more power at fine structure than the picture: of
    X-rays blurred by a box of 5 x 5, 0.52 of the finest band seems to be left and 0.015 is. The price is that little of
    what lies near the borders counts. The mean is the one that the window weighs, so that nothing of it leaks into the
    coarsest ring.

    Args:
        std: what values are divided by, one number or one a channel.
    """
    channels, height, width = values.shape[1:]
    # Without the zeros at its ends, so that sides of one or two elements have a window, too.
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    radius = np.hypot(rows, columns)
    power = np.zeros(radius.shape)
    for start in range(0, len(values), AT_A_TIME):
        x = values[start : start + AT_A_TIME].astype(np.float64) / np.reshape(std, (-1, 1, 1))
        x -= (x * window).sum((-2, -1), keepdims=True) / window.sum()
        power += np.square(np.abs(np.fft.rfft2(x * window))).sum((0, 1))
    power /= len(values) * channels * np.square(window).sum()
    times = 1.0 + (columns > 0) * (columns < 0.5) + 0 * rows  # most stand for their mirror image, too
    counts, sums = (np.histogram(radius, edges, weights=weights)[0] for weights in (times, times * power))
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
