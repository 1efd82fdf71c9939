"""A synthetic data set on disk, written by any number of processes, to be gone on with where it was interrupted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from mmgen.data.settings import Settings
from mmgen.data.threads import cut
from mmgen.data.writing.atomic import is_temporary
from mmgen.data.writing.layout import DatasetFormat
from mmgen.data.writing.unfinished import INCOMPLETE, alone_in, prepare_folder
from mmgen.data.writing.writer import FolderWriter, ShardWriter, SyntheticSample
from mmgen.errors import UserError

logger = logging.getLogger(__name__)

# (batches of samples that are missing, device) -> these samples, in order
Make = Callable[[Sequence[range], torch.device], Iterator[SyntheticSample]]


@dataclass(frozen=True)
class OutputOptions:
    """How a data set is written.

    Attributes:
        format: files in folders by label, or WebDataset shards.
        batch_size: samples made at once.
        shard_size: samples a shard, rounded up to whole batches. Processes share out whole shards.
        overwrite: replace a finished data set, or an unfinished other one, in the folder.
    """

    format: DatasetFormat = "folder"
    batch_size: int = 32
    shard_size: int = 1000
    overwrite: bool = False

    def __post_init__(self) -> None:
        for what, value in (("batch size", self.batch_size), ("shard size", self.shard_size)):
            if value < 1:
                raise UserError(f"The {what} must be at least 1, got {value}.")


def refuse_occupied(folder: Path, overwrite: bool) -> None:
    """Raise UserError for a folder that :func:`write_samples` could not use, before samples cost a training.

    Whether an interrupted data set there is the same is known only when there are samples.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; choose another --out.")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if INCOMPLETE in there or all(map(is_temporary, there)):
        return
    if not overwrite:
        raise UserError(f"{folder} is not empty; choose another --out, or add --overwrite to replace the data set.")
    if "dataset.json" not in there:
        raise UserError(
            f"{folder} holds files that are no synthetic data set and are not deleted; choose another --out."
        )


def write_samples(
    folder: Path,
    settings: Mapping[str, Settings],
    labels: Sequence[str],
    per_class: int,
    make: Make,
    describe: Callable[[int], Mapping[str, Any]],
    about: Mapping[str, Any],
    run: Mapping[str, Any],
    how: OutputOptions,
) -> Path:
    """Write ``per_class`` samples of each label; under a launcher every process writes its share.

    Where the folder holds the same data set unfinished, what is missing is made: the bytes are those of a run that was
    not interrupted.

    Args:
        settings: what each modality's files are.
        make: makes samples; sample ``i`` has label ``i // per_class`` and must not depend on what else is made.
        describe: metadata of a sample.
        about: what the data set says of its making.
        run: everything that its bytes depend on beyond ``how``, by a name that users understand.

    Raises:
        UserError: the folder holds something else and may not be overwritten, or the disk is full.
    """
    from accelerate import PartialState

    # The others wait for the first process while it makes checksums.
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=timedelta(hours=6))
    kind, piece = (FolderWriter, how.batch_size) if how.format == "folder" else (ShardWriter, how.shard_size)
    piece = -(-piece // how.batch_size) * how.batch_size
    writer = kind(folder, settings, labels, per_class, piece, describe)
    run = dict(run) | {
        "format": how.format,
        "batch size": how.batch_size,
        "shard size": piece if how.format == "webdataset" else None,
        "device": state.device.type,
    }
    with alone_in(folder) if state.is_main_process else nullcontext():
        if state.is_main_process and prepare_folder(folder, how.overwrite, run):
            there = sum(map(writer.present, writer.pieces()))
            logger.info("%s: going on, %d of %d samples are there", folder, there, len(writer))
        state.wait_for_everyone()
        share = writer.pieces()[state.process_index :: state.num_processes]
        missing = [batch for part in share if writer.present(part) < len(part) for batch in cut(part, how.batch_size)]
        writer.write(make(missing, state.device))
        state.wait_for_everyone()
        if state.is_main_process:
            writer.finish(about)
        state.wait_for_everyone()
    return folder
