"""Energy distance of labelled features, class by class (Szekely and Rizzo 2013)."""

from __future__ import annotations

import torch
from torch import Tensor


def class_energy(a: Tensor, labels_a: Tensor, b: Tensor, labels_b: Tensor) -> Tensor:
    """How differently the features of each class are distributed, mean over classes, ().

    Twice the mean distance between rows of ``a`` and ``b``, less the mean distances of pairs within ``a`` and within
    ``b``. Its expectation is 0 for equal distributions and above 0 for all others, those of less variety too.

    Args:
        a, b: features (N, F) and (M, F).
        labels_a, labels_b: classes (N,) and (M,). A class with fewer than two rows on one side does not count.
    """
    across, within_a, within_b = (x[:, None] == y for x, y in ((labels_a, labels_b), (labels_a,) * 2, (labels_b,) * 2))
    # Rows of its class on either side, for each row.
    a_of_a, b_of_a, a_of_b, b_of_b = within_a.sum(1), across.sum(1), across.sum(0), within_b.sum(1)
    enough_a, enough_b = ((own > 1) & (other > 1) for own, other in ((a_of_a, b_of_a), (b_of_b, a_of_b)))
    # Together, the pairs of each class weigh 1.
    weights = across * (enough_a / (a_of_a * b_of_a).clamp_min(1))[:, None]
    energy = (2.0 * _distances(a, b) * weights).sum()
    for x, same, count, enough in ((a, within_a, a_of_a, enough_a), (b, within_b, b_of_b, enough_b)):
        energy = energy - (_distances(x, x) * same * (enough / (count * (count - 1)).clamp_min(1))[:, None]).sum()
    return energy / weights.sum().clamp_min(1.0)


def energy(a: Tensor, b: Tensor) -> Tensor:
    """:func:`class_energy` of features (K, N, F) and (K, M, F) that lie class by class, two rows or more of each.

    It looks at pairs of one class alone, so that time and memory grow with the number of classes and not its square.
    """
    energies = 2.0 * _distances(a, b).mean((1, 2))
    for x in (a, b):
        energies = energies - _distances(x, x).sum((1, 2)) / (x.shape[1] * (x.shape[1] - 1))
    return energies.mean()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(..., N, M) Euclidean distances of rows; at zero, on the diagonal, the root alone would have no derivative."""
    if not (a.requires_grad or b.requires_grad):
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")  # in a fraction of the memory
    return ((a[..., :, None, :] - b[..., None, :, :]).square().sum(-1) + 1e-12).sqrt()
