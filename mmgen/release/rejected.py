"""Samples of a data set that a person found bad, which are not released."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mmgen.data.writing.layout import REJECTED
from mmgen.data.writing.rejected import read_rejected
from mmgen.errors import UserError, first_few
from mmgen.release.described import Described
from mmgen.release.reading import samples_of

_T = TypeVar("_T")


@dataclass(frozen=True)
class Rejected:
    """The samples that ``rejected.csv`` of a data set names, see :mod:`mmgen.data.writing.rejected`.

    Attributes:
        names: of all files of these samples, in shards SHARD/NUMBER, and of shards that hold no other sample.
        labels: how many there are of each label.
        places: their numbers in the order of the samples.
    """

    names: frozenset[str] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)
    places: frozenset[int] = frozenset()

    @property
    def count(self) -> int:
        """How many samples."""
        return len(self.places)

    @classmethod
    def of(cls, folder: Path) -> Rejected:
        """Those that the folder of a data set names.

        Raises:
            UserError: it names what is no sample of it, or all samples.
        """
        listed = set(read_rejected(folder))
        if not listed:
            return cls()
        described, names, kept, labels = Described.of(folder), set(), set(), Counter()
        places: set[int] = set()
        found: set[str] = set()
        for place, (sample, label, files) in enumerate(samples_of(folder, described)):
            if listed & files:
                found |= listed & files
                names |= {sample} if sample else files
                labels[label] += 1
                places.add(place)
            elif sample:
                kept.add(sample.rpartition("/")[0])
        if unknown := sorted(listed - found):
            raise UserError(f"{folder / REJECTED} names {first_few(unknown)}, no sample of it; correct that.")
        if len(places) == sum(described.about["counts"].values()):
            raise UserError(f"All samples of {folder} are rejected in {REJECTED}; there is nothing to release.")
        shards = {name.rpartition("/")[0] for name in names if name.rpartition("/")[0].endswith(".tar")}
        return cls(frozenset(names | (shards - kept)), labels, frozenset(places))

    def without(self, values: Iterable[_T]) -> Iterator[_T]:
        """Of values of all samples, in their order, those of the others."""
        return (value for place, value in enumerate(values) if place not in self.places)

    def holds_member(self, shard: str, member: str) -> bool:
        """Whether a file in a shard is one of theirs."""
        return f"{shard}/{member.partition('.')[0]}" in self.names


NOTHING = Rejected()
