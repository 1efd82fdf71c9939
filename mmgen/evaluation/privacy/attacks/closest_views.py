"""Membership by likeness to the closest synthetic record, in views that brightness, contrast and turns do not hide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mmgen.data.progress import progress_bar
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.disguises.forms import picture_form, sound_form
from mmgen.evaluation.privacy.disguises.pixels import in_parts
from mmgen.evaluation.privacy.disguises.windows import Windows
from mmgen.evaluation.privacy.membership import Scores
from mmgen.evaluation.privacy.sides import Records

_SAMPLE, _QUERIES, _REFERENCES = 2000, 32, 256


@torch.no_grad()
def run(case: Case) -> dict[str, Scores]:
    """The attack by the view that tells most.

    Which view that is, is found on half of the people and judged by the other half, both ways round, so that the best
    of several is not better than one by chance.
    """
    synthetic, members, non_members = case.records
    evidence = case.evidence
    modality, is_picture = evidence.modalities[case.name], case.name in evidence.mirrored
    form = picture_form() if is_picture else sound_form()

    def parts(records: Records, size: int, every: int = 1) -> Iterator[Tensor]:
        return in_parts(records.values[::every], modality, is_picture, size, evidence.device)

    sample = torch.cat(list(parts(synthetic, _REFERENCES, -(-len(synthetic) // _SAMPLE))))
    views = [Windows(templates, sample) for templates in form.whole_views]
    for part in parts(synthetic, _REFERENCES):
        for view in views:
            view.add(part)

    def closest(records: Records) -> np.ndarray:
        """(V, N) likeness to the most alike synthetic record."""
        count = -(-len(records) // _QUERIES)
        found: list[Tensor] = [
            torch.stack([view.likeness(view.queries(part)).amax(1) for view in views])
            for part in progress_bar(parts(records, _QUERIES), count, f"views of {case.name}")
        ]
        return torch.cat(found, 1).cpu().numpy()

    sides = members, non_members
    likeness = [closest(side) for side in sides]
    halves = [_half(side.owners, case.seed) for side in sides]
    scores = _judged_by_the_other_half(likeness, halves)
    return {"closest_record_views": Scores(*scores, *(side.subjects for side in sides))}


def _half(owners: np.ndarray, seed: int) -> np.ndarray:
    """(N,) which half of the people each record belongs to."""
    people, numbers = np.unique(owners, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(people)) % 2 == 0)[numbers]


def _judged_by_the_other_half(likeness: list[np.ndarray], halves: list[np.ndarray]) -> list[np.ndarray]:
    """Of both sides, scores (N,) and (M,): the rank, in the view that tells most of the other half, among all records.

    Args:
        likeness: (V, N) and (V, M) of members and others.
        halves: (N,) and (M,), which half each record belongs to.
    """
    from scipy.stats import rankdata

    together = rankdata(np.concatenate(likeness, 1), axis=1)
    ranks = np.split(together / together.shape[1], [likeness[0].shape[1]], axis=1)
    scores = [np.zeros(side.shape[1]) for side in ranks]
    for half in (False, True):
        asked, judged = ([one == which for one in halves] for which in (half, not half))
        # A half without a side says nothing of the views; the first is taken.
        gains = [
            np.nan_to_num(side_a.mean() - side_b.mean()) if len(side_a) and len(side_b) else 0.0
            for side_a, side_b in zip(ranks[0][:, asked[0]], ranks[1][:, asked[1]], strict=True)
        ]
        view = int(np.argmax(gains))
        for score, side, mine in zip(scores, ranks, judged, strict=True):
            score[mine] = side[view, mine]
    return scores


ATTACK = Attack(
    (Kind("closest_record_views", "closest record, in several views"),),
    run,
    settings=lambda case: {"mirrored": case.name in case.evidence.mirrored},
)
