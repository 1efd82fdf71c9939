"""Kernel distance between two sets of features: unbiased, and so fit for few samples."""

from __future__ import annotations

import numpy as np

from mmgen.errors import UserError

UNBIASED = "Unbiased: about 0 for equal distributions, at times just below."


def kernel_distance(a: np.ndarray, b: np.ndarray, subsets: int = 50, size: int = 1000, seed: int = 0) -> float:
    """KID: squared maximum mean discrepancy under k(x, y) = (x . y / F + 1)^3 (Binkowski et al. 2018, section 4).

    Features (N, F) and (M, F); lower is nearer. The estimate is unbiased: it is about 0 for two sets of the same
    distribution, and then falls below 0 as often as above.

    Args:
        subsets, size: mean over so many random subsets of so many samples of each side. Sets that are no larger are
            taken whole, once.
        seed: of the subsets.

    Raises:
        UserError: fewer than two samples on a side.
    """
    if min(len(a), len(b)) < 2:
        raise UserError(f"The kernel distance needs at least 2 samples on either side, got {len(a)} and {len(b)}.")
    if max(len(a), len(b)) <= size:
        return _discrepancy(a, b)
    rng = np.random.default_rng(seed)
    drawn = ([x[rng.choice(len(x), min(size, len(x)), replace=False)] for x in (a, b)] for _ in range(subsets))
    return float(np.mean([_discrepancy(*pair) for pair in drawn]))


def _discrepancy(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased estimate of the squared discrepancy: pairs of a sample with itself are left out."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    kernels = _kernel(a, a), _kernel(b, b)
    within_a, within_b = (kernel.sum() - np.trace(kernel) for kernel in kernels)
    across = _kernel(a, b).sum() / (len(a) * len(b))
    return float(within_a / (len(a) * (len(a) - 1)) + within_b / (len(b) * (len(b) - 1)) - 2 * across)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3
