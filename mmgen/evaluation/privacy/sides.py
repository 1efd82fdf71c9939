"""The two sides of a membership test: records that a model has learnt from, and records it has never seen."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from mmgen.data.samples import Samples, Sliceable
from mmgen.errors import UserError

logger = logging.getLogger(__name__)

_CHUNK = 256
# Samples of less deviation are blank or silent: they are equal by chance. Grey levels; log-mel units.
_BLANK = {"u": 1.0, "f": 0.05}


@dataclass(frozen=True)
class Records:
    """Records of one modality and what is known of whose they are.

    Attributes:
        values: (N, ...) images or log-mels in raw units, or features.
        subjects: (N,) whose record each is; None counts every record as another subject's.
    """

    values: Sliceable
    subjects: np.ndarray | None = None

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def owners(self) -> np.ndarray:
        """(N,) whose record each is, a number of its own for each where nothing is known."""
        return np.arange(len(self)) if self.subjects is None else self.subjects


@dataclass(frozen=True)
class Side:
    """Records of one side.

    Attributes:
        samples: by modality.
        subjects: by modality, (N,) names of whose sample each is; a modality may be absent or None if that is unknown.
    """

    samples: Mapping[str, Samples]
    subjects: Mapping[str, np.ndarray | None] = field(default_factory=dict)

    def records(self, name: str) -> Records:
        """One modality."""
        return Records(self.samples[name].values, self.subjects.get(name))

    def select(self, name: str, keep: np.ndarray) -> Side:
        """The same with some samples of a modality: indices or a mask."""
        subjects = self.subjects.get(name)
        return Side(
            {**self.samples, name: self.samples[name].select(keep)},
            {**self.subjects, name: None if subjects is None else subjects[keep]},
        )


def apart(members: Side, non_members: Side, leave_out: bool = False) -> Side:
    """The non-members, without what both sides have in common.

    Two records are the same if their decoded values are; blank and silent ones do not count. Subjects are the same if
    both sides call them alike.

    Args:
        leave_out: leave such records out, with a warning, instead of refusing.

    Raises:
        UserError: with the count of common records or subjects, or because nothing is left.
    """
    for name in non_members.samples:
        same = _same_records(members, non_members, name)
        known, asked = members.subjects.get(name), non_members.subjects.get(name)
        shared = np.zeros(len(same), bool) if known is None or asked is None else np.isin(asked, np.unique(known))
        if not (same | shared).any():
            continue
        count = 0 if asked is None else len(np.unique(asked[shared]))
        common = [f"{same.sum()} records"] * bool(same.any())
        common = " and ".join(common + [f"{shared.sum()} records of {count} people"] * bool(count))
        if not leave_out:
            raise UserError(
                f"{common} of '{name}' are among both the members and the non-members, so an attack would count them "
                "on both sides; take them out of one, or let them be left out with --leave-out-shared."
            )
        logger.warning("%s of '%s' are on both sides and do not count as non-members.", common, name)
        if (same | shared).all():
            raise UserError(f"No non-member of '{name}' is left once those that are also members are taken out.")
        non_members = non_members.select(name, ~(same | shared))
    return non_members


def unseen(train: Side, test: Side) -> Side:
    """Test samples without records that are among the training samples too, with a warning.

    Raises:
        UserError: no test sample is left.
    """
    for name in test.samples:
        same = _same_records(train, test, name)
        if same.all():
            raise UserError(
                f"All test samples of '{name}' are among the training samples too; give other real data to test on."
            )
        if same.any():
            logger.warning("%d test samples of '%s' are training samples too and are left out.", same.sum(), name)
            test = test.select(name, ~same)
    return test


def _same_records(one: Side, other: Side, name: str) -> np.ndarray:
    """(N,) which records of the other side are also on the first; blank ones are not."""
    known, asked = (
        [
            hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).digest() if varies else b""
            for part in _parts(side.samples[name])
            for value, varies in zip(part, _varies(part), strict=True)
        ]
        for side in (one, other)
    )
    known = {*known} - {b""}
    return np.array([digest in known for digest in asked])


def varied(side: Side, noun: str) -> Side:
    """The same without blank and silent records, which are equal by chance; raises UserError where nothing is left."""
    for name, samples in side.samples.items():
        if not len(samples):
            raise UserError(f"There are no {noun} of '{name}'; nothing can be audited without them.")
        keep = np.concatenate([_varies(part) for part in _parts(samples)])
        if keep.all():
            continue
        logger.warning("%d blank or silent %s of '%s' are left out.", (~keep).sum(), noun, name)
        if not keep.any():
            raise UserError(f"All {noun} of '{name}' are blank or silent; check the files.")
        side = side.select(name, keep)
    return side


def _parts(samples: Samples) -> Iterator[np.ndarray]:
    for start in range(0, len(samples), _CHUNK):
        yield np.asarray(samples.values[start : start + _CHUNK])


def _varies(part: np.ndarray) -> np.ndarray:
    flat = part.reshape(len(part), -1).astype(np.float32)
    if not np.isfinite(flat).all():
        raise UserError("Some samples hold values that are not numbers; check the files.")
    return flat.std(1) >= _BLANK[part.dtype.kind]
