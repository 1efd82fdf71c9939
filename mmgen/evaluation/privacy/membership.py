"""Membership inference: how well an attack's scores tell training samples from others of the same distribution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mmgen.errors import UserError
from mmgen.evaluation.privacy.results import Curve, Interval, MembershipResult, Threat

# Resamples that are held at a time: 5,000 + 5,000 scores take some 15 MB.
_CHUNK = 64
_ROC_POINTS = 200


@dataclass(frozen=True, eq=False)
class Scores:
    """What an attack says of samples; higher is more like a member.

    Attributes:
        members: (N,) scores of training samples.
        non_members: (M,) scores of real samples of the same distribution that were not trained on.
        member_subjects: (N,) integers, the same for samples of one subject; None: every sample is a subject of its own.
        non_member_subjects: (M,), the same for ``non_members``.

    Raises:
        UserError: a side without scores, scores that are not finite, or another number of subjects than of scores.
    """

    members: np.ndarray
    non_members: np.ndarray
    member_subjects: np.ndarray | None = None
    non_member_subjects: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, subjects_name in (("members", "member_subjects"), ("non_members", "non_member_subjects")):
            values, said = np.asarray(getattr(self, name), dtype=np.float64), name.replace("_", "-")
            object.__setattr__(self, name, values)
            subjects = getattr(self, subjects_name)
            if values.ndim != 1 or not len(values):
                raise UserError(f"An attack needs at least one score of {said}, got an array of shape {values.shape}.")
            if wrong := int((~np.isfinite(values)).sum()):
                raise UserError(f"{wrong} of {len(values)} scores of {said} are not finite; is the model's output NaN?")
            if subjects is not None and np.shape(subjects) != values.shape:
                raise UserError(
                    f"There are {len(values)} scores of {said} but {np.shape(subjects)} entries of their subjects."
                )


def membership_result(
    scores: Scores, threat_model: Threat, seed: int = 0, counts: bool = True, resamples: int = 1000
) -> MembershipResult:
    """The result of an attack that gave these scores.

    Args:
        threat_model: what the attacker holds.
        seed: of the bootstrap and of ties.
        counts: False marks a protocol that measures something other than membership.
        resamples: of the bootstrap; 1000 of 5,000 + 5,000 scores take half a second.
    """
    table = _Table.of(scores)
    whole = table.counts(np.ones((1, len(scores.members))), np.ones((1, len(scores.non_members))))
    draws = (table.counts(*weights) for weights in _resampled(scores, resamples, seed))
    auc, tpr = np.concatenate([(drawn.auc, drawn.tpr_at(0.01)) for drawn in draws], axis=1)
    fpr_curve, tpr_curve = _thinned(*(rates[0] for rates in whole.rates), len(scores.non_members))
    return MembershipResult(
        auc=float(whole.auc[0]),
        auc_ci=_interval(auc),
        tpr_at_1_fpr=float(whole.tpr_at(0.01)[0]),
        tpr_at_1_fpr_ci=_interval(tpr),
        tpr_at_01_fpr=float(whole.tpr_at(0.001)[0]),
        accuracy=_top_share(scores, seed),
        chance=len(scores.members) / (len(scores.members) + len(scores.non_members)),
        threat_model=threat_model,
        n_members=len(scores.members),
        n_non_members=len(scores.non_members),
        counts=counts,
        roc=Curve(tuple(fpr_curve.tolist()), tuple(tpr_curve.tolist())),
    )


class _Counts(NamedTuple):
    """Others and members (R, T + 1) that reach each threshold, from above all scores down to the least, of R
    weightings. Counts are whole, so that sums of them are exact."""

    non_members: np.ndarray
    members: np.ndarray

    @property
    def auc(self) -> np.ndarray:
        """(R,) by trapezoids: a tie is a slanted piece of the curve, hence counts half."""
        twice = (np.diff(self.non_members, axis=1) * (self.members[:, 1:] + self.members[:, :-1])).sum(1)
        return twice / (2 * self.non_members[:, -1] * self.members[:, -1])

    @property
    def rates(self) -> tuple[np.ndarray, np.ndarray]:
        """Rates of false and of true positives, (R, T + 1) each."""
        return self.non_members / self.non_members[:, -1:], self.members / self.members[:, -1:]

    def tpr_at(self, limit: float) -> np.ndarray:
        """(R,) rate of true positives at the lowest threshold whose rate of false ones is at most ``limit``."""
        false, true = self.rates
        # Shares that should equal the limit may be a rounding error above it.
        last = (false <= limit + 1e-12).sum(1) - 1
        return np.take_along_axis(true, last[:, None], 1)[:, 0]


class _Table(NamedTuple):
    """Scores sorted once for all weightings: places (N,), (M,) of each side's scores among the T different ones,
    highest first."""

    members: np.ndarray
    non_members: np.ndarray
    different: int

    @classmethod
    def of(cls, scores: Scores) -> _Table:
        different, places = np.unique(-np.concatenate([scores.members, scores.non_members]), return_inverse=True)
        return cls(places[: len(scores.members)], places[len(scores.members) :], len(different))

    def counts(self, member_weights: np.ndarray, other_weights: np.ndarray) -> _Counts:
        """Counts under weights (R, N) and (R, M)."""
        non_members = self._cumulative(self.non_members, other_weights)
        return _Counts(non_members, self._cumulative(self.members, member_weights))

    def _cumulative(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        rows = np.arange(len(weights))[:, None] * self.different
        sums = np.bincount((rows + places).ravel(), weights.ravel(), len(weights) * self.different)
        return np.pad(sums.reshape(len(weights), self.different).cumsum(1), ((0, 0), (1, 0)))


def _resampled(scores: Scores, resamples: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each sample is drawn, (R, N) and (R, M), some resamples at a time."""
    rng = np.random.default_rng(seed)
    sides = [_codes(scores.members, scores.member_subjects), _codes(scores.non_members, scores.non_member_subjects)]
    for start in range(0, resamples, _CHUNK):
        number = min(_CHUNK, resamples - start)
        yield tuple(_drawn(rng, number, subjects)[:, subjects] for subjects in sides)


def _codes(values: np.ndarray, subjects: np.ndarray | None) -> np.ndarray:
    """(N,) number of each sample's subject, 0 to the number of subjects - 1."""
    return np.arange(len(values)) if subjects is None else np.unique(subjects, return_inverse=True)[1]


def _drawn(rng: np.random.Generator, resamples: int, subjects: np.ndarray) -> np.ndarray:
    """(R, P): how often each of P subjects is drawn when P are, with replacement."""
    count = int(subjects.max()) + 1
    drawn = rng.integers(count, size=(resamples, count)) + np.arange(resamples)[:, None] * count
    return np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count)


def _interval(values: np.ndarray) -> Interval:
    return tuple(np.percentile(values, [2.5, 97.5]).tolist())


def _top_share(scores: Scores, seed: int) -> float:
    values = np.concatenate([scores.members, scores.non_members])
    n = len(scores.members)
    chance = np.random.default_rng(seed).permutation(len(values))
    top = np.lexsort((chance, -values))[:n]
    return float((top < n).mean())


def _thinned(fpr: np.ndarray, tpr: np.ndarray, non_members: int) -> tuple[np.ndarray, np.ndarray]:
    """The ends, and for each false positive rate of a logarithmic and a linear grid the highest point within it."""
    if len(fpr) <= _ROC_POINTS:
        return fpr, tpr
    grid = np.concatenate([[0.0], np.geomspace(1 / non_members, 1.0, 98), np.linspace(0.0, 1.0, 100)])
    kept = np.searchsorted(fpr, grid + 1e-12, side="right") - 1
    kept = np.unique(np.concatenate([[0, len(fpr) - 1], kept]))
    return fpr[kept], tpr[kept]
