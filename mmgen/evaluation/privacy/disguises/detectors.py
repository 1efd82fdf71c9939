"""From how much records are alike to how surely one is a copy: detectors, and how often innocent records reach them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mmgen.evaluation.privacy.disguises.search import Candidates

# What the next most alike records of other people have is as likely to be what all records have in common. Of the
# trials 0, 0.5 and 1 the middle one found most on X-rays and on skin lesions.
_COMMON = 0.5
_RUNNERS_UP = 3
_SHRINKAGE = 0.3
_FOLDS = 5
# Quantiles of innocent scores between which the tail beyond them is fitted; few records above may be real copies.
_TAIL = (0.8, 0.97)


@dataclass(frozen=True)
class Detectors:
    """A linear detector for each kind of disguise and one for each view by itself, for kinds that were not thought of;
    the score of a record is that of the detector that sees most.

    Attributes:
        centre, spread: (F,) of the features of innocent pairs.
        directions: (F, D) of the detectors.
        level, scale: (D,) by which detectors are made comparable.
        tail_start, tail_scale: beyond ``tail_start`` the share of innocent records falls exponentially from
            ``1 - _TAIL[0]``, by e for every ``tail_scale``.
        tail_count: people by whose records that scale was measured; as it is not known better, the share falls as a
            Lomax distribution's does, which is what is to be expected of a further record.
    """

    centre: np.ndarray
    spread: np.ndarray
    directions: np.ndarray
    level: np.ndarray
    scale: np.ndarray
    tail_start: float = 0.0
    tail_scale: float = 1.0
    tail_count: float = 1.0

    @classmethod
    def fitted(
        cls, innocent: Candidates, people: np.ndarray, copies: Mapping[str, np.ndarray], views: int = 0
    ) -> Detectors:
        """Detectors by linear discriminants.

        Args:
            innocent: candidates of N records that are of other people than all of them.
            people: (N,) whose records these are, in numbers; several of one person say little more than one.
            copies: by kind of disguise, features (n, F) of disguised records beside their originals.
            views: how many of the last features are how much a record stands out in a view.
        """
        whole = cls._uncalibrated(innocent, copies, views)
        # What detectors were fitted to is no measure of how often others reach them.
        folds = people % _FOLDS
        scores = np.concatenate(
            [
                cls._uncalibrated(innocent.select(folds != fold), copies, views).scores(innocent.select(folds == fold))[
                    0
                ]
                for fold in range(_FOLDS)
                if (folds == fold).any()
            ]
        )
        low, high = np.quantile(scores, _TAIL)
        count = max(2.0, len(np.unique(people)) * (1 - _TAIL[0]))
        # With few records the quantiles may lie too near to each other.
        length = (1 + 1.64 / np.sqrt(count)) * (high - low) / np.log((1 - _TAIL[0]) / (1 - _TAIL[1]))
        return replace(whole, tail_start=float(low), tail_scale=float(max(length, 1e-3)), tail_count=count)

    @classmethod
    def _uncalibrated(cls, innocent: Candidates, copies: Mapping[str, np.ndarray], views: int) -> Detectors:
        from scipy.linalg import solve

        best = innocent.features.max(1)
        centre = np.median(best, 0)
        spread = np.maximum(np.quantile(best, 0.84, axis=0) - centre, 1e-3)
        best = (best - centre) / spread
        covariance = np.cov(best.T) + _SHRINKAGE * np.eye(best.shape[1])
        directions = list(np.eye(best.shape[1])[best.shape[1] - views :])
        for features in copies.values():
            direction = solve(covariance, ((features - centre) / spread).mean(0) - best.mean(0), assume_a="pos")
            directions.append(direction / np.linalg.norm(direction))
        ones = np.ones(len(directions))
        raw = cls(centre, spread, np.stack(directions, 1), 0.0 * ones, ones)
        scores = raw._by_detector(innocent).max(1)
        level = np.median(scores, 0)
        return replace(raw, level=level, scale=np.maximum(np.quantile(scores, 0.84, axis=0) - level, 1e-6))

    def scores(self, candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
        """(N,) the highest score of a record's candidates, and which candidate has it."""
        every = self._by_detector(candidates).max(2)
        best = every.argmax(1)
        return every[np.arange(len(best)), best], best

    def chance(self, scores: np.ndarray) -> np.ndarray:
        """(N,) chance that an innocent record scores as much; at most ``1 - _TAIL[0]`` is told, 1 below that."""
        beyond = np.maximum(scores - self.tail_start, 0.0) / (self.tail_scale * self.tail_count)
        return np.where(scores < self.tail_start, 1.0, (1 - _TAIL[0]) * (1 + beyond) ** -self.tail_count)

    def threshold(self, chance: float) -> float:
        """The score that an innocent record reaches with this chance."""
        beyond = ((1 - _TAIL[0]) / chance) ** (1 / self.tail_count) - 1
        return self.tail_start + self.tail_scale * self.tail_count * beyond

    def _by_detector(self, candidates: Candidates) -> np.ndarray:
        """(N, K, D): likeness of a candidate less a part of that of the next candidates of other people."""
        seen = ((candidates.features - self.centre) / self.spread) @ self.directions  # (N, K, D)
        others = candidates.owners[:, :, None] != candidates.owners[:, None, :]
        others &= (candidates.rows >= 0)[:, None, :]
        rivals = np.where(others[..., None], seen[:, None], -np.inf)  # (N, K, K, D)
        rivals = -np.sort(-rivals, axis=2)[:, :, :_RUNNERS_UP]
        counted = np.isfinite(rivals)
        common = np.where(counted, rivals, 0.0).sum(2) / np.maximum(counted.sum(2), 1)
        scores = (seen - _COMMON * common - self.level) / self.scale
        return np.where((candidates.rows >= 0)[..., None], scores, -np.inf)


def set_chance(chances: np.ndarray, draws: int = 2000, seed: int = 0) -> float:
    """Chance that an innocent set holds as surprising records, by the test of Berk and Jones.

    For every k the k lowest chances of the set's records are compared with what k of as many innocent records have; the
    most surprising k counts, and how surprising that is among innocent sets is found by drawing these.

    Args:
        chances: (N,) of the records; only those below the tail's beginning say something.
        draws: of innocent sets.
    """
    size = len(chances)
    count = max(1, int(np.ceil(size * (1 - _TAIL[0]) / 2)))
    seen = float(_surprise(np.sort(chances)[None, :count], size)[0])
    rank = int((_innocent_surprises(size, count, draws, seed) <= seen).sum())
    # Beyond what was drawn: the most surprising k of a few that are alike counts as often as there are some k.
    return (1 + rank) / (1 + draws) if rank else min(1 / draws, 10.0 * seen)


def highest_listed(chances: np.ndarray, rate: float) -> float:
    """The highest chance among those (N,) that are listed where ``rate`` of all that is listed may be by chance, after
    Benjamini and Hochberg; 0 where none is."""
    ordered = np.sort(chances)
    allowed = rate * np.arange(1, len(ordered) + 1) / len(ordered)
    return float(ordered[ordered <= allowed].max(initial=0.0))


@functools.lru_cache(maxsize=64)
def _innocent_surprises(size: int, count: int, draws: int, seed: int) -> np.ndarray:
    """(draws,) of innocent sets of ``size`` records, of which the ``count`` lowest are looked at."""
    rng = np.random.default_rng(seed)
    steps = rng.exponential(size=(draws, count)).cumsum(1)
    # The lowest of N uniform numbers are to the sum of N + 1 exponential ones as its first steps are.
    return _surprise(steps / (steps[:, -1:] + rng.gamma(size + 1 - count, size=(draws, 1))), size)


def _surprise(ordered: np.ndarray, count: int) -> np.ndarray:
    """(R,) least chance, over k, that the k-th lowest of ``count`` uniform numbers is as low as (R, k)."""
    from scipy.stats import beta

    places = np.arange(1, ordered.shape[1] + 1)
    return beta.cdf(np.clip(ordered, 0, 1), places, count + 1 - places).min(1)
