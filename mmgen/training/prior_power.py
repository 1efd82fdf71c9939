"""What a :class:`SpectralPrior` is told of data: their power at every frequency, and what of it is everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmgen.data.decoding import DecodedArray
from mmgen.data.samples import Samples
from mmgen.data.spectrum import AT_A_TIME, radial_power
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.modality import Modality
from mmgen.models.spectral_prior import ring_radii

_PART = 16  # side of the parts in which power is looked at, in elements
_EDGES = np.array([0.5, 1.5, 2.5, 3.5, 4.5, 6.5, 16.0])  # of rings, in waves a part
_MIDDLES = np.array([1.0, 2.0, 3.0, 4.0, 5.5, 8.0])
_LEAST = 1e-5  # power in normalised units, below that of rounding
_SAMPLES = 256


def tell_priors(model: DenoisingMAE, train: Mapping[str, Samples]) -> None:
    """Tell the :class:`SpectralPrior` of every decoder what the training samples of its modality are like."""
    for name, modality in model.modalities.items():
        values = train[name].at_most().values
        model.decoders[name].prior.tell(ring_power(modality, values), calm_share(modality, values))


def ring_power(modality: Modality, values: np.ndarray | DecodedArray) -> np.ndarray:
    """Power (RINGS + 1,) of samples (N, C, H, W), raw, in squares of normalised units: of their mean, and at each of
    :func:`ring_radii`; rings without any have that of their neighbours."""
    radii = ring_radii(modality)
    middles = np.sqrt(radii[1:] * radii[:-1])
    power = radial_power(values, [0.5 * radii[0], *middles, 1.0], modality.std)
    known = np.isfinite(power) & (power > 0)
    power = (
        np.interp(np.arange(len(power)), np.flatnonzero(known), power[known]) if known.any() else np.ones(len(power))
    )
    means = np.concatenate(
        [
            values[start : start + AT_A_TIME].astype(np.float64).mean((2, 3))
            for start in range(0, len(values), AT_A_TIME)
        ]
    )
    deviations = means.std(0) / np.asarray(modality.std)
    return np.array([np.square(deviations).mean() * np.prod(modality.padded), *power])


def calm_share(modality: Modality, values: np.ndarray | DecodedArray) -> np.ndarray:
    """Share (RINGS,) of the power at each of :func:`ring_radii` that a typical small part of samples (N, C, H, W), raw,
    has: the geometric mean over parts divided by the arithmetic mean.

    Noise has the same power everywhere and a share near 1. In pictures, edges have most of it, and parts without edges
    little. What is coarser than a part is shared by all.
    """
    side = min(_PART, *modality.shape[1:])
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)
    ring = np.digitize(np.hypot(rows, columns), _EDGES / _PART) - 1
    members = np.stack([(ring == number) / max(1, (ring == number).sum()) for number in range(len(_MIDDLES))])
    window = np.outer(*[np.hanning(side + 2)[1:-1]] * 2)
    sums, logs, count = np.zeros(len(_MIDDLES)), np.zeros(len(_MIDDLES)), 0
    picked = values[np.linspace(0, len(values) - 1, min(len(values), _SAMPLES)).astype(int)]
    for x in picked:
        x = x.astype(np.float64) / np.reshape(modality.std, (-1, 1, 1))
        parts = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
        parts = parts[:, :: side // 2 or 1, :: side // 2 or 1]
        parts = parts - (parts * window).sum((-2, -1), keepdims=True) / window.sum()
        power = np.square(np.abs(np.fft.fft2(parts * window))).mean(0) / np.square(window).sum()
        by_ring = np.einsum("abhw,rhw->abr", power, members).reshape(-1, len(_MIDDLES)) + _LEAST
        sums, logs, count = sums + by_ring.sum(0), logs + np.log(by_ring).sum(0), count + len(by_ring)
    shares = np.exp(logs / count) / (sums / count)
    return np.interp(ring_radii(modality), [0.5 / _PART, *_MIDDLES / _PART], [1.0, *shares])
