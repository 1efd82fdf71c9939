"""From how much records are alike to how surely one is a copy: detectors, and how often innocent records reach them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mmgen.evaluation.privacy.disguises.search import Candidates

# What the next most alike records of other people have is as likely to be what all records have in common. Of the
# trials 0, 0.5 and 1 the middle one found most on X-rays and on skin lesions.
_COMMON = 0.5
_RUNNERS_UP = 3
_SHRINKAGE = 0.3
_FOLDS = 5
_AT_ONCE = 4096  # records that are scored
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
        innocent: (N,) scores of the innocent records, each by detectors that were fitted without its person.
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
    innocent: np.ndarray = field(default_factory=lambda: np.empty(0))
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
        numbers = np.unique(people, return_inverse=True)[1]
        folds = numbers % min(_FOLDS, numbers.max() + 1)
        scores = np.empty(len(innocent))
        for fold in range(folds.max() + 1):
            apart = cls._uncalibrated(innocent.select(folds != fold), copies, views)
            scores[folds == fold] = apart.scores(innocent.select(folds == fold))[0]
        start, scale, count = _tail(scores, numbers.max() + 1)
        return replace(whole, innocent=scores, tail_start=start, tail_scale=scale, tail_count=count)

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
        parts = [candidates.select(slice(start, start + _AT_ONCE)) for start in range(0, len(candidates), _AT_ONCE)]
        every = np.concatenate([self._by_detector(part).max(2) for part in parts])
        best = every.argmax(1)
        return every[np.arange(len(best)), best], best

    def chance(self, scores: np.ndarray) -> np.ndarray:
        """(N,) chance that an innocent record scores as much; at most ``1 - _TAIL[0]`` is told, 1 below that."""
        return _chance(scores, self.tail_start, self.tail_scale, self.tail_count)

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


def set_chance(chances: np.ndarray, people: int, draws: int = 2000) -> float:
    """Chance that an innocent set holds as surprising records, by the test of Berk and Jones.

    For every k the k lowest chances of the set's records are compared with what k of as many innocent records have; the
    most surprising k counts. How surprising that is among innocent sets is found by drawing these, each with a
    calibration of its own, whose errors all records of a set share. Records count as drawn independently: a set that
    repeats itself has more alarms.

    Args:
        chances: (N,) of the records; only those below the tail's beginning say something.
        people: by whose records the chances are known.
        draws: of innocent sets.
    """
    count = _looked_at(len(chances))
    seen = float(_surprise(np.sort(chances)[None, :count], len(chances))[0])
    rank = int((_innocent_surprises(len(chances), people, draws) <= seen).sum())
    # Beyond what was drawn: the most surprising k of a few that are alike counts as often as there are some k.
    return (1 + rank) / (1 + draws) if rank else min(1 / draws, 10.0 * seen)


def alone(rate: float, size: int, people: int, draws: int = 2000) -> float:
    """The chance below which a record alone raises the alarm in a set of ``size``, at this rate of false alarms."""
    least = float(np.quantile(_innocent_surprises(size, people, draws), rate))
    return -np.expm1(np.log1p(-least) / size)


def highest_listed(chances: np.ndarray, rate: float) -> float:
    """The highest chance among those (N,) that are listed where ``rate`` of all that is listed may be by chance, after
    Benjamini and Hochberg; 0 where none is."""
    ordered = np.sort(chances)
    allowed = rate * np.arange(1, len(ordered) + 1) / len(ordered)
    return float(ordered[ordered <= allowed].max(initial=0.0))


def _looked_at(size: int) -> int:
    """How many of the lowest chances of a set of records are looked at."""
    return max(1, int(np.ceil(size * (1 - _TAIL[0]) / 2)))


@functools.lru_cache(maxsize=64)
def _innocent_surprises(size: int, people: int, draws: int) -> np.ndarray:
    """(draws,) of innocent sets of ``size`` records, whose chances are known by the records of so many people."""
    rng, count = np.random.default_rng(0), _looked_at(size)
    surprises = []
    for _ in range(draws):
        start, scale, number = _tail(rng.exponential(size=people), people)
        # The highest of many exponential numbers, beginning with the highest.
        highest = -np.log(np.cumsum(rng.exponential(size=count)) / (size + 1))
        surprises.append(np.sort(_chance(highest, start, scale, number)))
    return _surprise(np.stack(surprises), size)


def _tail(scores: np.ndarray, people: int) -> tuple[float, float, float]:
    """Beginning and scale of the tail of innocent scores, and by how many people's it is known."""
    low, high = np.quantile(scores, _TAIL)
    count = max(2.0, people * (1 - _TAIL[0]))
    # With few records the quantiles may lie too near to each other.
    scale = (1 + 1.64 / np.sqrt(count)) * (high - low) / np.log((1 - _TAIL[0]) / (1 - _TAIL[1]))
    return float(low), float(max(scale, 1e-3)), count


def _chance(scores: np.ndarray, start: float, scale: float, count: float) -> np.ndarray:
    beyond = np.maximum(scores - start, 0.0) / (scale * count)
    return np.where(scores < start, 1.0, np.maximum((1 - _TAIL[0]) * (1 + beyond) ** -count, 1e-300))


def _surprise(ordered: np.ndarray, count: int) -> np.ndarray:
    """(R,) least chance, over k, that the k-th lowest of ``count`` uniform numbers is as low as (R, k)."""
    from scipy.stats import beta

    places = np.arange(1, ordered.shape[1] + 1)
    return beta.cdf(np.clip(ordered, 0, 1), places, count + 1 - places).min(1)
