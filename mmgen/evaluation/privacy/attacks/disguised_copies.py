"""Copies under disguise: training records that were turned, cropped, recoloured, mixed or otherwise changed.

A detector is made for these data from disguises that the audit puts on training records itself; how often innocent
records reach it is known from real records beside those of other people. The set is judged by a test, and the share of
the audit's own disguises that are found says what it can see.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

import numpy as np

from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.disguises.calibrated import CalibratedSearch
from mmgen.evaluation.privacy.disguises.detectors import alone, highest_listed, set_chance
from mmgen.evaluation.privacy.disguises.search import Candidates
from mmgen.evaluation.privacy.results import DisguisedCopiesResult, DisguisedPair, exact_interval

FALSE_ALARMS = 0.01
"""Chance of an alarm on an innocent set."""
FALSELY_LISTED = 0.05
"""Share of the records listed after an alarm that may be there by chance."""
SHARE = 0.05
"""Share of a set that copies are, for which it is told how many of them would be listed."""
FEWEST_PEOPLE = 10
"""Training and held-out people, of whom innocent records are compared."""
PAIRS = 60


def _calibrated(case: Case, rng: np.random.Generator) -> CalibratedSearch:
    """The search among the training records of one modality."""
    _, members, non_members = case.records
    evidence, effort = case.evidence, case.effort
    return CalibratedSearch.fitted(
        members, non_members, evidence.modalities[case.name], case.name in evidence.mirrored,
        effort.planted, effort.innocent, rng, evidence.device,
    )  # fmt: skip


def run(case: Case) -> dict[str, DisguisedCopiesResult]:
    """Copies under disguise among the synthetic records of one modality."""
    synthetic, members, non_members = case.records
    people = sum(len(np.unique(side.owners)) for side in (members, non_members))
    if people < FEWEST_PEOPLE:
        note = "there are too few people to know how much alike records of other people are"
        return {"disguised_copies": DisguisedCopiesResult(of=len(synthetic), people=people, note=note)}
    rng = np.random.default_rng([case.seed, 0xD15])
    calibrated = _calibrated(case, rng)
    detectors, people = calibrated.detectors, calibrated.people
    candidates = calibrated.search.candidates(synthetic.values, description=f"copies of {case.name}")
    scores, best = detectors.scores(candidates)
    chances = detectors.chance(scores)
    p_value = set_chance(chances, people)
    listed = highest_listed(chances, FALSELY_LISTED) if p_value <= FALSE_ALARMS else 0.0
    noticed = alone(FALSE_ALARMS, len(scores), people)
    limit = detectors.threshold(listed or noticed)
    together = FALSELY_LISTED * SHARE
    power, of_one = calibrated.power(members, case.effort.planted, rng, together, noticed)
    order = np.flatnonzero(chances <= listed)
    order = order[np.argsort(-scores[order], kind="stable")]
    return {
        "disguised_copies": DisguisedCopiesResult(
            found=len(order),
            of=len(scores),
            found_ci=exact_interval(len(order), len(scores)),
            p_value=p_value,
            false_alarm_rate=FALSE_ALARMS,
            falsely_listed=FALSELY_LISTED,
            compared=len(detectors.innocent),
            compared_found=int((detectors.innocent >= limit).sum()),
            people=people,
            power=power,
            power_alone=fmean(of_one.values()),
            planted=case.effort.planted,
            pairs=tuple(_pairs(candidates, scores, best, order[:PAIRS], limit)),
        )
    }


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


KIND = Kind("disguised_copies", "disguised copies", "copying", DisguisedCopiesResult)
ATTACK = Attack(
    (KIND,),
    run,
    settings=lambda case: {
        "planted": case.effort.planted,
        "innocent": case.effort.innocent,
        "mirrored": case.name in case.evidence.mirrored,
    },
    version=3,
)
