"""A synthetic data set on its way to disk, as files in folders by label or as WebDataset shards."""

from __future__ import annotations

import json
import os
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmgen.data.progress import progress_bar
from mmgen.data.settings import Settings, settings_to_dict
from mmgen.data.threads import in_order
from mmgen.data.writing.atomic import new_file, remove_temporaries
from mmgen.data.writing.encoding import encode_array, encode_picture, encode_sound
from mmgen.data.writing.layout import (
    DOCUMENT,
    README,
    TABLE,
    DatasetFormat,
    add_member,
    safe_names,
    sample_files,
    sha256,
)
from mmgen.data.writing.metadata import write_rows
from mmgen.data.writing.readme import readme
from mmgen.data.writing.soft_labels import SOFT_LABELS, encode_soft_labels
from mmgen.data.writing.unfinished import INCOMPLETE
from mmgen.errors import UserError


@dataclass(frozen=True)
class SyntheticSample:
    """One sample before it is written.

    Attributes:
        index: position in the data set.
        images: uint8 (C, H, W) of each image modality.
        sounds: log-mel (bands, frames) and waveform (samples,) in [-1, 1] of each audio modality.
    """

    index: int
    images: Mapping[str, np.ndarray]
    sounds: Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass
class DatasetWriter(ABC):
    """Writes samples as files that any tool opens; every file is a function of its samples alone.

    A data set has ``per_class`` samples of each label, one label after the other. It is written in pieces, which may be
    shared out among processes; a piece that is there is never half of one. :meth:`finish` makes it a data set.

    Attributes:
        folder: the data set's folder, see :func:`mmgen.data.writing.unfinished.prepare_folder`.
        settings: how each modality's arrays relate to files, by modality name.
        labels: class names.
        per_class: samples of each label.
        piece: samples in a piece.
        describe: metadata of a sample by its index: label, seed, ...; the same keys for all.
        soft_labels: (N, K) class probabilities of the samples, or None.
    """

    format: ClassVar[DatasetFormat]
    folder: Path
    settings: Mapping[str, Settings]
    labels: Sequence[str]
    per_class: int
    piece: int
    describe: Callable[[int], Mapping[str, Any]]
    soft_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.sample_files = sample_files(self.settings)

    def __len__(self) -> int:
        return len(self.labels) * self.per_class

    def pieces(self) -> list[range]:
        """Samples of each piece."""
        return [range(start, min(start + self.piece, len(self))) for start in range(0, len(self), self.piece)]

    def present(self, piece: range) -> int:
        """How many samples of a piece are on disk; an empty file, which a power failure leaves, is none."""
        root = str(self.folder)  # joined as text, which is much faster for a million files
        return sum(
            all(_has_content(os.path.join(root, name)) for name in self.files(index).values()) for index in piece
        )

    def names(self) -> Iterator[str]:
        """Relative paths of all files that hold samples."""
        every = (name for index in range(len(self)) for name in self.files(index).values())
        return (name for name, _ in groupby(every))  # a shard holds many samples

    @abstractmethod
    def files(self, index: int) -> dict[str, str]:
        """Relative paths of the files that hold a sample, by the columns of the table that name them."""

    @abstractmethod
    def write(self, samples: Iterable[SyntheticSample]) -> None:
        """Write the samples of whole pieces, in order, while the next are made; raises UserError on a full disk."""

    def columns(self) -> list[str]:
        """Names of a sample's metadata."""
        return list(self.describe(0))

    def tables(self) -> list[str]:
        """Write files that speak of all samples, if there are any; their relative paths."""
        if self.soft_labels is None:
            return []
        with new_file(self.folder / SOFT_LABELS) as file:
            file.write(encode_soft_labels(self.soft_labels, self.labels))
        return [SOFT_LABELS]

    def finish(self, about: Mapping[str, Any]) -> None:
        """Write ``README.md`` and last ``dataset.json``: ``about``, counts, SHA-256 of every file.

        Raises:
            UserError: a file of a piece is missing, or the disk is full.
        """
        remove_temporaries(self.folder)
        tables = [*self.tables(), README]
        head = {"synthetic": True, "format": self.format, "licence": None}
        head |= {"counts": dict.fromkeys(self.labels, self.per_class)}
        head |= {} if self.soft_labels is None else {"soft_labels": True}
        head |= {"preprocessing": {name: settings_to_dict(own) for name, own in self.settings.items()}, **about}
        with new_file(self.folder / README) as file:
            file.write(readme(head, self.piece, self.columns()).encode())
        total = len(tables) + sum(1 for _ in self.names())
        checksums = progress_bar(in_order(self._checksum, chain(tables, self.names())), total, "checksums")
        with new_file(self.folder / DOCUMENT, sync=True) as file:
            # Line by line: a million samples would make a large object of it.
            file.write(json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}").encode())
            for number, (name, digest) in enumerate(checksums):
                lead = ',\n "checksums": {\n  ' if number == 0 else ",\n  "
                file.write(f'{lead}{json.dumps(name, ensure_ascii=False)}: "{digest}"'.encode())
            file.write(b"\n }\n}\n")
        (self.folder / INCOMPLETE).unlink(missing_ok=True)  # last: a killed run can be told from other people's files

    def _checksum(self, name: str) -> tuple[str, str]:
        try:
            # What dataset.json vouches for is on the disk. Synced not before now: most files have been by the system.
            return name, sha256(self.folder / name, sync=True)
        except FileNotFoundError as error:
            raise UserError(
                f"{self.folder / name} is gone; run the same command again, which makes it anew."
            ) from error


class FolderWriter(DatasetWriter):
    """Files in folders by label.

    Pictures go to ``images/LABEL/000000.png``, sounds to ``audio/LABEL/000000.flac`` (16 bit) with their log-mel in
    ``spectrograms/LABEL/000000.npy`` (float32, bands x frames), ``metadata.csv`` has a row a sample.
    ``datasets.load_dataset`` looks for columns ending in ``_file_name``. Labels that cannot be folder names are spelled
    with underscores on disk. A piece is a batch.
    """

    format = "folder"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._directories = safe_names(self.labels)

    def files(self, index: int) -> dict[str, str]:
        """See :class:`DatasetWriter`."""
        label, number = divmod(index, self.per_class)
        stem = f"{self._directories[label]}/{number:06d}"
        return {column: f"{file.folder}/{stem}.{file.ending}" for column, file in self.sample_files.items()}

    def write(self, samples: Iterable[SyntheticSample]) -> None:
        """See :class:`DatasetWriter`."""

        def write_files(sample: SyntheticSample) -> None:
            files = self.files(sample.index)
            for column, content in encode_sample(sample, self.settings).items():
                with new_file(self.folder / files[column]) as file:
                    file.write(content)

        for _ in in_order(write_files, samples):
            pass

    def columns(self) -> list[str]:
        """See :class:`DatasetWriter`."""
        return [*self.files(0), *self.describe(0)]

    def tables(self) -> list[str]:
        """See :class:`DatasetWriter`."""
        with new_file(self.folder / TABLE) as file:
            write_rows(
                file, self.columns(), ({**self.files(index), **self.describe(index)} for index in range(len(self)))
            )
        return [TABLE, *super().tables()]


class ShardWriter(DatasetWriter):
    """Shards ``shards/000000.tar``, ...; a piece is a shard.

    Sample 12 is ``000012.png``, ``000012.flac`` (16 bit), ``000012.spectrogram.npy`` (log-mel, float32, bands x frames)
    and ``000012.json`` (its metadata); further modalities have their name after the first dot, as
    ``000012.breath.flac``. A tar file says nothing of the machine, its users or the time, so it is a function of its
    samples.
    """

    format = "webdataset"

    def files(self, index: int) -> dict[str, str]:
        """The shard of a sample; there is no table."""
        return {"shard": f"shards/{index // self.piece:06d}.tar"}

    def write(self, samples: Iterable[SyntheticSample]) -> None:
        """See :class:`DatasetWriter`."""
        encoded = in_order(self._members, samples)
        for shard, members in groupby(encoded, key=lambda item: self.files(item[0])["shard"]):
            with (
                new_file(self.folder / shard, sync=True) as file,
                tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar,
            ):
                for _, contents in members:
                    for name, content in contents.items():
                        add_member(tar, name, content)

    def _members(self, sample: SyntheticSample) -> tuple[int, dict[str, bytes]]:
        key = f"{sample.index:0{max(6, len(str(len(self) - 1)))}d}"
        contents = encode_sample(sample, self.settings)
        members = {f"{key}.{self.sample_files[column].member}": content for column, content in contents.items()}
        about = json.dumps(self.describe(sample.index), ensure_ascii=False)
        return sample.index, {**members, f"{key}.json": about.encode()}


def encode_sample(sample: SyntheticSample, settings: Mapping[str, Settings]) -> dict[str, bytes]:
    """Contents of a sample's files: ``NAME_file_name`` a PNG or FLAC (16 bit), ``NAME_spectrogram`` a numpy array."""
    contents = {f"{name}_file_name": encode_picture(pixels) for name, pixels in sample.images.items()}
    for name, (log_mel, waveform) in sample.sounds.items():
        contents[f"{name}_file_name"] = encode_sound(waveform, settings[name].sample_rate)
        contents[f"{name}_spectrogram"] = encode_array(log_mel)
    return contents


def _has_content(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except OSError:
        return False
