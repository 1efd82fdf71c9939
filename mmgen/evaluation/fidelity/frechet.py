"""Frechet distance between two sets of features, as if each were normally distributed."""

from __future__ import annotations

import numpy as np

from mmgen.errors import UserError


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of means and covariances (Heusel et al. 2017, equation 6).

    Features (N, F) and (M, F) -> squared units of the features; 0 and up, lower is nearer. Computed in float64; the
    trace of the root is the sum of the roots of the eigenvalues of S_a S_b, found as singular values of R_a R_b^T with
    S = R^T R, so that nothing is squared on the way.

    The estimate is biased upwards, the more so the fewer samples there are; with fewer than dimensions it says little
    and :func:`~mmgen.evaluation.fidelity.kernel.kernel_distance` is to be preferred. Compare only equal counts.

    Raises:
        UserError: fewer than two samples on a side.
    """
    if min(len(a), len(b)) < 2:
        raise UserError(f"The Frechet distance needs at least 2 samples on either side, got {len(a)} and {len(b)}.")
    (mean_a, root_a), (mean_b, root_b) = _mean_and_root(a), _mean_and_root(b)
    shared = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * shared
    return float(max(distance, 0.0))


def bias_note(samples: int, dimensions: int, unbiased: str) -> str:
    """Warning of a distance between so few samples that its bias is large; "" of enough."""
    if samples >= dimensions:
        return ""
    return f"Biased: {samples} samples in {dimensions} dimensions; prefer {unbiased}."


def moments(features: np.ndarray, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Mean (F,) and unbiased covariance (F, F) of features (N, F), in float64, a ``chunk`` of rows at a time.

    Chunks are merged by their means (Chan et al. 1979): large means cost no digits.
    """
    count, mean = 0, np.zeros(features.shape[1])
    scatter = np.zeros((features.shape[1], features.shape[1]))
    for start in range(0, len(features), chunk):
        part = features[start : start + chunk].astype(np.float64)
        centre = part.mean(axis=0)
        shift, total = centre - mean, count + len(part)
        part -= centre
        scatter += part.T @ part + np.outer(shift, shift) * (count * len(part) / total)
        mean += shift * (len(part) / total)
        count = total
    return mean, scatter / (count - 1)


def _mean_and_root(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (F,) of features (N, F), and R (min(N, F), F) whose R^T R is their covariance."""
    count, dimensions = features.shape
    if count <= dimensions:  # centred features are a root themselves, and a smaller one
        mean = features.mean(axis=0, dtype=np.float64)
        return mean, (features - mean) / np.sqrt(count - 1)
    mean, covariance = moments(features)
    values, vectors = np.linalg.eigh(covariance)
    values[values < values.max() * dimensions * np.finfo(np.float64).eps] = 0.0  # rounding alone
    return mean, np.sqrt(values)[:, None] * vectors.T
