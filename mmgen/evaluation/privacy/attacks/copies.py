"""Copies: is a synthetic record a training record, and does it lie closer to training than to held-out records?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmgen.data.samples import Sliceable
from mmgen.evaluation.neighbours import Nearest, nearest_both, nearest_other
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores
from mmgen.evaluation.privacy.results import CopiesResult, Pair
from mmgen.evaluation.privacy.sides import Records

# Root mean squared differences below which two records are the same: one grey level; a tenth of a decibel in log-mels.
EXACT_GREY_LEVELS, EXACT_LOG_MEL = 1.0, 0.023
# A synthetic record is nearly a copy where it lies nearer to a training record than this share of the distance that
# hardly any held-out record falls below (its first percentile).
NEAR_SHARE = 0.5
PAIRS, NEAREST_PAIRS = 60, 8


def closest_record(
    synthetic: Sliceable,
    members: Records,
    non_members: Records,
    mirrored: bool = False,
    seed: int = 0,
    description: str = "",
) -> tuple[CopiesResult, Scores]:
    """Copies among synthetic records, and how much nearer they lie to training records (members) than to held-out ones.

    Args:
        synthetic, members, non_members: records of the same shape; all are compared, none is sampled, but for the
            shares that compare both sides: these take random records of equally many subjects.
        mirrored: a mirror image counts as the same picture.
        seed: of that draw and of the intervals.
        description: of the progress bar.

    Returns:
        Copies, and the attack by distance: minus the distance to the nearest synthetic record.

    Raises:
        ValueError: an empty side, or records of different shapes.
    """
    exact = EXACT_GREY_LEVELS if synthetic.dtype == np.uint8 else EXACT_LOG_MEL
    sides = [members, non_members]
    # Other records of the person whose record was copied would hide the copy: they lie nearly as near.
    owners = members.owners if len(np.unique(members.owners)) > 1 else None
    searched = [
        nearest_both(synthetic, side.values, mirrored=mirrored, description=description, owners=known)
        for side, known in zip(sides, (owners, None), strict=True)
    ]
    (to_members, from_members), (to_non_members, from_non_members) = searched
    others = nearest_both(non_members.values, members.values, mirrored=mirrored, owners=owners)[0]
    real, distances, rows = others.distances, to_members.distances, to_members.rows
    limit = max(NEAR_SHARE * float(np.quantile(real, 0.01)), exact)
    by_ratio = to_members.by_ratio()
    kinds = np.select([distances < exact, distances < limit, by_ratio], ["exact", "near", "by_ratio"], "nearest")
    shown = min(PAIRS, max(NEAREST_PAIRS, int((kinds != "nearest").sum())))
    order = np.lexsort((distances, kinds == "nearest"))[:shown]
    result = CopiesResult(
        exact=int((distances < exact).sum()),
        near=int(((distances >= exact) & (distances < limit)).sum()),
        of=len(distances),
        limit=limit,
        distance_to_training=float(np.median(distances)),
        distance_to_others=float(np.median(to_non_members.distances)),
        real_distance=float(np.median(real)),
        pairs=tuple(Pair(int(row), int(rows[row]), float(distances[row]), str(kinds[row])) for row in order),
        by_ratio=None if owners is None else int(by_ratio.sum()),
        by_ratio_of_others=None if owners is None else int(others.by_ratio().sum()),
        of_others=len(non_members),
    )
    scores = Scores(-from_members.distances, -from_non_members.distances, members.subjects, non_members.subjects)
    return replace(result, **_equal_sides(synthetic, sides, searched, mirrored, seed)), scores


def _equal_sides(
    synthetic: Sliceable,
    sides: Sequence[Records],
    searched: Sequence[tuple[Nearest, Nearest]],
    mirrored: bool,
    seed: int,
) -> dict[str, Any]:
    """Fields that compare members and non-members, on random records of equally many subjects with equally many
    records each; ``searched`` holds the nearest of all of them."""
    rng = np.random.default_rng(seed)
    rows = _balanced(sides, rng)
    count = len(rows[0])
    equal, nearby = list(sides), list(searched)
    for place, (side, chosen) in enumerate(zip(sides, rows, strict=True)):
        if count < len(side):
            equal[place] = Records(side.values[chosen], side.owners[chosen])
            nearby[place] = nearest_both(synthetic, equal[place].values, mirrored=mirrored)
    (to_members, _), (to_non_members, _) = nearby
    # A record that is as near to both counts half for each.
    one, other = to_members.distances, to_non_members.distances
    nearer = (one < other) + 0.5 * (one == other)
    hits = [
        np.bincount(to.rows, weight, minlength=count)
        for to, weight in ((to_members, nearer), (to_non_members, 1.0 - nearer))
    ]
    low, high = _share_interval(hits, [side.owners for side in equal], rng)
    shares = [
        float((near.distances < nearest_other(side.values, mirrored=mirrored).distances).mean()) if count > 1 else None
        for (_, near), side in zip(nearby, equal, strict=True)
    ]
    return {
        "share_closer_to_training": float(nearer.mean()),
        "share_closer_ci": (low, high),
        "identifiability": shares[0],
        "identifiability_of_others": shares[1],
        "compared": count,
    }


def _balanced(sides: Sequence[Records], rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of each side: equally many subjects, of each the same number of records or all of them, as many rows.

    A side of more subjects lies nearer to anything, even where both have the same number of records.
    """
    owners = [np.unique(side.owners, return_inverse=True)[1] for side in sides]
    records = [np.bincount(of_side) for of_side in owners]
    count, most = min(map(len, records)), max(1, min(int(np.median(counts)) for counts in records))
    chosen = []
    for of_side, counts in zip(owners, records, strict=True):
        order = rng.permutation(len(of_side))
        order = order[np.argsort(of_side[order], kind="stable")]  # subject by subject, each in a random order
        rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = np.isin(of_side[order], rng.permutation(len(counts))[:count]) & (rank < most)
        chosen.append(order[kept])
    count = min(map(len, chosen))
    return [np.sort(rng.permutation(rows)[:count]) for rows in chosen]


def _share_interval(
    hits: list[np.ndarray], subjects: list[np.ndarray], rng: np.random.Generator
) -> tuple[float, float]:
    """95 % bootstrap interval of the members' share of all hits, drawing subjects of each side with replacement.

    Which real records there are decides the share as much as which synthetic ones: one that lies in the middle is the
    nearest of many.
    """
    drawn = []
    for counts, owners in zip(hits, subjects, strict=True):
        per_subject = np.bincount(np.unique(owners, return_inverse=True)[1], counts)
        weights = rng.multinomial(len(per_subject), np.full(len(per_subject), 1 / len(per_subject)), 1000)
        drawn.append(weights @ per_subject)
    total = drawn[0] + drawn[1]
    shares = np.divide(drawn[0], total, out=np.full(len(total), 0.5), where=total > 0)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)


def run(case: Case) -> dict[str, CopiesResult | Scores]:
    """Copies, and the attack by distance, in raw values."""
    mirrored = case.name in case.evidence.mirrored
    synthetic, *sides = case.records
    copies, scores = closest_record(synthetic.values, *sides, mirrored, case.seed, f"nearest {case.name}")
    return {"copies": copies, "closest_record": scores}


ATTACK = Attack(
    (Kind("copies", "copies", "copying", CopiesResult), Kind("closest_record", "closest record")),
    run,
    settings=lambda case: {"mirrored": case.name in case.evidence.mirrored},
    version=2,
)
