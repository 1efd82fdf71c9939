"""Membership by reconstruction: what a masked autoencoder has learnt from, it restores better."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import torch

from mmgen.data.progress import progress_bar
from mmgen.data.samples import Samples
from mmgen.errors import UserError, first_few
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores
from mmgen.models.cross_modal_mae import CrossModalMAE, MaskRatio, visible_count
from mmgen.models.seeds import counted_stream
from mmgen.training.mae_validation import tuples_around

MASK_RATIO = 0.75


@torch.no_grad()
def reconstruction_scores(
    model: CrossModalMAE,
    members: Mapping[str, Samples],
    non_members: Mapping[str, Samples],
    mask_ratio: MaskRatio = MASK_RATIO,
    draws: int = 4,
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Minus the loss on masked patches, of every sample of both sides; higher is more like a member (threat model "W").

    The loss, in normalised units, is averaged over ``draws`` masks. Every sample gets the same masks, so that none is
    easier by chance. A modality's samples are seen together with random same-label partners of the other modalities
    from their own side, as in training.

    Returns:
        {modality: (scores of members (N,), of non-members (M,))}, and where there are several modalities "joint": of
        every sample of the first with its partners, minus the sum of the losses of all modalities, each standardised
        over both sides.

    Raises:
        UserError: nothing is masked, or a label of one modality that another modality of the same side lacks.
    """
    sides = {"members": dict(members), "others": dict(non_members)}
    for name, ratio in model.ratios(mask_ratio).items():
        tokens = model.modalities[name].tokens
        if visible_count(tokens, ratio) == tokens:
            raise UserError(f"With mask ratio {ratio} nothing of '{name}' is masked; choose a higher one.")
    for side, samples in sides.items():
        labels = {name: {*np.unique(values.labels)} for name, values in samples.items()}
        for name, other in itertools.permutations(samples, 2):
            if missing := sorted(labels[other] - labels[name]):
                names = first_few(samples[other].label_names[label] for label in missing)
                raise UserError(
                    f"Among the {side}, '{other}' has samples labelled {names} and '{name}' has none, so that they "
                    "have no partners; leave out these labels, or attack each modality alone."
                )
    jobs = [(side, name) for name in members for side in sides]
    losses = {
        job: _losses(model, sides[job[0]], job[1], mask_ratio, draws, seed, batch_size)
        for job in progress_bar(jobs, len(jobs), "reconstruction attack")
    }
    scores = {name: tuple(-losses[side, name][name] for side in sides) for name in members}
    if len(members) > 1:
        of_members, of_others = (losses[side, next(iter(members))] for side in sides)
        both = [np.concatenate([loss, of_others[name]]) for name, loss in of_members.items()]
        # Losses that are all the same say nothing, and are not divided by zero.
        joint = sum((-(loss - loss.mean()) / (loss.std() or 1.0) for loss in both), 0.0)
        count = len(scores[next(iter(members))][0])
        scores["joint"] = joint[:count], joint[count:]
    return scores


def _losses(
    model: CrossModalMAE,
    samples: Mapping[str, Samples],
    name: str,
    mask_ratio: MaskRatio,
    draws: int,
    seed: int,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """Losses of all modalities in tuples around every sample of ``name``, {modality: (N,)} float64."""
    device = next(model.parameters()).device
    rows = tuples_around(samples, name, seed)
    masks = [model.noise(1, counted_stream(seed, draw)) for draw in range(draws)]
    losses: dict[str, list[torch.Tensor]] = {key: [] for key in samples}
    for start in range(0, len(rows[name]), batch_size):
        index = {key: value[start : start + batch_size] for key, value in rows.items()}
        batch = {key: torch.from_numpy(samples[key].values[i]).to(device) for key, i in index.items()}
        totals = dict.fromkeys(samples, torch.zeros(1, device=device))
        for mask in masks:
            noise = {key: drawn.expand(len(index[name]), -1) for key, drawn in mask.items()}
            for key, (loss, masked) in model.patch_losses(batch, mask_ratio, noise).items():
                weight = masked * model.valid(key).mean(-1)
                totals[key] = totals[key] + (loss * weight).sum(1) / weight.sum(1).clamp_min(1e-8)
        for key, total in totals.items():
            losses[key].append(total.double().cpu() / draws)
    return {key: torch.cat(parts).numpy() for key, parts in losses.items()}


def run(case: Case) -> dict[str, Scores]:
    """The attack on every modality and, where there are several, on their tuples."""
    sides = case.evidence.members, case.evidence.non_members
    samples = [side.samples for side in sides]
    with torch.random.fork_rng():  # a denoising model draws what stands in the place of hidden patches
        torch.manual_seed(case.seed)
        scores = reconstruction_scores(case.evidence.model, *samples, MASK_RATIO, case.effort.draws, case.seed)
    # Tuples are built around the first modality's records.
    owners = {name: next(iter(scores)) if name == "joint" else name for name in scores}
    return {
        case.key("reconstruction", name): Scores(*pair, *(side.subjects.get(owners[name]) for side in sides))
        for name, pair in scores.items()
    }


ATTACK = Attack(
    (Kind("reconstruction", "reconstruction error"),),
    run,
    needs=("model",),
    settings=lambda case: {"draws": case.effort.draws, "ratio": MASK_RATIO},
    threat="W",
    all_modalities=True,
    may_fail=True,
)
