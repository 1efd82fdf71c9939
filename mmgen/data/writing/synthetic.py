"""Reading a synthetic data set back, as whoever receives it would."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from mmgen.data.decoded import UnusableFile
from mmgen.data.opening import parse_json, read_bytes, read_json
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings, kind_of
from mmgen.data.threads import in_order
from mmgen.data.writing.encoding import decode_array
from mmgen.data.writing.layout import DOCUMENT, LARGEST_DOCUMENT, LARGEST_FILE, TABLE, sample_files, shard_members
from mmgen.data.writing.metadata import read_rows
from mmgen.errors import UserError, shown

# A sample as it lies on disk: its label, and by modality a file's path or a tar member's name and content.
Record = tuple[str, dict[str, tuple[str, Path | bytes]]]


def read_dataset(folder: Path, settings: Mapping[str, Settings]) -> dict[str, Samples]:
    """Samples of each modality of a data set in folder form or in shards; log-mels come from the stored spectrograms.

    Raises:
        UserError: the folder is no finished data set, lacks a modality, or a file is missing, damaged or of another
            shape.
    """
    values: dict[str, list[np.ndarray]] = {name: [] for name in settings}
    labels: list[int] = []
    # The columns of the table that name what a modality is read from, pictures or spectrograms.
    ends = {name: "file_name" if kind_of(own).is_picture else "spectrogram" for name, own in settings.items()}
    columns = {name: f"{name}_{end}" for name, end in ends.items()}
    files = sample_files(settings)
    members = {name: files[column].member for name, column in columns.items()}
    try:
        about = read_json(folder / DOCUMENT, LARGEST_DOCUMENT)
        counts = {str(label): int(count) for label, count in about["counts"].items()}
        in_shards = about.get("format") == "webdataset"
        records = _shard_records(folder, members) if in_shards else _folder_records(folder, columns)
        # One more than there should be is enough to tell.
        for label, arrays in in_order(partial(decode_record, settings), islice(records, sum(counts.values()) + 1)):
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
    samples = {}
    for name, arrays in values.items():  # several segments of one sound are samples that share a row
        rows = np.repeat(np.arange(len(labels)), [len(array) for array in arrays])
        samples[name] = Samples(np.concatenate(arrays), np.array(labels)[rows], tuple(counts), rows)
    return samples


def _folder_records(folder: Path, columns: Mapping[str, str]) -> Iterator[Record]:
    root = folder.resolve()
    for row in read_rows(folder / TABLE):
        files: dict[str, tuple[str, Path | bytes]] = {}
        for name, column in columns.items():
            if column not in row:
                raise UserError(f"The data set {folder} has no column {shown(column)}, so no modality '{shown(name)}'.")
            path = (folder / row[column]).resolve()
            if not path.is_relative_to(root):
                raise UserError(
                    f"{folder / TABLE} names {shown(row[column])}, which is outside the data set; do not trust it."
                )
            files[name] = (str(path), path)
        yield row["label"], files


def _shard_records(folder: Path, wanted: Mapping[str, str]) -> Iterator[Record]:
    needed = {"json", *wanted.values()}
    for path in sorted((folder / "shards").glob("*.tar")):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{path} leads out of the data set; do not trust it.")
        try:
            for key, members in groupby(shard_members(path), key=lambda item: item[0].name.partition(".")[0]):
                suffixes = ((member.name.partition(".")[2], read) for member, read in members)
                contents = {suffix: read() for suffix, read in suffixes if suffix in needed}
                for name, suffix in wanted.items():
                    if suffix not in contents:
                        raise UserError(f"{path} has no {shown(key)}.{suffix}, so no modality '{shown(name)}'.")
                sources = {name: (f"{path}/{key}.{suffix}", contents[suffix]) for name, suffix in wanted.items()}
                yield str(parse_json(contents["json"])["label"]), sources
        except UserError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"The shard {path} cannot be read ({error}); generate the data set again.") from error


def decode_record(settings: Mapping[str, Settings], record: Record) -> tuple[str, dict[str, np.ndarray]]:
    """The label, and (S, C, H, W) of each modality; raises UserError for a file that is damaged."""
    arrays, (label, files) = {}, record
    for name, own in settings.items():
        title, source = files[name]
        picture = kind_of(own).is_picture
        try:
            content = source if isinstance(source, bytes) else read_bytes(source, LARGEST_FILE)
            arrays[name] = (
                kind_of(own).decode(io.BytesIO(content), own).values if picture else _log_mel(content, own.shape)
            )
        except (OSError, ValueError, UnusableFile) as error:
            kind = "picture" if picture else "spectrogram"
            raise UserError(
                f"Cannot read the {kind} {shown(title, 1000)}: {error}; generate the data set again."
            ) from error
    return label, arrays


def _log_mel(content: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Segments float32 (S, 1, bands, frames) of a stored array (bands, S * frames); raises ValueError."""
    _, bands, frames = shape
    return decode_array(content, bands, frames).reshape(bands, -1, 1, frames).transpose(1, 2, 0, 3)
