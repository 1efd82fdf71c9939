"""Copies under disguise: training records that were turned, cropped, recoloured, mixed or otherwise changed.

A detector is made for these data from disguises that the audit puts on training records itself; how often innocent
records reach it is known from real records beside those of other people. The set is judged by a test, and the share of
the audit's own disguises that are found says what it can see.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.disguises.detectors import Detectors, set_chance
from mmgen.evaluation.privacy.disguises.planting import PICTURES, SOUNDS, Disguise
from mmgen.evaluation.privacy.disguises.search import Candidates, CopySearch
from mmgen.evaluation.privacy.results import DisguisedCopiesResult, DisguisedPair
from mmgen.evaluation.privacy.sides import Records

logger = logging.getLogger(__name__)

FALSE_ALARMS = 0.01
"""Chance of an alarm on an innocent set."""
PAIRS = 60


class Planted(NamedTuple):
    """Training records under disguise: (N, C, H, W), the rows of their originals, and each one's kind and strength."""

    records: np.ndarray
    rows: np.ndarray
    kinds: np.ndarray
    names: np.ndarray


def planted(members: Records, disguises: Mapping[str, Disguise], each: int, rng: np.random.Generator) -> Planted:
    """``each`` random members under every disguise and strength, mixed with others where a disguise mixes."""
    count, made = len(members), []
    for kind, disguise in disguises.items():
        for strength in disguise.strengths:
            for row in rng.integers(count, size=each).tolist():
                record, other = (np.asarray(members.values[r : r + 1])[0] for r in (row, int(rng.integers(count))))
                changed = disguise.change(record, strength, rng, other)
                made.append((changed, row, kind, disguise.name(kind, strength)))
    records, rows, kinds, names = zip(*made, strict=True)
    return Planted(np.stack(records), np.array(rows), np.array(kinds), np.array(names))


def run(case: Case) -> dict[str, DisguisedCopiesResult]:
    """Copies under disguise among the synthetic records of one modality."""
    synthetic, members, non_members = case.records
    is_picture = case.name in case.evidence.mirrored
    search = CopySearch(members, case.evidence.modalities[case.name], is_picture, case.evidence.device)
    rng = np.random.default_rng([case.seed, 0xD15])
    disguises, each = PICTURES if is_picture else SOUNDS, case.effort.planted
    learnt, tried = (planted(members, disguises, each, rng) for _ in range(2))
    innocent = _innocent(search, members, non_members, case.effort.innocent, rng)
    found = search.candidates(learnt.records, description=f"disguises of {case.name}")
    detectors = Detectors.fitted(innocent, _copies(found, learnt))
    synthetic_candidates = search.candidates(synthetic.values, description=f"copies of {case.name}")
    scores, best = detectors.scores(synthetic_candidates)
    chances = detectors.chance(scores)
    alone = FALSE_ALARMS / len(scores)
    limit = detectors.threshold(alone)
    order = np.flatnonzero(chances <= alone)
    order = order[np.argsort(-scores[order], kind="stable")]
    pairs = list(_pairs(synthetic_candidates, scores, best, order[:PAIRS], limit))
    power, names = {}, dict.fromkeys(tried.names.tolist())
    seen = search.candidates(tried.records, description=f"power on {case.name}")
    hit = detectors.chance(detectors.scores(seen)[0]) <= alone
    for name in names:
        power[name] = float(hit[tried.names == name].mean())
    return {
        "disguised_copies": DisguisedCopiesResult(
            found=len(order),
            of=len(scores),
            found_ci=exact_interval(len(order), len(scores)),
            p_value=set_chance(chances, seed=case.seed),
            false_alarm_rate=FALSE_ALARMS,
            compared=len(innocent),
            compared_found=int((detectors.scores(innocent)[0] >= limit).sum()),
            power=power,
            planted=each,
            pairs=tuple(pairs),
        )
    }


def _innocent(
    search: CopySearch, members: Records, non_members: Records, count: int, rng: np.random.Generator
) -> Candidates:
    """Candidates of held-out records, and of training records among those of other people, ``count`` of each."""
    parts = []
    if len(np.unique(search.owners)) > 1:
        rows = np.sort(rng.permutation(len(members))[:count])
        parts.append(search.candidates(members.values[rows], search.owners[rows]))
    rows = np.sort(rng.permutation(len(non_members))[:count])
    parts.append(search.candidates(non_members.values[rows]))
    return Candidates.joined(parts)


def _copies(found: Candidates, made: Planted) -> dict[str, np.ndarray]:
    """By kind, the features of disguised records beside their originals, of those whose original was a candidate."""
    right = found.rows == made.rows[:, None]
    by_kind = {
        kind: found.features[(made.kinds == kind)[:, None] & right] for kind in dict.fromkeys(made.kinds.tolist())
    }
    return {kind: features for kind, features in by_kind.items() if len(features)}


def _pairs(
    candidates: Candidates, scores: np.ndarray, best: np.ndarray, order: np.ndarray, limit: float
) -> Iterator[DisguisedPair]:
    for row in order.tolist():
        place = row, best[row]
        yield DisguisedPair(
            row,
            int(candidates.rows[place]),
            float(scores[row] - limit),
            tuple(float(value) for value in candidates.transforms[place].flatten()),
            bool(candidates.inverted[place]),
        )


def exact_interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share by Clopper and Pearson."""
    from scipy.stats import binomtest

    interval = binomtest(hits, count).proportion_ci(0.95, "exact")
    return float(interval.low), float(interval.high)


KIND = Kind("disguised_copies", "disguised copies", "copying", DisguisedCopiesResult)
ATTACK = Attack(
    (KIND,),
    run,
    settings=lambda case: {"planted": case.effort.planted, "innocent": case.effort.innocent},
)
