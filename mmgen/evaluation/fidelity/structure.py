"""Diversity within a class: how alike two samples of it look."""

from __future__ import annotations

import numpy as np
import torch

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.features import unit_range
from mmgen.models.modality import Modality

PAIRS = 256
"""Pairs over all classes; from one draw of them to the next their mean moves by about 0.01."""

# Wang et al. 2003, section 3.2, from the finest scale on.
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11
_BATCH = 16


def ms_ssim_within_class(modality: Modality, samples: Samples, pairs: int = PAIRS, seed: int = 0) -> float:
    """Multi-scale structural similarity of random pairs of one class, averaged over pairs and then over classes.

    0..1; lower is more diverse, 1 means that every class is one sample over and over (Odena et al. 2017, section 4.2).
    Pairs are of different files where a class has several. Values are scaled to 0..1 first (see
    :func:`unit_range`). The full five scales need sides of 176; on smaller samples as
    many as the window of 11 fits in are used, with the finest scales' weights divided by their sum, so that values of
    different sizes cannot be compared.

    Raises:
        UserError: no class with two samples, or sides below 11.
    """
    weights = scale_weights(min(modality.shape[1:]))
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(samples.labels == label) for label in np.unique(samples.labels)]
    members = [rows for rows in members if len(rows) > 1]
    if not members:
        raise UserError("Structural similarity within a class needs a class with at least 2 samples.")
    each = -(-pairs // len(members))
    pairs_of = (_random_pairs(rows, samples.rows, each, rng) for rows in members)
    return float(np.mean([_similarities(modality, samples, *pair, weights).mean() for pair in pairs_of]))


def scale_weights(side: int) -> tuple[float, ...]:
    """Weights of the scales that samples with this shorter side have room for, summing to 1; raises UserError."""
    # The coarsest scale must hold a window; the division by a square is a demand of torchmetrics.
    fits = [
        count
        for count in range(1, len(_SCALE_WEIGHTS) + 1)
        if side // 2 ** (count - 1) >= _WINDOW and side // max(1, (count - 1) ** 2) >= _WINDOW
    ]
    if not fits:
        raise UserError(f"Structural similarity needs samples with sides of at least {_WINDOW}, not {side}.")
    weights = _SCALE_WEIGHTS[: max(fits)]
    return tuple(weight / sum(weights) for weight in weights)


def _random_pairs(
    members: np.ndarray, files: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """``count`` random pairs of different members, of different files if there are several."""
    first = rng.choice(members, count)
    second = members[(np.searchsorted(members, first) + rng.integers(1, len(members), count)) % len(members)]
    if len(np.unique(files[members])) > 1:
        for place in np.flatnonzero(files[first] == files[second]):
            second[place] = rng.choice(members[files[members] != files[first[place]]])
    return first, second


@torch.no_grad()
def _similarities(
    modality: Modality, samples: Samples, first: np.ndarray, second: np.ndarray, weights: tuple[float, ...]
) -> np.ndarray:
    """(P,) similarity of each pair."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as similarity

    values = []
    for start in range(0, len(first), _BATCH):
        one, other = (
            unit_range(modality, torch.from_numpy(samples.values[rows[start : start + _BATCH]]))
            for rows in (first, second)
        )
        values.append(similarity(one, other, data_range=1.0, betas=weights, reduction="none").double().numpy())
    return np.concatenate([np.atleast_1d(part) for part in values])
