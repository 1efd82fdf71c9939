"""A finished synthetic data set as it is looked at: samples by number, whose files are read when they are shown."""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmgen.data.opening import MIB, parse_json
from mmgen.data.writing.layout import LARGEST_FILE, TABLE, is_inside, mode_of, sample_files, shard_members
from mmgen.data.writing.metadata import read_rows
from mmgen.data.writing.synthetic import Part, decode_record
from mmgen.errors import UserError, shown
from mmgen.release.described import Described

MOST_SAMPLES = 200_000  # so that what is listed fits into memory, whatever a table holds


class Listed(NamedTuple):
    """A sample of a data set.

    Attributes:
        label: its label.
        name: of its first file, by which it is rejected.
        files: where its files are, in the order of the columns; "" where it has none. Of those in shards the place is
            relative to the folder.
    """

    label: str
    name: str
    files: tuple[str | Part, ...]


class DataSet:
    """Samples of a data set in folders or shards; nothing outside of its folder is read, and no link is followed.

    Attributes:
        title: name on the page.
        settings: how files of each modality become arrays.
        columns: those of the table that name files.
        samples: the first :data:`MOST_SAMPLES`.

    Raises:
        UserError: the folder is no finished data set, or its table is damaged.
    """

    def __init__(self, title: str, folder: Path) -> None:
        self.title, self.folder, self._described = title, folder, Described.of(folder)
        self.settings = self._described.settings
        self._files = sample_files(self.settings)
        self.columns = list(self._files)
        self.total = sum(self._described.about["counts"].values())
        listed = self._in_folders() if TABLE in self._described.tables else self._in_shards()
        try:
            self.samples: list[Listed] = list(islice(listed, MOST_SAMPLES))
        except UserError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"The samples of {folder} cannot be listed ({shown(error)}); generate it again.") from error

    def _in_folders(self) -> Iterator[Listed]:
        for row in read_rows(self._path(TABLE)):
            files = tuple(row.get(column, "") for column in self.columns)
            yield Listed(row["label"], files[0], files)

    def _in_shards(self) -> Iterator[Listed]:
        suffixes = [file.member for file in self._files.values()]
        for shard in self._described.samples:
            path, members = Path(shard), shard_members(self._path(shard))
            for key, parts in groupby(members, key=lambda part: part[0].name.partition(".")[0]):
                label, places = "", {}
                for member, read in parts:
                    suffix = member.name.partition(".")[2]
                    places[suffix] = Part(path, f"{key}.{suffix}", member.offset, member.size)
                    label = str(parse_json(read())["label"]) if suffix == "json" else label
                yield Listed(label, f"{shard}/{key}.{suffixes[0]}", tuple(places.get(name, "") for name in suffixes))

    @cached_property
    def by_label(self) -> dict[str, list[int]]:
        """Numbers of the samples of each label."""
        numbers: defaultdict[str, list[int]] = defaultdict(list)
        for number, sample in enumerate(self.samples):
            numbers[sample.label].append(number)
        return dict(numbers)

    def numbers(self, label: str) -> Sequence[int]:
        """Of the samples of a label; of all for ""."""
        return self.by_label.get(label, ()) if label else range(len(self.samples))

    def part(self, number: int, column: str) -> Part:
        """Where a sample's file is.

        Raises:
            LookupError: there is none of this number and column, or it is not called as this library calls files.
            OSError, ValueError: it is missing, a link, or too large.
        """
        place = self.samples[number].files[self.columns.index(column)] if column in self.columns else ""
        if isinstance(place, Part):
            if place.size is not None and place.size > LARGEST_FILE:
                raise ValueError(f"it is larger than {LARGEST_FILE // MIB} MiB")
            return place._replace(path=self._path(place.path.as_posix()))
        if self._described.kind_of(place) is None:
            raise LookupError(place)
        return Part(self._path(place), "")

    def values(self, number: int, name: str) -> np.ndarray:
        """Arrays (S, C, H, W) of a modality of a sample, a sound's segments; raises as :meth:`part`, and UserError for
        a damaged file."""
        column = next(column for column in (f"{name}_spectrogram", f"{name}_file_name") if column in self.columns)
        return decode_record({name: self.settings[name]}, ("", {name: self.part(number, column)}))[1][name]

    def _path(self, name: str) -> Path:
        if not is_inside(name):
            raise LookupError(name)
        if not stat.S_ISREG(mode_of(self.folder, name)):
            raise FileNotFoundError(f"{shown(name)} is a link or no file")
        return self.folder / name
