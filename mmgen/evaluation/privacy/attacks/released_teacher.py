"""Membership inference against a released teacher, which is more confident on its training records."""

from __future__ import annotations

from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.attacks.soft_labels import attacked
from mmgen.evaluation.privacy.membership import Scores


def run(case: Case) -> dict[str, Scores]:
    """The attack on one modality."""
    return attacked("teacher", case.evidence.teacher, case.name, case.sides)


ATTACK = Attack(
    (Kind("teacher", "confidence of the teacher"), Kind("teacher_label_only", "labels of the teacher alone")),
    run,
    needs=("teacher",),
    threat="W",
    may_fail=True,
)
