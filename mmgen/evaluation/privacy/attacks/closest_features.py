"""Membership by distance in a feature space: what the synthetic set was made from lies nearer to it."""

from __future__ import annotations

from mmgen.evaluation.neighbours import nearest_both
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores


def run(case: Case) -> dict[str, Scores]:
    """The attack by minus the distance of a real record to the nearest synthetic one."""
    synthetic, *sides = case.features
    scores = [-nearest_both(synthetic.values, side.values)[1].distances for side in sides]
    return {"closest_record_features": Scores(*scores, *(side.subjects for side in sides))}


ATTACK = Attack((Kind("closest_record_features", "closest record, by features"),), run, needs=("features",))
