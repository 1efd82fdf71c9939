"""One scale for pictures and log-mels: 0 to 1."""

from __future__ import annotations

from torch import Tensor

from mmgen.models.modality import Modality

# Deviations to either side of the mean that 0..1 spans where a modality has no range of its own.
DEVIATIONS = 3.0


def unit_range(modality: Modality, x: Tensor) -> Tensor:
    """Raw units -> 0..1, (B, C, H, W) of any dtype -> float32.

    A modality with a ``value_range`` (images, 0..255) is scaled by it. One without (log-mels) is normalised, and three
    deviations to either side of the mean span 0..1; what lies beyond is clamped.
    """
    if modality.value_range is not None:
        low, high = modality.value_range
        return (x.float() - low) / (high - low)
    return (modality.normalise(x) / (2 * DEVIATIONS) + 0.5).clamp(0.0, 1.0)
