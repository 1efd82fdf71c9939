"""Reading a synthetic data set back, as whoever receives it would."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmgen.data.decoded import UnusableFile
from mmgen.data.opening import MIB, open_regular, parse_json, read_bytes, read_json
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings, kind_of
from mmgen.data.threads import in_order
from mmgen.data.writing.encoding import decode_array
from mmgen.data.writing.layout import DOCUMENT, LARGEST_DOCUMENT, LARGEST_FILE, TABLE, sample_files, shard_members
from mmgen.data.writing.metadata import read_rows
from mmgen.data.writing.soft_labels import read_soft_labels
from mmgen.errors import UserError, shown


class Part(NamedTuple):
    """Where a file of a sample lies: ``size`` bytes from ``offset`` on in a shard, or a file of its own if None."""

    path: Path
    name: str  # in the shard; "" of a file of its own
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """Its content; raises OSError, and ValueError if a file of its own is larger than 64 MiB."""
        if self.size is None:
            return read_bytes(self.path, LARGEST_FILE)
        with open_regular(self.path) as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        return f"{self.path}/{self.name}" if self.name else str(self.path)


# A sample as it lies on disk: its label, and its files by the column of the table that names them.
Record = tuple[str, dict[str, Part]]


def read_dataset(folder: Path, settings: Mapping[str, Settings], soft_labels: bool = False) -> dict[str, Samples]:
    """Samples of each modality of a data set in folder form or in shards; log-mels come from the stored spectrograms.

    Args:
        soft_labels: read them too, see :mod:`mmgen.data.writing.soft_labels`; otherwise their file is not opened.

    Raises:
        UserError: the folder is no finished data set, lacks a modality, or a file is missing, damaged or of another
            shape.
    """
    values: dict[str, list[np.ndarray]] = {name: [] for name in settings}
    labels: list[int] = []
    # The columns of the table that name what a modality is read from, pictures or spectrograms.
    ends = {name: "file_name" if kind_of(own).is_picture else "spectrogram" for name, own in settings.items()}
    try:
        about = read_json(folder / DOCUMENT, LARGEST_DOCUMENT)
        counts = {str(label): int(count) for label, count in about["counts"].items()}
        listed = records(folder, about, settings, ends)
        for label, arrays in in_order(partial(decode_record, settings), listed):
            labels.append(list(counts).index(label))
            for name, array in arrays.items():
                values[name].append(array)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        message = f"{folder} is not a finished synthetic data set ({shown(error)}); generate it again."
        raise UserError(message) from error
    counted = np.bincount(labels, minlength=len(counts)).tolist()
    if not labels or counted != list(counts.values()):
        raise UserError(f"{folder} holds {counted} samples by label, not {list(counts.values())}; generate it again.")
    soft = read_soft_labels(folder, list(counts), len(labels)) if soft_labels else None
    samples = {}
    for name, arrays in values.items():  # several segments of one sound are samples that share a row
        rows = np.repeat(np.arange(len(labels)), [len(array) for array in arrays])
        probabilities = None if soft is None else soft[rows]
        samples[name] = Samples(
            np.concatenate(arrays), np.array(labels)[rows], tuple(counts), rows, probabilities=probabilities
        )
    return samples


def records(
    folder: Path, about: Mapping[str, Any], settings: Mapping[str, Settings], ends: Mapping[str, str]
) -> Iterator[Record]:
    """Where the samples of a data set lie, one more at most than its description counts, which is enough to tell.

    Args:
        about: ``dataset.json``.
        settings: of the modalities that are asked for.
        ends: "file_name" or "spectrogram" by modality, as in the columns of the table.

    Raises:
        UserError: a modality is missing, a file is outside of the folder, or a shard cannot be read.
        ValueError, OSError, KeyError: the table cannot be read.
    """
    columns = {name: f"{name}_{end}" for name, end in ends.items()}
    if about.get("format") == "webdataset":
        files = sample_files(settings)
        found = _shard_records(folder, {name: files[column].member for name, column in columns.items()})
    else:
        found = _folder_records(folder, columns)
    return islice(found, sum(int(count) for count in about["counts"].values()) + 1)


def _folder_records(folder: Path, columns: Mapping[str, str]) -> Iterator[Record]:
    root = folder.resolve()
    for row in read_rows(folder / TABLE):
        files: dict[str, Part] = {}
        for name, column in columns.items():
            if column not in row:
                raise UserError(f"The data set {folder} has no column {shown(column)}, so no modality '{shown(name)}'.")
            path = (folder / row[column]).resolve()
            if not path.is_relative_to(root):
                raise UserError(
                    f"{folder / TABLE} names {shown(row[column])}, which is outside the data set; do not trust it."
                )
            files[name] = Part(path, "")
        yield row["label"], files


def _shard_records(folder: Path, wanted: Mapping[str, str]) -> Iterator[Record]:
    for path in sorted((folder / "shards").glob("*.tar")):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{path} leads out of the data set; do not trust it.")
        try:
            for key, members in groupby(shard_members(path), key=lambda item: item[0].name.partition(".")[0]):
                parts, about = {}, {}
                for member, read in members:
                    suffix = member.name.partition(".")[2]
                    if suffix in wanted.values() and member.size > LARGEST_FILE:
                        raise ValueError(f"{shown(member.name)} is larger than {LARGEST_FILE // MIB} MiB")
                    parts[suffix] = Part(path, f"{key}.{suffix}", member.offset, member.size)
                    if suffix == "json":
                        about = parse_json(read())
                for name, suffix in wanted.items():
                    if suffix not in parts:
                        raise UserError(f"{path} has no {shown(key)}.{suffix}, so no modality '{shown(name)}'.")
                yield str(about["label"]), {name: parts[suffix] for name, suffix in wanted.items()}
        except UserError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"The shard {path} cannot be read ({error}); generate the data set again.") from error


def decode_record(settings: Mapping[str, Settings], record: Record) -> tuple[str, dict[str, np.ndarray]]:
    """The label, and (S, C, H, W) of each modality; raises UserError for a file that is missing or damaged."""
    arrays, (label, files) = {}, record
    for name, own in settings.items():
        picture = kind_of(own).is_picture
        try:
            content = files[name].read()
            arrays[name] = (
                kind_of(own).decode(io.BytesIO(content), own).values if picture else _log_mel(content, own.shape)
            )
        except (OSError, ValueError, UnusableFile) as error:
            kind = "picture" if picture else "spectrogram"
            raise UserError(
                f"Cannot read the {kind} {shown(str(files[name]), 1000)}: {error}; generate the data set again."
            ) from error
    return label, arrays


def _log_mel(content: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Segments float32 (S, 1, bands, frames) of a stored array (bands, S * frames); raises ValueError."""
    _, bands, frames = shape
    return decode_array(content, bands, frames).reshape(bands, -1, 1, frames).transpose(1, 2, 0, 3)
