"""The best guess at a noised sample by one who knows nothing of the data but their power spectrum."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.models.modality import Modality

RINGS = 24
"""Spatial frequencies at which the spectrum is known, beside 0."""


def ring_radii(modality: Modality) -> np.ndarray:
    """The frequencies (RINGS,), in cycles an element along either axis, evenly spaced in the logarithm."""
    return np.geomspace(1 / max(modality.padded), np.sqrt(0.5), RINGS)


class SpectralPrior(nn.Module):
    """Wiener's filter: what is coarse in a sample, which has much power, is seen through much noise; what is fine,
    which has little, only when hardly any noise is left.

    A network that adds to this guess begins where a Gaussian model of the data ends, at any time. That model is of a
    typical part of a sample, where little happens: with the mean power, most of which is in edges, noise would be seen
    through as detail everywhere, and a network is slow to take it away again. Edges it is quick to add.

    Args:
        modality: sizes.
    """

    def __init__(self, modality: Modality) -> None:
        super().__init__()
        self.modality = modality
        # Of white noise until it is told; 0 first, the power of the samples' mean.
        self.register_buffer("log_power", torch.zeros(RINGS + 1))
        self.register_buffer("log_calm", torch.zeros(RINGS + 1))  # where little happens
        height, width = modality.padded
        rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
        radius = np.hypot(rows, columns)
        places = np.interp(np.log(np.maximum(radius, 1e-9)), np.log(ring_radii(modality)), np.arange(1.0, RINGS + 1))
        places = np.where(radius == 0, 0.0, places)
        below = np.minimum(np.floor(places), RINGS - 1)
        self.register_buffer("below", torch.from_numpy(below).long(), persistent=False)
        self.register_buffer("share", torch.from_numpy(places - below).float(), persistent=False)
        # Most frequencies of a real transform stand for two.
        twice = 1.0 + (columns > 0) * (columns < 0.5) + 0.0 * rows
        self.register_buffer("weight", torch.from_numpy(twice / (height * width)).float(), persistent=False)

    def tell(self, power: np.ndarray, calm: np.ndarray | float = 1.0) -> None:
        """Take over the power (RINGS + 1,) of samples in normalised units: of their mean, and at :func:`ring_radii`;
        and what share (RINGS,) of it a typical part of a sample has."""
        self.log_power.copy_(torch.from_numpy(np.log(np.clip(power, 1e-6, 1e6))))
        self.log_calm.copy_(self.log_power)
        self.log_calm[1:] += torch.as_tensor(np.log(np.clip(calm, 1e-3, 1.0)))

    def forward(self, noised: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """The guess (B, N, P), and the deviation (B,) of what it gets wrong.

        Args:
            noised: (B, N, P) patches ``t x + (1 - t) e``.
            time: (B,); at 0 the guess is 0, the mean of the data, and the deviation that of the data.
        """
        t = time.float()[:, None, None]
        power, calm = (
            torch.lerp(known[self.below], known[self.below + 1], self.share).exp()
            for known in (self.log_power, self.log_calm)
        )
        gain = calm * t / (calm * t**2 + (1 - t) ** 2)
        error = ((power * (1 - gain * t) ** 2 + (gain * (1 - t)) ** 2) * self.weight).sum((1, 2))
        planes = self.modality.picture(noised.float())
        spectrum = torch.fft.rfft2(planes) * gain[:, None]
        guess = torch.fft.irfft2(spectrum, s=planes.shape[-2:])
        return self.modality.cut(guess), error.clamp_min(1e-8).sqrt()
