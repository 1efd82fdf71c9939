"""Sharpness: power at coarse and fine structure; and apart from it, seams between the patches of a generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmgen.data.decoding import DecodedArray
from mmgen.data.spectrum import AT_A_TIME, radial_power
from mmgen.errors import UserError
from mmgen.models.modality import Modality

BANDS = (0.02, 0.1, 0.2, 0.3, 0.5)
"""Edges of the bands, in cycles a pixel (of log-mels: a mel band or a frame); 0.5 is what a grid can hold at most."""
SHARPNESS = ("spectrum_coarse", "spectrum_middle", "spectrum_fine", "spectrum_finest")
"""Keys of the bands in reports."""

_EVEN = 1e-12  # power in normalised units that is rounding alone


def band_energies(modality: Modality, values: np.ndarray | DecodedArray) -> np.ndarray:
    """Mean power in each of :data:`BANDS`; samples (N, C, H, W) raw -> (4,) in squares of normalised units.

    See :func:`radial_power`. Blur lowers the finest bands first; noise, seams between patches and contrast raise them:
    energy grows with the square of contrast.

    Raises:
        UserError: sides too short for the coarsest band.
    """
    energies = radial_power(values, BANDS, modality.std)
    if np.isnan(energies).any():
        raise UserError(f"Sharpness needs samples with a side of at least 11, not {max(modality.shape[1:])}.")
    return energies


def sharpness(
    modality: Modality, real: np.ndarray | DecodedArray, values: np.ndarray | DecodedArray
) -> Mapping[str, float]:
    """Energy of samples in each band as a share of that of real ones, by :data:`SHARPNESS`; 1 is best, less is blur.

    Raises:
        UserError: sides below 11, or real samples without any structure.
    """
    reference = band_energies(modality, real)
    if reference.min() < _EVEN:
        raise UserError("Sharpness needs real samples that are not even.")
    return dict(zip(SHARPNESS, (band_energies(modality, values) / reference).tolist(), strict=True))


def seams(values: np.ndarray | DecodedArray, patch: tuple[int, int], std: Sequence[float] = (1.0,)) -> float:
    """Mean squared step between neighbours across the borders of patches, over that inside patches, samples
    (N, C, H, W).

    About 1 for real samples, whose structure knows no patches, at any sharpness and contrast; more where a model that
    makes patches leaves seams. It is the mean of the ratios along height and width, as log-mels change more along one.
    Patches of (h, w) elements begin at the first row and column; a direction without borders, or with patches of one
    element, does not count. Steps inside are those within half a patch of a border: the outermost rows and columns,
    often the frame of a picture, have no border beside them to be compared with.

    Args:
        std: as of :func:`radial_power`.

    Raises:
        UserError: one patch, patches of one element, or samples that are even inside all patches.
    """
    steps = [np.zeros(side - 1) for side in values.shape[2:]]
    for start in range(0, len(values), AT_A_TIME):
        x = values[start : start + AT_A_TIME].astype(np.float64) / np.reshape(std, (-1, 1, 1))
        steps[0] += np.square(np.diff(x, axis=2)).sum((0, 1, 3))
        steps[1] += np.square(np.diff(x, axis=3)).sum((0, 1, 2))
    parts = []
    for step, side in zip(steps, patch, strict=True):
        borders = np.arange(side - 1, len(step), side)
        if side > 1 and len(borders):
            near = np.arange(borders[0] - side // 2, min(borders[-1] + side // 2 + 1, len(step)))
            parts.append((step[borders], step[np.setdiff1d(near, borders)]))
    if not parts or any(inside.sum() == 0 for _, inside in parts):
        raise UserError("Seams need samples of several patches that are not even inside.")
    return float(np.mean([across.mean() / inside.mean() for across, inside in parts]))
