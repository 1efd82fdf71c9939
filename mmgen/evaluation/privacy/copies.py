"""Copies: is a synthetic record a training record, and does it lie closer to training than to held-out records?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmgen.data.samples import Sliceable
from mmgen.evaluation.privacy.membership import Scores
from mmgen.evaluation.privacy.neighbours import Nearest, nearest, nearest_both, nearest_other

# Root mean squared differences below which two records are the same: one grey level; a tenth of a decibel in log-mels.
EXACT_GREY_LEVELS, EXACT_LOG_MEL = 1.0, 0.023
# A synthetic record is nearly a copy where it lies nearer to a training record than this share of the distance that
# hardly any held-out record falls below (its first percentile).
NEAR_SHARE = 0.5
PAIRS, NEAREST_PAIRS = 60, 8


@dataclass(frozen=True)
class Records:
    """Records of one modality and what is known of whose they are.

    Attributes:
        values: (N, ...) images or log-mels in raw units, or features.
        people: (N,) whose record each is; None counts every record as another person's.
    """

    values: Sliceable
    people: np.ndarray | None = None

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def owners(self) -> np.ndarray:
        """(N,) whose record each is, a number of its own for each where nothing is known."""
        return np.arange(len(self)) if self.people is None else self.people


def closest_record(
    synthetic: Sliceable,
    members: Records,
    others: Records,
    mirrored: bool = False,
    seed: int = 0,
    description: str = "",
) -> tuple[dict[str, Any], Scores]:
    """Copies among synthetic records, and how much nearer they lie to training records (members) than to held-out ones.

    Args:
        synthetic, members, others: records of the same shape; all are compared, none is sampled, but for the shares
            that compare both sides: these take random records of equally many people.
        mirrored: a mirror image counts as the same picture.
        seed: of that draw and of the intervals.
        description: of the progress bar.

    Returns:
        An entry with, for n synthetic records,

        * ``exact``, ``near``, ``of``: records that are the same as a training record, nearly the same (``limit``: half
          the distance that 1 % of held-out records have to training records), and n;
        * ``share_closer_to_training`` and ``share_closer_ci``: share of synthetic records whose nearest real record is
          a training record, of equally many from both sides: 0.5 is ideal; 95 % interval over people of both sides;
        * ``identifiability``: share of training records whose nearest synthetic record is closer than their nearest
          other training record (0..1, lower is better); ``identifiability_of_others``: the same of held-out records;
        * ``distance_to_training``, ``distance_to_others``: medians, and ``real_distance``: of held-out to training;
        * ``pairs``: synthetic rows beside training rows, the closest first, all copies and some more.

        The second result is the attack by distance: minus the distance to the nearest synthetic record.

    Raises:
        ValueError: an empty side, or records of different shapes.
    """
    exact = EXACT_GREY_LEVELS if synthetic.dtype == np.uint8 else EXACT_LOG_MEL
    found = [
        nearest_both(synthetic, side.values, mirrored=mirrored, description=description) for side in (members, others)
    ]
    (to_members, from_members), (to_others, from_others) = found
    real = nearest(others.values, members.values, mirrored=mirrored)[0][:, 0]
    limit = max(NEAR_SHARE * float(np.quantile(real, 0.01)), exact)
    distances = to_members.distances
    entry = {
        "exact": int((distances < exact).sum()),
        "near": int(((distances >= exact) & (distances < limit)).sum()),
        "of": len(distances),
        "limit": limit,
        "distance_to_training": float(np.median(distances)),
        "distance_to_others": float(np.median(to_others.distances)),
        "real_distance": float(np.median(real)),
        "pairs": _pairs(distances, to_members.rows, exact, limit),
    }
    scores = Scores(-from_members.distances, -from_others.distances, members.people, others.people)
    entry |= _equal_sides(synthetic, [members, others], found, mirrored, seed)
    return entry, scores


def _pairs(distances: np.ndarray, rows: np.ndarray, exact: float, limit: float) -> list[dict[str, Any]]:
    order = np.argsort(distances, kind="stable")
    shown = min(PAIRS, max(NEAREST_PAIRS, int((distances < limit).sum())))
    kinds = np.where(distances < exact, "exact", np.where(distances < limit, "near", "nearest"))
    return [
        {
            "synthetic": int(row),
            "training": int(rows[row]),
            "distance": float(distances[row]),
            "kind": str(kinds[row]),
        }
        for row in order[:shown]
    ]


def _equal_sides(
    synthetic: Sliceable,
    sides: Sequence[Records],
    searched: Sequence[tuple[Nearest, Nearest]],
    mirrored: bool,
    seed: int,
) -> dict[str, Any]:
    """What compares members and others, on random records of equally many people with equally many records each;
    ``searched`` holds the nearest of all of them."""
    rng = np.random.default_rng(seed)
    rows = _balanced(sides, rng)
    count = len(rows[0])
    equal, found = [], []
    for side, chosen, of_all in zip(sides, rows, searched, strict=True):
        if count < len(side):
            side = Records(side.values[chosen], side.owners[chosen])
            of_all = nearest_both(synthetic, side.values, mirrored=mirrored)
        equal.append(side)
        found.append(of_all)
    (to_members, _), (to_others, _) = found
    # A record that is as near to both counts half for each.
    nearer = (to_members.distances < to_others.distances) + 0.5 * (to_members.distances == to_others.distances)
    hits = [
        np.bincount(to.rows, weight, minlength=count)
        for to, weight in ((to_members, nearer), (to_others, 1.0 - nearer))
    ]
    low, high = _share_interval(hits, [side.owners for side in equal], rng)
    shares = [
        float((near.distances < nearest_other(side.values, mirrored=mirrored).distances).mean()) if count > 1 else None
        for (_, near), side in zip(found, equal, strict=True)
    ]
    return {
        "share_closer_to_training": float(nearer.mean()),
        "share_closer_ci": [low, high],
        "identifiability": shares[0],
        "identifiability_of_others": shares[1],
        "compared": count,
    }


def _balanced(sides: Sequence[Records], rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of each side: equally many people, of each the same number of records or all of them, and equally many rows.

    A side of more people lies nearer to anything, even where both have the same number of records.
    """
    owners = [np.unique(side.owners, return_inverse=True)[1] for side in sides]
    records = [np.bincount(of_side) for of_side in owners]
    people, most = min(map(len, records)), max(1, min(int(np.median(counts)) for counts in records))
    chosen = []
    for of_side, counts in zip(owners, records, strict=True):
        order = rng.permutation(len(of_side))
        order = order[np.argsort(of_side[order], kind="stable")]  # person by person, each in a random order
        rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = np.isin(of_side[order], rng.permutation(len(counts))[:people]) & (rank < most)
        chosen.append(order[kept])
    count = min(map(len, chosen))
    return [np.sort(rng.permutation(rows)[:count]) for rows in chosen]


def _share_interval(
    hits: list[np.ndarray], people: list[np.ndarray], rng: np.random.Generator, resamples: int = 1000
) -> tuple[float, float]:
    """95 % bootstrap interval of the members' share of all hits, drawing people of each side with replacement.

    Which real records there are decides the share as much as which synthetic ones: one that lies in the middle is the
    nearest of many.
    """
    drawn = []
    for counts, owners in zip(hits, people, strict=True):
        per_person = np.bincount(np.unique(owners, return_inverse=True)[1], counts)
        weights = rng.multinomial(len(per_person), np.full(len(per_person), 1 / len(per_person)), resamples)
        drawn.append(weights @ per_person)
    total = drawn[0] + drawn[1]
    shares = np.divide(drawn[0], total, out=np.full(resamples, 0.5), where=total > 0)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)
