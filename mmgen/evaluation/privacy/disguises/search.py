"""The training records whose disguised copy each record of a set could be: a cascade from all of them to a few.

Every query is compared with every training record in small windows; the most alike hundred are compared in finer ones,
and the most alike few of these, at most two of one person, are aligned with it, beside the most alike one in each view
of whole records. The search is exhaustive: its time grows with the product of both numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.data.progress import progress_bar
from mmgen.data.samples import Sliceable
from mmgen.evaluation.privacy.disguises.alignment import aligned, likeness
from mmgen.evaluation.privacy.disguises.forms import Form, picture_form, sound_form
from mmgen.evaluation.privacy.disguises.pixels import grey, in_parts
from mmgen.evaluation.privacy.disguises.windows import LARGEST, Windows
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.modality import Modality

_SHORTLIST, _ALIGNED, _OF_ONE_PERSON = 100, 4, 2
_RIVALS = 3  # people whose records are the most alike, beside whom one stands out
_QUERIES, _REFERENCES = 32, 256  # at a time
_SAMPLE = 2000  # records by which windows are whitened
_NONE = -100.0  # likeness of what does not count


@dataclass(frozen=True)
class Candidates:
    """Of each of N records, the K training records that it is most alike to, in no order.

    Attributes:
        rows: (N, K) of the training records; -1 where there are fewer.
        owners: (N, K) whose records these are.
        features: (N, K, F) how much they are alike; larger is more.
        transforms: (N, K, 2, 3) maps from places in the record to places in the training record.
        inverted: (N, K) whether dark and bright are exchanged.
    """

    rows: np.ndarray
    owners: np.ndarray
    features: np.ndarray
    transforms: np.ndarray
    inverted: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def joined(cls, parts: list[Candidates]) -> Candidates:
        """The candidates of all parts, one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def select(self, keep: np.ndarray | slice) -> Candidates:
        """Those of some records: indices, a mask or a slice."""
        return Candidates(*(getattr(self, field.name)[keep] for field in fields(self)))


class CopySearch:
    """Search among the training records of one modality.

    Args:
        members: training records, raw (M, C, H, W).
        modality: of all records.
        is_picture: whether records are pictures, which may be turned; otherwise log-mels, with time along the width.
        device: where records are compared.
    """

    def __init__(
        self, members: Records, modality: Modality, is_picture: bool, device: torch.device | str = "cpu"
    ) -> None:
        self.form: Form = picture_form() if is_picture else sound_form()
        self.modality, self.is_picture, self.device = modality, is_picture, torch.device(device)
        self.owners = np.unique(members.owners, return_inverse=True)[1]
        self._everyone = torch.from_numpy(self.owners).to(self.device)
        every = -(-len(members) // _SAMPLE)
        sample = torch.cat(list(self._parts(members.values[::every], _REFERENCES)))
        self.coarse, self.fine, *self.views = (
            Windows(templates, sample) for templates in (self.form.coarse, self.form.fine, *self.form.views)
        )
        values = []
        for part in self._parts(members.values, _REFERENCES):
            values.append(part.half())
            for windows in (self.coarse, self.fine, *self.views):
                windows.add(part)
        self.values = torch.cat(values)

    def __len__(self) -> int:
        return len(self.values)

    def candidates(self, records: Sliceable, owners: np.ndarray | None = None, description: str = "") -> Candidates:
        """The candidates of raw records (N, C, H, W).

        Args:
            owners: (N,) whose records they are, in the numbers of :attr:`owners`; no record of the same person is a
                candidate. None: all are.
            description: of the progress bar; none without it.
        """
        starts = range(0, records.shape[0], _QUERIES)
        parts = [
            self._of(part, None if owners is None else owners[start : start + _QUERIES])
            for start, part in zip(
                progress_bar(starts, len(starts), description, quiet=not description),
                self._parts(records, _QUERIES),
                strict=True,
            )
        ]
        return Candidates.joined(parts)

    def _parts(self, records: Sliceable, size: int) -> Iterator[Tensor]:
        return in_parts(records, self.modality, self.is_picture, size, self.device)

    @torch.no_grad()
    def _of(self, part: Tensor, owners: np.ndarray | None) -> Candidates:
        own = None
        if owners is not None:
            own = torch.from_numpy(owners).to(self.device)[:, None] == self._everyone
        rows, starts, rough, missing = self._shortlisted(part, own)
        seen = [self._viewed(windows, part, own) for windows in self.views]
        rows = torch.cat([rows, *(view.rows for view in seen)], 1)
        starts = torch.cat([starts, *(view.starts for view in seen)], 1)
        missing = torch.cat([missing, *(view.missing for view in seen)], 1)
        rough = F.pad(rough, (0, len(seen)))
        count, people = rows.shape[1], self._everyone[rows]
        references = self.values[rows.flatten()].float()
        with torch.enable_grad():
            transforms, signed = aligned(grey(part), grey(references), starts.flatten(0, 1), self.form)
        alike = likeness(part, references, transforms, self.form)
        alike = torch.cat([alike, torch.atanh(signed.abs().clamp_max(LARGEST))[:, None]], 1).view(len(part), count, -1)
        stands_out = [view.stands_out(rows, people) for view in seen]
        features = torch.stack([*alike.unbind(2), rough, *stands_out], 2)
        rows = rows.masked_fill(missing, -1)
        return Candidates(
            rows.cpu().numpy(),
            np.where(missing.cpu().numpy(), -1, people.cpu().numpy()),
            features.masked_fill(missing[..., None], -10.0).cpu().numpy(),
            transforms.view(len(part), count, 2, 3).cpu().numpy(),
            (signed < 0).view(len(part), count).cpu().numpy(),
        )

    def _shortlisted(self, part: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Candidates (N, K) by textures in any place, where their alignment starts, how much they are alike there, and
        which are none."""
        similar = self.coarse.likeness(self.coarse.queries(part))
        if own is not None:
            similar = similar.masked_fill(own, _NONE)
        similar, shortlist = similar.topk(min(_SHORTLIST, len(self)), 1)
        scores, starts = self.fine.places(self.fine.queries(part), shortlist)
        scores = _few_of_each(scores.masked_fill(similar == _NONE, _NONE), self._everyone[shortlist])
        scores, places = scores.topk(min(_ALIGNED, scores.shape[1]), 1)
        starts = starts.gather(1, places[..., None, None].expand(-1, -1, 2, 3))
        return shortlist.gather(1, places), starts, scores.clamp_min(0), scores == _NONE

    def _viewed(self, windows: Windows, part: Tensor, own: Tensor | None) -> _Viewed:
        queries = windows.queries(part)
        similar = windows.likeness(queries)
        if own is not None:
            similar = similar.masked_fill(own, _NONE)
        best, rows = similar.max(1, keepdim=True)
        starts = windows.places(queries, rows)[1]
        by_person = similar
        if int(self._everyone.max()) + 1 < len(self):
            by_person = torch.full((len(part), int(self._everyone.max()) + 1), _NONE, device=self.device)
            by_person.scatter_reduce_(1, self._everyone.expand(len(part), -1), similar, "amax")
        most, people = by_person.topk(min(_RIVALS + 1, by_person.shape[1]), 1)
        if by_person is similar:
            people = self._everyone[people]
        return _Viewed(similar, rows, starts, best == _NONE, most, people)


class _Viewed(NamedTuple):
    """What one view of N queries shows.

    Attributes:
        likeness: (N, M) with all references.
        rows, starts, missing: (N, 1) the most alike one, its affine map, and where there is none.
        most, people: (N, R) likeness and numbers of the people whose records are the most alike.
    """

    likeness: Tensor
    rows: Tensor
    starts: Tensor
    missing: Tensor
    most: Tensor
    people: Tensor

    def stands_out(self, rows: Tensor, owners: Tensor) -> Tensor:
        """(N, K) how much more records of these numbers and owners (N, K) are alike than those of other people."""
        others = (self.people[:, None] != owners[..., None]) & (self.most > _NONE)[:, None]  # (N, K, R)
        counted = others & (others.cumsum(2) <= _RIVALS)
        rivals = (self.most[:, None] * counted).sum(2) / counted.sum(2).clamp_min(1)
        return self.likeness.gather(1, rows) - rivals


def _few_of_each(scores: Tensor, owners: Tensor) -> Tensor:
    """Scores (N, K), _NONE for all but the best few of every person."""
    order = scores.argsort(1, descending=True)
    sorted_owners = owners.gather(1, order)
    same = sorted_owners[:, :, None] == sorted_owners[:, None, :]
    rank = torch.tril(same, diagonal=-1).sum(2)
    kept = scores.gather(1, order).masked_fill(rank >= _OF_ONE_PERSON, _NONE)
    return torch.empty_like(scores).scatter(1, order, kept)
