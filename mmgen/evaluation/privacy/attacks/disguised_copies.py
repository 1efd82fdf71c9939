"""Copies under disguise: training records that were turned, cropped, recoloured, mixed or otherwise changed.

A detector is made for these data from disguises that the audit puts on training records itself; how often innocent
records reach it is known from real records beside those of other people. The set is judged by a test, and the share of
the audit's own disguises that are found says what it can see.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.disguises.calibrated import CalibratedSearch
from mmgen.evaluation.privacy.disguises.detectors import highest_listed, set_chance
from mmgen.evaluation.privacy.disguises.search import Candidates
from mmgen.evaluation.privacy.results import DisguisedCopiesResult, DisguisedPair

FALSE_ALARMS = 0.01
"""Chance of an alarm on an innocent set."""
FALSELY_LISTED = 0.05
"""Share of the records listed after an alarm that may be there by chance."""
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
    synthetic, members, _ = case.records
    rng = np.random.default_rng([case.seed, 0xD15])
    calibrated = _calibrated(case, rng)
    detectors = calibrated.detectors
    candidates = calibrated.search.candidates(synthetic.values, description=f"copies of {case.name}")
    scores, best = detectors.scores(candidates)
    chances = detectors.chance(scores)
    p_value = set_chance(chances, seed=case.seed)
    listed = highest_listed(chances, FALSELY_LISTED) if p_value <= FALSE_ALARMS else 0.0
    limit = detectors.threshold(listed) if listed else np.inf
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
            compared=len(calibrated.innocent),
            compared_found=int((detectors.scores(calibrated.innocent)[0] >= limit).sum()),
            power=calibrated.power(members, case.effort.planted, FALSE_ALARMS / len(scores), rng),
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


def exact_interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share by Clopper and Pearson."""
    from scipy.stats import binomtest

    interval = binomtest(hits, count).proportion_ci(0.95, "exact")
    return float(interval.low), float(interval.high)


KIND = Kind("disguised_copies", "disguised copies", "copying", DisguisedCopiesResult)
ATTACK = Attack(
    (KIND,),
    run,
    settings=lambda case: {
        "planted": case.effort.planted,
        "innocent": case.effort.innocent,
        "mirrored": case.name in case.evidence.mirrored,
    },
    version=2,
)
