"""The training records whose disguised copy each record of a set could be: a cascade from all of them to a few.

Every query is compared with every training record in small windows; the most alike hundred are compared in finer ones,
and the most alike few of these, at most two of one person, are aligned with it. The search is exhaustive: its time
grows with the product of both numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmgen.data.progress import progress_bar
from mmgen.data.samples import Sliceable
from mmgen.evaluation.fidelity.features import unit_range
from mmgen.evaluation.privacy.disguises.alignment import aligned, likeness
from mmgen.evaluation.privacy.disguises.views import Form, grey, loudness, picture_form, sound_form, squared
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.modality import Modality

_SHORTLIST, _ALIGNED, _OF_ONE_PERSON = 100, 6, 2
_QUERIES, _REFERENCES = 32, 256  # at a time


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
        names = ("rows", "owners", "features", "transforms", "inverted")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


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
        values, coarse, fine = [], [], []
        for part in self._parts(members.values, _REFERENCES):
            one = grey(part)
            values.append(part.half())
            coarse.append(self.form.coarse.of_references(one).half())
            fine.append(self.form.fine.of_references(one).half())
        self.values, self.coarse, self.fine = torch.cat(values), torch.cat(coarse), torch.cat(fine)

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
        """Records in 0..255 (n, C, SIDE, SIDE), some at a time."""
        for start in range(0, records.shape[0], size):
            part = torch.from_numpy(np.ascontiguousarray(records[start : start + size])).to(self.device)
            yield squared(255 * unit_range(self.modality, part) if self.is_picture else loudness(part))

    @torch.no_grad()
    def _of(self, part: Tensor, owners: np.ndarray | None) -> Candidates:
        one = grey(part)
        similar = self._coarse(self.form.coarse.of_queries(one))
        everyone = torch.from_numpy(self.owners).to(self.device)
        if owners is not None:
            same = torch.from_numpy(owners).to(self.device)[:, None] == everyone
            similar = similar.masked_fill(same, -1.0)
        similar, shortlist = similar.topk(min(_SHORTLIST, len(self)), 1)
        scores, templates, windows = self._fine(self.form.fine.of_queries(one), shortlist)
        scores = _few_of_each(scores.masked_fill(similar < 0, -1.0), everyone[shortlist])
        scores, places = scores.topk(min(_ALIGNED, scores.shape[1]), 1)
        rows = shortlist.gather(1, places)
        start = self.form.fine.transforms(templates.gather(1, places), windows.gather(1, places))
        count = rows.shape[1]
        references = self.values[rows.flatten()].float()
        with torch.enable_grad():
            transforms, signed = aligned(one, grey(references), start.flatten(0, 1), self.form)
        alike = likeness(part, references, transforms, self.form)
        rough = torch.atanh(torch.stack([signed.abs(), scores.flatten().clamp_min(0)], 1).clamp_max(0.9995))
        features = torch.cat([alike, rough], 1).view(len(part), count, -1)
        missing = scores < 0
        rows = rows.masked_fill(missing, -1)
        features = features.masked_fill(missing[..., None], -10.0)
        return Candidates(
            rows.cpu().numpy(),
            np.where(missing.cpu().numpy(), -1, self.owners[rows.cpu().numpy()]),
            features.cpu().numpy(),
            transforms.view(len(part), count, 2, 3).cpu().numpy(),
            (signed < 0).view(len(part), count).cpu().numpy(),
        )

    def _coarse(self, queries: Tensor) -> Tensor:
        """(N, M) largest correlation of any template (N, Q, D) with any window."""
        n, _, size = queries.shape
        flat, parts = queries.reshape(-1, size), []
        for start in range(0, len(self), _REFERENCES):
            windows = self.coarse[start : start + _REFERENCES].to(flat.dtype)
            products = (flat @ windows.reshape(-1, size).T).abs_()
            parts.append(products.view(n, -1, len(windows), windows.shape[1]).amax((1, 3)))
        return torch.cat(parts, 1)

    def _fine(self, queries: Tensor, shortlist: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each pair (N, K): the largest correlation of a template with a window, and the numbers of both."""
        scores, templates, windows = [], [], []
        for query, rows in zip(queries, shortlist, strict=True):
            products = (self.fine[rows].to(query.dtype) @ query.T).abs_()  # (K, W, Q)
            best, places = products.flatten(1).max(1)
            scores.append(best)
            templates.append(places % len(query))
            windows.append(places // len(query))
        return torch.stack(scores), torch.stack(templates), torch.stack(windows)


def _few_of_each(scores: Tensor, owners: Tensor) -> Tensor:
    """Scores (N, K), -1 for all but the best few of every person."""
    order = scores.argsort(1, descending=True)
    sorted_owners = owners.gather(1, order)
    same = sorted_owners[:, :, None] == sorted_owners[:, None, :]
    rank = torch.tril(same, diagonal=-1).sum(2)
    kept = scores.gather(1, order).masked_fill(rank >= _OF_ONE_PERSON, -1.0)
    return torch.empty_like(scores).scatter(1, order, kept)
