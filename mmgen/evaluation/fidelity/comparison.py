"""The samples that are compared: two disjoint real halves and synthetic samples, as many of every label in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmgen.data.samples import ENOUGH, Samples
from mmgen.data.settings import Settings
from mmgen.errors import UserError
from mmgen.models.modality import Modality


@dataclass(frozen=True)
class Comparison:
    """One half of the real samples, and samples to set beside it: synthetic ones or the other half.

    Attributes:
        real, samples: N each, with the same labels in the same order, label after label.
        real_features, features: (N, F) of both.
        settings: how the modality relates to files, None if unknown.
        patch: (h, w) of what the synthetic samples were put together from, None if unknown.
        seed: of every random choice.
    """

    modality: Modality
    real: Samples
    samples: Samples
    real_features: np.ndarray
    features: np.ndarray
    settings: Settings | None = None
    patch: tuple[int, int] | None = None
    seed: int = 0

    @property
    def smallest_class(self) -> int:
        """Samples of the smallest label with more than one."""
        counts = np.unique(self.real.labels, return_counts=True)[1].tolist()
        return min((count for count in counts if count > 1), default=0)


def class_mean(
    distance: Callable[[np.ndarray, np.ndarray], float], a: np.ndarray, b: np.ndarray, labels: np.ndarray
) -> float:
    """Mean over classes of a distance between features (N, F) and (N, F) of equal labels (N,), classes weighing the
    same; those with a single sample a side are left out. Raises UserError if that leaves none."""
    classes = [label for label, count in zip(*np.unique(labels, return_counts=True), strict=True) if count > 1]
    if not classes:
        raise UserError("Distances within a class need a class with at least 2 samples on either side.")
    return float(np.mean([distance(a[labels == label], b[labels == label]) for label in classes]))


def matched_rows(
    real: Samples, synthetic: Samples, subjects: np.ndarray | None = None, seed: int = 0, limit: int = ENOUGH
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of one real half, of the other real half, and of the synthetic set: each (n,), int64, at most about
    ``limit``.

    A measure of the first and the third is the result, the same measure of the first and the second its reference: all
    three have the same number of samples of every label, label after label, so that neither a shift of labels nor the
    size of a set counts. Labels of which a half or the synthetic set has no sample are left out.

    Args:
        subjects: (N,) whose real sample each is; nobody is in both halves. None: no file is.
        seed: of the halves and of the choice among the samples of a label.
    """
    rng = np.random.default_rng(seed)
    in_first = _first_half(real.labels, real.rows if subjects is None else subjects, rng)
    pools = []
    for label in np.unique(real.labels):
        of_label = real.labels == label
        pool = (of_label & in_first, of_label & ~in_first, synthetic.labels == label)
        pools.append([rng.permutation(np.flatnonzero(members)) for members in pool])
    counts = [min(map(len, pool)) for pool in pools]
    share = min(1.0, limit / max(sum(counts), 1))
    counts = [min(count, max(1, int(count * share))) for count in counts]
    chosen = zip(*([rows[:count] for rows in pool] for pool, count in zip(pools, counts, strict=True)), strict=True)
    first, second, third = (np.concatenate(rows).astype(np.int64) for rows in chosen)
    return first, second, third


def _first_half(labels: np.ndarray, subjects: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) true for a random half of the subjects, with about half of the samples of every label."""
    _, subject = np.unique(subjects, return_inverse=True)
    side = np.zeros(subject.max(initial=-1) + 1, dtype=np.int64)  # 1: first half, -1: second, 0: not decided
    samples_of = {label: np.bincount(subject[labels == label], minlength=len(side)) for label in np.unique(labels)}
    # Rare labels choose first: somebody with several goes where the rarest needs them.
    for count in sorted(samples_of.values(), key=np.count_nonzero):
        balance = int((side * count).sum())
        for one in rng.permutation(np.flatnonzero((count > 0) & (side == 0))):
            side[one] = 1 if balance <= 0 else -1
            balance += side[one] * count[one]
    return side[subject] > 0
