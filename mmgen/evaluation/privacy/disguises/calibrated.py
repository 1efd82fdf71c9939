"""A search for disguised copies that has learnt, from its own disguises and from innocent records, what a copy is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from mmgen.data.samples import Sliceable
from mmgen.evaluation.privacy.disguises.detectors import Detectors
from mmgen.evaluation.privacy.disguises.planting import Disguise, disguises_of
from mmgen.evaluation.privacy.disguises.search import Candidates, CopySearch
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.modality import Modality


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
                partner = (row + int(rng.integers(1, max(2, count)))) % count
                record, other = (np.asarray(members.values[r : r + 1])[0] for r in (row, partner))
                changed = disguise.change(record, strength, rng, other)
                made.append((changed, row, kind, disguise.name(kind, strength)))
    records, rows, kinds, names = zip(*made, strict=True)
    return Planted(np.stack(records), np.array(rows), np.array(kinds), np.array(names))


@dataclass(frozen=True)
class CalibratedSearch:
    """A search among training records, and how its scores are judged.

    Attributes:
        search: among the training records.
        detectors: by which pairs are scored.
        people: of whom innocent records were compared.
        disguises: that the audit plants, by kind.
    """

    search: CopySearch
    detectors: Detectors
    people: int
    disguises: Mapping[str, Disguise]

    @classmethod
    def fitted(
        cls,
        members: Records,
        non_members: Records,
        modality: Modality,
        is_picture: bool,
        planted_each: int,
        innocent: int,
        rng: np.random.Generator,
        device: torch.device | str = "cpu",
        quiet: bool = False,
    ) -> CalibratedSearch:
        """Fit detectors to disguises of members and to real records beside those of other people.

        Args:
            members, non_members: raw training records and held-out ones of other people, (N, C, H, W) each.
            modality: of all records.
            is_picture: whether records are pictures, or else log-mels.
            planted_each: training records put under each kind and strength of disguise.
            innocent: records of each side by which false alarms are calibrated.
            rng: which records these are.
            device: where records are compared.
            quiet: show no progress bar.
        """
        search = CopySearch(members, modality, is_picture, device)
        disguises = disguises_of(is_picture, modality.shape[0])
        learnt = planted(members, disguises, planted_each, rng)
        candidates, people = _innocent(search, members, non_members, innocent, rng)
        found = search.candidates(learnt.records, description="" if quiet else f"disguises of {modality.name}")
        detectors = Detectors.fitted(candidates, people, _copies(found, learnt), len(search.views))
        return cls(search, detectors, len(np.unique(people)), disguises)

    def chances(self, records: Sliceable, description: str = "") -> np.ndarray:
        """(N,) of raw records (N, C, H, W): the chance that an innocent record is as much like a training record."""
        return self.detectors.chance(self.detectors.scores(self.search.candidates(records, description=description))[0])

    def power(self, members: Records, each: int, rng: np.random.Generator, *limits: float) -> list[dict[str, float]]:
        """For each of some chances, the share by kind and strength of ``each`` newly planted disguises that are found
        where an innocent record is taken for a copy with this chance."""
        tried = planted(members, self.disguises, each, rng)
        chances = self.chances(tried.records, description=f"power on {self.search.modality.name}")
        rows = {name: tried.names == name for name in dict.fromkeys(tried.names.tolist())}
        return [{name: float((chances[own] <= limit).mean()) for name, own in rows.items()} for limit in limits]


def _innocent(
    search: CopySearch, members: Records, non_members: Records, count: int, rng: np.random.Generator
) -> tuple[Candidates, np.ndarray]:
    """Candidates of held-out records, and of training records among those of other people, ``count`` of each, and whose
    records these are."""
    parts, people = [], []
    owners = np.unique(non_members.owners, return_inverse=True)[1]
    if len(np.unique(search.owners)) > 1:
        rows = np.sort(rng.permutation(len(members))[:count])
        parts.append(search.candidates(members.values[rows], search.owners[rows]))
        people.append(search.owners[rows] + owners.max() + 1)
    rows = np.sort(rng.permutation(len(non_members))[:count])
    parts.append(search.candidates(non_members.values[rows]))
    return Candidates.joined(parts), np.concatenate([*people, owners[rows]])


def _copies(found: Candidates, made: Planted) -> dict[str, np.ndarray]:
    """By kind, the features of disguised records beside their originals, of those whose original was a candidate."""
    right = found.rows == made.rows[:, None]
    by_kind = {
        kind: found.features[(made.kinds == kind)[:, None] & right] for kind in dict.fromkeys(made.kinds.tolist())
    }
    return {kind: features for kind, features in by_kind.items() if len(features)}
