"""All training records' windows, and how alike a synthetic record's templates are to them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.evaluation.privacy.disguises.templates import Templates

_AT_ONCE = 256  # references
_COMPONENTS = 256
_QUIET = 0.3  # of the whitening's floor: windows that vary less say little
LARGEST = 0.9995
"""A correlation above this counts as this, so that its atanh is finite."""


class Windows:
    """Windows of M references.

    Args:
        templates: what is compared with what.
        sample: references (S, C, SIDE, SIDE) in 0..255 by which the windows are whitened.
    """

    def __init__(self, templates: Templates, sample: Tensor) -> None:
        self.templates = templates
        self._mean = self._basis = None
        if templates.by_distance:
            self._mean = templates.of_references(sample).mean((0, 1))
        elif templates.whitening is not None:
            flat = templates.of_references(sample).flatten(0, 1)
            self._basis = _whitening(flat - flat.mean(1, keepdim=True), templates.whitening)
        self._added: list[Tensor] = []

    def add(self, references: Tensor) -> None:
        """Append references (n, C, SIDE, SIDE)."""
        self._added.append(self._vectors(self.templates.of_references(references)).half())

    @property
    def _windows(self) -> Tensor:
        """(M, W, D)."""
        if len(self._added) > 1:
            self._added = [torch.cat(self._added)]
        return self._added[0]

    def queries(self, records: Tensor) -> Tensor:
        """(N, Q, D) vectors of records (N, C, SIDE, SIDE)."""
        return self._vectors(self.templates.of_queries(records))

    def likeness(self, queries: Tensor) -> Tensor:
        """(N, M): of the most alike template and window."""
        n, count, size = queries.shape
        flat, parts = queries.reshape(-1, size), []
        for part in self._windows.split(_AT_ONCE):
            windows = part.to(flat.dtype)
            alike = self._alike(flat, windows.flatten(0, 1))
            parts.append(alike.view(n, count, len(windows), -1).amax((1, 3)))
        return self._normal(torch.cat(parts, 1))

    def places(self, queries: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """For pairs of queries with references of numbers ``rows`` (N, K): their likeness (N, K), and the affine maps
        (N, K, 2, 3) from the query to the reference by which they are most alike."""
        scores, templates, windows = [], [], []
        for query, chosen in zip(queries, rows, strict=True):
            found = self._windows[chosen].to(query.dtype)  # (K, W, D)
            alike = self._alike(query, found.flatten(0, 1)).view(len(query), len(found), -1)
            best, at = alike.transpose(0, 1).flatten(1).max(1)
            scores.append(best)
            templates.append(at // found.shape[1])
            windows.append(at % found.shape[1])
        return self._normal(torch.stack(scores)), self.templates.transforms(
            torch.stack(templates), torch.stack(windows)
        )

    def _vectors(self, cut: Tensor) -> Tensor:
        if self._mean is not None:
            return (cut - self._mean) / cut.shape[-1] ** 0.5
        flat = cut - cut.mean(-1, keepdim=True)
        if self._basis is None or self.templates.whitening is None:
            return F.normalize(flat, dim=-1, eps=1e-6)
        # Silence is like silence, which says nothing.
        power, quiet = flat.square().mean(-1, keepdim=True), (_QUIET * self.templates.whitening) ** 2
        return F.normalize(flat @ self._basis, dim=-1, eps=1e-6) * power / (power + quiet)

    def _alike(self, queries: Tensor, windows: Tensor) -> Tensor:
        """(Q, W): correlation without sign, or minus the squared distance."""
        products = queries @ windows.T
        if not self.templates.by_distance:
            return products.abs_()
        return 2 * products - (queries**2).sum(1)[:, None] - (windows**2).sum(1)

    def _normal(self, alike: Tensor) -> Tensor:
        """Likeness on a scale on which equal differences mean as much everywhere."""
        if self.templates.by_distance:
            return -0.5 * torch.log((-alike).clamp_min(0) + 1)
        return torch.atanh(alike.clamp_max(LARGEST))


def _whitening(flat: Tensor, floor: float) -> Tensor:
    """(D, E) principal components of vectors (S, D), each by its root mean square, with which that of noise is added.

    About zero and not about their mean, so that inverted records stay the negative of what they were.
    """
    # Not every device has this decomposition.
    variances, vectors = (part.to(flat.device) for part in torch.linalg.eigh((flat.T @ flat / len(flat)).cpu()))
    kept = slice(-min(_COMPONENTS, len(variances)), None)
    return vectors[:, kept] / torch.sqrt(variances[kept].clamp_min(0) + floor**2)
