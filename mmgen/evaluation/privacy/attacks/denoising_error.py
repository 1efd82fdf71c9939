"""Membership by denoising error: what a denoising model has learnt from, it takes noise out of better."""

from __future__ import annotations

import numpy as np

from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores
from mmgen.training.memorisation import denoising_errors

# At the first time the model sees noise alone: its error says how unusual a record is, and not whether it is known.
TIMES = (0.0, 0.3, 0.5, 0.7, 0.9)


def membership_scores(errors: np.ndarray) -> np.ndarray:
    """Scores (N,) of errors (N, T), higher is more like a member.

    An unusual record has large errors whether it is a member or not. What its error at the first time predicts of its
    errors at the others, by a line through all records, is therefore taken off (difficulty calibration, Watson et al.
    2022); the rest is standardised at each time and averaged.
    """
    logs = np.log(np.maximum(errors, 1e-12))
    difficulty, logs = logs[:, :1] - logs[:, :1].mean(), logs[:, 1:] - logs[:, 1:].mean(0)
    rest = logs - difficulty * (difficulty * logs).sum(0) / ((difficulty**2).sum() or 1.0)
    deviation = rest.std(0)
    return -(rest / np.where(deviation == 0, 1.0, deviation)).mean(1)


def run(case: Case) -> dict[str, Scores]:
    """The attack on one modality."""
    evidence = case.evidence
    sides = evidence.members, evidence.non_members
    errors = [
        denoising_errors(evidence.denoiser, case.name, side.samples[case.name], TIMES, case.effort.draws, case.seed)
        for side in sides
    ]
    scores = np.split(membership_scores(np.concatenate(errors)), [len(errors[0])])
    return {"denoising_error": Scores(*scores, *(side.subjects.get(case.name) for side in sides))}


ATTACK = Attack(
    (Kind("denoising_error", "denoising error, white box"),),
    run,
    needs=("denoiser",),
    settings=lambda case: {"draws": case.effort.draws, "times": TIMES},
    threat="W",
)
