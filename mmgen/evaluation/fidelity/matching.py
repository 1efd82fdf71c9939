"""Which samples are compared: two disjoint real halves and synthetic samples, as many of every label in each."""

from __future__ import annotations

import numpy as np

from mmgen.data.samples import ENOUGH, Samples


def matched_rows(
    real: Samples, synthetic: Samples, people: np.ndarray | None = None, seed: int = 0, limit: int = ENOUGH
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of one real half, of the other real half, and of the synthetic set: each (n,), int64, at most about
    ``limit``.

    A measure of the first and the third is the result, the same measure of the first and the second its reference: all
    three have the same number of samples of every label, label after label, so that neither a shift of labels nor the
    size of a set counts. Labels of which a half or the synthetic set has no sample are left out.

    Args:
        people: (N,) whose real sample each is; nobody is in both halves. None: no file is.
        seed: of the halves and of the choice among the samples of a label.
    """
    rng = np.random.default_rng(seed)
    in_first = _first_half(real.labels, real.rows if people is None else people, rng)
    pools = []
    for label in np.unique(real.labels):
        of_label = real.labels == label
        pool = (of_label & in_first, of_label & ~in_first, synthetic.labels == label)
        pools.append([rng.permutation(np.flatnonzero(members)) for members in pool])
    counts = [min(map(len, pool)) for pool in pools]
    share = min(1.0, limit / max(sum(counts), 1))
    counts = [min(count, max(1, int(count * share))) for count in counts]
    chosen = zip(*([rows[:count] for rows in pool] for pool, count in zip(pools, counts, strict=True)), strict=True)
    first, second, made = (np.concatenate(rows).astype(np.int64) for rows in chosen)
    return first, second, made


def _first_half(labels: np.ndarray, people: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) true for a random half of the people, with about half of the samples of every label."""
    _, person = np.unique(people, return_inverse=True)
    side = np.zeros(person.max(initial=-1) + 1, dtype=np.int64)  # 1: first half, -1: second, 0: not decided
    samples_of = {label: np.bincount(person[labels == label], minlength=len(side)) for label in np.unique(labels)}
    # Rare labels choose first: somebody with several goes where the rarest needs them.
    for count in sorted(samples_of.values(), key=np.count_nonzero):
        balance = int((side * count).sum())
        for one in rng.permutation(np.flatnonzero((count > 0) & (side == 0))):
            side[one] = 1 if balance <= 0 else -1
            balance += side[one] * count[one]
    return side[person] > 0
