"""Membership inference: how well an attack's scores tell training samples from others of the same distribution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmgen.errors import UserError
from mmgen.evaluation.privacy.results import Curve, MembershipResult, ThreatModel

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
    scores: Scores, threat_model: ThreatModel, seed: int = 0, counts: bool = True, resamples: int = 1000
) -> MembershipResult:
    """The result of an attack that gave these scores.

    Args:
        threat_model: what the attacker holds.
        seed: of the bootstrap and of ties.
        counts: False marks a protocol that measures something other than membership.
        resamples: of the bootstrap; 1000 of 5,000 + 5,000 scores take half a second.
    """
    members, non_members = scores.members, scores.non_members
    different, places = np.unique(-np.concatenate([members, non_members]), return_inverse=True)
    sides = places[len(members) :], places[: len(members)]

    def curve(non_member_weights: np.ndarray, member_weights: np.ndarray) -> list[np.ndarray]:
        """(R, T + 1) samples of each side, weighted (R, N), that reach each threshold, from above all T different
        scores down to the least. Counts are whole, so that sums are exact."""
        counts = []
        for places, weights in zip(sides, (non_member_weights, member_weights), strict=True):
            rows = np.arange(len(weights))[:, None] * len(different)
            sums = np.bincount((rows + places).ravel(), weights.ravel(), len(weights) * len(different))
            counts.append(np.pad(sums.reshape(len(weights), -1).cumsum(1), ((0, 0), (1, 0))))
        return counts

    whole = curve(np.ones((1, len(non_members))), np.ones((1, len(members))))
    draws = (curve(*weights) for weights in _resampled(scores, resamples, seed))
    areas, recalls = np.concatenate([(_area(*drawn), _recall(*drawn, 0.01)) for drawn in draws], axis=1)
    auc_ci, tpr_ci = (tuple(np.percentile(values, [2.5, 97.5]).tolist()) for values in (areas, recalls))
    ties = np.random.default_rng(seed).permutation(len(places))
    top = np.lexsort((ties, places))[: len(members)]
    fpr_curve, tpr_curve = _thinned(*(counts[0] / counts[0, -1] for counts in whole), len(non_members))
    return MembershipResult(
        auc=float(_area(*whole)[0]),
        auc_ci=auc_ci,
        tpr_at_1_fpr=float(_recall(*whole, 0.01)[0]),
        tpr_at_1_fpr_ci=tpr_ci,
        tpr_at_01_fpr=float(_recall(*whole, 0.001)[0]),
        accuracy=float((top < len(members)).mean()),
        chance=len(members) / (len(members) + len(non_members)),
        threat_model=threat_model,
        n_members=len(members),
        n_non_members=len(non_members),
        counts=counts,
        roc=Curve(tuple(fpr_curve.tolist()), tuple(tpr_curve.tolist())),
    )


def _area(false: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(R,) by trapezoids: a tie is a slanted piece of the curve, hence counts half."""
    return (np.diff(false, axis=1) * (true[:, 1:] + true[:, :-1])).sum(1) / (2 * false[:, -1] * true[:, -1])


def _recall(false: np.ndarray, true: np.ndarray, limit: float) -> np.ndarray:
    """(R,) rate of true positives at the lowest threshold whose rate of false ones is at most ``limit``."""
    # Shares that should equal the limit may be a rounding error above it.
    last = (false / false[:, -1:] <= limit + 1e-12).sum(1) - 1
    return np.take_along_axis(true / true[:, -1:], last[:, None], 1)[:, 0]


def _resampled(scores: Scores, resamples: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each non-member and each member is drawn, (R, M) and (R, N), some resamples at a time: as often as its
    subject, of which as many are drawn as there are, with replacement."""
    rng = np.random.default_rng(seed)
    sides = [(scores.members, scores.member_subjects), (scores.non_members, scores.non_member_subjects)]
    for start in range(0, resamples, _CHUNK):
        number, weights = min(_CHUNK, resamples - start), []
        for values, subjects in sides:
            codes = np.arange(len(values)) if subjects is None else np.unique(subjects, return_inverse=True)[1]
            count = int(codes.max()) + 1
            drawn = rng.integers(count, size=(number, count)) + np.arange(number)[:, None] * count
            weights.append(np.bincount(drawn.ravel(), minlength=number * count).reshape(number, count)[:, codes])
        yield weights[1], weights[0]


def _thinned(fpr: np.ndarray, tpr: np.ndarray, non_members: int) -> tuple[np.ndarray, np.ndarray]:
    """The ends, and for each false positive rate of a logarithmic and a linear grid the highest point within it."""
    if len(fpr) <= _ROC_POINTS:
        return fpr, tpr
    grid = np.concatenate([[0.0], np.geomspace(1 / non_members, 1.0, 98), np.linspace(0.0, 1.0, 100)])
    kept = np.searchsorted(fpr, grid + 1e-12, side="right") - 1
    kept = np.unique(np.concatenate([[0, len(fpr) - 1], kept]))
    return fpr[kept], tpr[kept]
