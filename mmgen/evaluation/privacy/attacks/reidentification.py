"""Re-identification: does a synthetic record show a person of the training data, even where it is no copy?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
import torch
from torch import Tensor

from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores, membership_result
from mmgen.evaluation.privacy.recognition import Embedding, reduced, train_recogniser
from mmgen.evaluation.privacy.results import Interval, RecognisedResult, exact_interval
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.modality import Modality

# People with several recordings below which a network cannot learn what tells people apart, and be tested on others.
FEWEST_PEOPLE = 20
FALSE_MATCHES = 0.01
_SIDE, _MULTIPLE, _CHUNK = 64, 8, 512
# Places of the reduced record by which it is moved: of slices of brains that lay two pixels off, none were recognised
# without, 64 % with it, and no more of other people's.
_MOVES = (-2, 0, 2)
# Records of other people that say how common a training record is.
_OTHERS = 5
# Records of which all pairs are looked at.
_PAIRED = 1000


def recognised_people(
    modality: Modality,
    synthetic: Records,
    members: Records,
    non_members: Records,
    recordings: np.ndarray,
    updates: int,
    seed: int = 0,
    resamples: int = 1000,
    device: torch.device | str = "cpu",
) -> RecognisedResult:
    """Whether synthetic records are taken for people of the training data by what has learnt to recognise people.

    Half of the members with several recordings train the network; the others test it, and set the threshold: each of
    their records is compared with all other members, and by 1 % of them one of those is recognised. So the threshold is
    that of as many comparisons as a synthetic record has, and among data of the same origin; with fewer than 199 such
    records it is the highest. The non-members, of whom nothing was learnt, then show how often another person is.

    Args:
        modality: of the records; log-mels are normalised by it.
        synthetic, members, non_members: (N, C, H, W) of the same shape.
        recordings: (N,) which file each of the members is from: segments of one are one record of a person.
        updates: of the network.
        seed: of the split, the network and the bootstrap.
        resamples: of the bootstrap.
        device: where the network is trained.
    """
    people = np.unique(members.owners, return_inverse=True)[1]
    recordings = np.unique(recordings, return_inverse=True)[1]
    of_person = np.unique(np.stack([people, recordings]), axis=1)[0]
    several = np.flatnonzero(np.bincount(of_person) > 1)
    if len(several) < FEWEST_PEOPLE:
        note = f"only {len(several)} people have several records (at least {FEWEST_PEOPLE} are needed)"
        if not len(several):
            note = "each person has one record" if members.subjects is not None else "whose records they are is unknown"
        return RecognisedResult(of=len(synthetic), people=len(several), note=note)
    learnt = np.random.default_rng(seed).permutation(several)[: len(several) // 2]
    train, test = np.isin(people, learnt), np.isin(people, np.setdiff1d(several, learnt))
    known, *asked = (reduced(side.values, modality, _SIDE, _MULTIPLE) for side in (members, synthetic, non_members))
    embedding = train_recogniser(known[train], people[train], recordings[train], updates, seed, device)
    gallery = _Gallery.of(embedding, embedding(known), people, train)
    strangers = gallery.likeness(known[test], people[test], people)
    limit = np.sort(strangers)[-max(1, int(FALSE_MATCHES * (len(strangers) + 1)))]
    of_real = gallery.likeness(known[test], recordings[test], recordings)
    made, others = map(gallery.likeness, asked)
    other_people = np.unique(non_members.owners, return_inverse=True)[1]
    told = membership_result(Scores(made, others, None, other_people), "S", seed, False, resamples)
    return RecognisedResult(
        recognised=float((made > limit).mean()),
        recognised_ci=exact_interval((made > limit).sum(), len(made)),
        of=len(made),
        others=float((others > limit).mean()),
        others_ci=_interval_by_person(others > limit, others, other_people),
        real=float((of_real > limit).mean()),
        auc=told.auc,
        auc_ci=told.auc_ci,
        verification_auc=_verification(gallery.vectors[test], people[test], recordings[test], seed),
        people=len(several),
    )


@dataclass(frozen=True)
class _Gallery:
    """Records of the training people.

    Attributes:
        embedding: what makes vectors of records.
        vectors: (M, D) of the training records.
        common: (M,) half of how like other people each training record is: one that is nearly silent is like many.
    """

    embedding: Embedding
    vectors: np.ndarray
    common: np.ndarray

    @classmethod
    def of(cls, embedding: Embedding, vectors: np.ndarray, people: np.ndarray, learnt: np.ndarray) -> Self:
        """Others are people of the records ``learnt``, a mask, for these are never asked whose they are."""
        common = []
        for start in range(0, len(vectors), _CHUNK):
            alike = vectors[start : start + _CHUNK] @ vectors[learnt].T
            alike[people[start : start + _CHUNK, None] == people[learnt]] = -1.0
            common.append(np.sort(alike, axis=1)[:, -_OTHERS:].mean(1) / 2)
        return cls(embedding, vectors, np.concatenate(common))

    def likeness(
        self, asked: Tensor, left_out: np.ndarray | None = None, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """(N,) how like its nearest person each record is: as like as the nearest of all records, moved or not.

        Args:
            asked: records (N, C, h, w).
            left_out, groups: (N,) and (M,): training records of the group of the one asked do not count.
        """
        scores = []
        for start in range(0, len(asked), _CHUNK):
            part = asked[start : start + _CHUNK]
            alike = np.full((len(part), len(self.vectors)), -1.0, np.float32)
            for move in product(_MOVES, repeat=2):
                np.maximum(alike, self.embedding(part.roll(move, (2, 3))) @ self.vectors.T, out=alike)
            alike -= self.common.astype(np.float32)
            if left_out is not None:
                alike[left_out[start : start + _CHUNK, None] == groups] = -2.0
            scores.append(alike.max(1))
        return np.concatenate(scores)


def _verification(vectors: np.ndarray, people: np.ndarray, recordings: np.ndarray, seed: int) -> float:
    """AUC of pairs of one person, from different recordings, against pairs of two."""
    from sklearn.metrics import roc_auc_score

    chosen = np.random.default_rng(seed).permutation(len(vectors))[:_PAIRED]
    one, other = np.triu_indices(len(chosen), 1)
    same, alike = people[chosen][one] == people[chosen][other], (vectors[chosen] @ vectors[chosen].T)[one, other]
    counted = recordings[chosen][one] != recordings[chosen][other]
    return float(roc_auc_score(same[counted], alike[counted]))


def _interval_by_person(hits: np.ndarray, scores: np.ndarray, people: np.ndarray) -> Interval:
    """Exact interval of a share of records that are worth fewer, as scores of one person are alike.

    How much fewer is told by the correlation of scores within people (Kish 1965): hits are too rare to tell.
    """
    counts, total = np.bincount(people), len(people)
    size = np.square(counts).sum() / total
    worth = float(total)
    if 1 < len(counts) < total:
        means = np.bincount(people, scores) / counts
        between = (counts * np.square(means - scores.mean())).sum() / (len(counts) - 1)
        within = np.square(scores - means[people]).sum() / (total - len(counts))
        typical = (total - size) / (len(counts) - 1)
        correlation = (between - within) / max(between + (typical - 1) * within, 1e-12)
        worth = total / (1 + (size - 1) * min(1.0, max(0.0, correlation)))
    elif len(counts) == 1:
        worth = 1.0
    return exact_interval(hits.mean() * worth, worth)


def run(case: Case) -> dict[str, RecognisedResult]:
    """Recognition with a network that is trained on half of the members."""
    evidence, effort = case.evidence, case.effort
    recordings = evidence.members.samples[case.name].rows
    given = evidence.modalities[case.name], *case.records, recordings
    result = recognised_people(*given, effort.recognition, case.seed, effort.resamples, evidence.device)
    return {"recognised": result}


ATTACK = Attack(
    (Kind("recognised", "recognised people", "copying", RecognisedResult),),
    run,
    settings=lambda case: {
        "updates": case.effort.recognition,
        "recordings": len(np.unique(case.evidence.members.samples[case.name].rows)),
    },
)
