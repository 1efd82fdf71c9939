"""Membership by denoising error: what a denoising model has learnt from, it takes noise out of better."""

from __future__ import annotations

import numpy as np
import torch

from mmgen.data.samples import Samples
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.seeds import torch_stream

# At the first time the model sees noise alone: its error says how unusual a record is, and not whether it is known.
TIMES = (0.0, 0.3, 0.5, 0.7, 0.9)


@torch.no_grad()
def denoising_errors(
    model: DenoisingMAE, name: str, samples: Samples, draws: int = 4, seed: int = 0, batch_size: int = 64
) -> np.ndarray:
    """Squared error of every record at each of :data:`TIMES`, (N, T) float64 in normalised units.

    All patches are hidden and noised, the model is told the label and sees no other modality. The error is averaged
    over ``draws`` of noise, which are the same for every record, so that none is easier by chance.
    """
    device, valid = next(model.parameters()).device, model.valid(name)
    normal = torch.randn(draws, *valid.shape, generator=torch_stream(seed, 0xE4404))
    known = {label: number for number, label in enumerate(model.class_names)}
    numbers = np.array([known.get(label, model.no_label) for label in samples.label_names])
    weight, errors = valid.mean(-1) / valid.mean(-1).sum(), []
    for start in range(0, len(samples), batch_size):
        x = torch.from_numpy(np.ascontiguousarray(samples.values[start : start + batch_size])).to(device)
        labels = torch.from_numpy(numbers[samples.labels[start : start + batch_size]])
        masks = {name: torch.zeros(len(x), len(valid))}
        total = torch.zeros(len(x), len(TIMES), dtype=torch.float64)
        for place, time in enumerate(TIMES):
            for noise in normal:
                gaussian = {name: noise.expand(len(x), -1, -1)}
                times = {name: torch.full((len(x),), time)}
                error, _ = model.patch_losses({name: x}, 1.0, masks, labels, times, gaussian)[name]
                total[:, place] += (error * weight).sum(1).double().cpu() / draws
        errors.append(total.numpy())
    return np.concatenate(errors)


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
        denoising_errors(evidence.denoiser, case.name, side.samples[case.name], case.effort.draws, case.seed)
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
