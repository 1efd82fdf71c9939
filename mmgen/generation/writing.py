"""A synthetic data set on disk, written by any number of processes, to be gone on with where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmgen.artifacts.models import model_digest
from mmgen.data.threads import cut, one_thread
from mmgen.data.writing.atomic import is_temporary
from mmgen.data.writing.layout import DatasetFormat
from mmgen.data.writing.unfinished import INCOMPLETE, alone_in, prepare_folder
from mmgen.data.writing.writer import FolderWriter, ShardWriter, SyntheticSample
from mmgen.errors import UserError
from mmgen.generation.amount import refuse_too_much
from mmgen.generation.pairs import SyntheticBatch, made_settings, run_batches
from mmgen.generation.plan import Plan
from mmgen.models.generative import GenerativeModel
from mmgen.version import __version__

logger = logging.getLogger(__name__)
_SAMPLES_LOOKED_AT = 1024


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
        for noun, value in (("batch size", self.batch_size), ("shard size", self.shard_size)):
            if value < 1:
                raise UserError(f"The {noun} must be at least 1, got {value}.")


def refuse_occupied(folder: Path, overwrite: bool) -> None:
    """Raise UserError for a folder that :func:`write_dataset` could not use, before samples cost a training.

    Whether an interrupted data set there is the same is known only when there are samples.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; choose another --out.")
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if INCOMPLETE in present or all(map(is_temporary, present)):
        return
    if not overwrite:
        raise UserError(f"{folder} is not empty; choose another --out, or add --overwrite to replace the data set.")
    if "dataset.json" not in present:
        raise UserError(
            f"{folder} holds files that are no synthetic data set and are not deleted; choose another --out."
        )


def write_dataset(
    model: GenerativeModel,
    plan: Plan,
    folder: Path,
    output: OutputOptions | None = None,
    source_ids: bool = True,
    model_name: str = "",
    soft_labels: np.ndarray | None = None,
) -> Path:
    """Carry out a plan and write it as a data set; under a launcher every process writes its share.

    Where the folder holds the same data set unfinished, what is missing is made: the bytes are those of a run that was
    not interrupted.

    Args:
        source_ids: keep the row numbers of the real samples in the metadata (they never are names).
        model_name: what to call the model in the metadata; a digest of its weights if empty.
        soft_labels: (N, K) class probabilities of the plan's samples, written beside them.

    Raises:
        UserError: the folder holds something else and may not be overwritten, or the disk is full or too small.
    """
    from accelerate import PartialState

    if model.method == "subset":
        logger.warning("A subset holds real images: it is for comparison here and may not be shared.")
    # The others wait for the first process while it makes checksums.
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=timedelta(hours=6))
    output, model_name = output or OutputOptions(), model_name or model_digest(model)
    kind, piece = (FolderWriter, output.batch_size) if output.format == "folder" else (ShardWriter, output.shard_size)
    piece = -(-piece // output.batch_size) * output.batch_size
    describe = partial(_describe_sample, model, plan, source_ids, model_name)
    settings = made_settings(model, plan)
    refuse_too_much(settings, len(plan), folder, lengths=plan.lengths)
    writer = kind(folder, settings, plan.class_names, plan.per_class, piece, describe, soft_labels)
    run = _describe_run(model, plan) | {
        "source ids": source_ids,
        "model name": model_name,
        "format": output.format,
        **({} if plan.sampling else {"batch size": output.batch_size}),
        "shard size": piece if output.format == "webdataset" else None,
        "device": state.device.type,
    }
    if soft_labels is not None:
        run["soft labels"] = hashlib.sha256(np.ascontiguousarray(soft_labels, "<f4").tobytes()).hexdigest()[:12]
    with alone_in(folder) if state.is_main_process else nullcontext():
        if state.is_main_process and prepare_folder(folder, output.overwrite, run):
            present = sum(map(writer.present, writer.pieces()))
            logger.info("%s: going on, %d of %d samples are there", folder, present, len(writer))
        state.wait_for_everyone()
        share = writer.pieces()[state.process_index :: state.num_processes]
        unfinished = [part for part in share if writer.present(part) < len(part)]
        missing = [batch for part in unfinished for batch in cut(part, output.batch_size)]
        writer.write(_one_by_one(run_batches(model, plan, missing, state.device)))
        state.wait_for_everyone()
        if state.is_main_process:
            writer.finish(_describe_plan(model, plan, model_name))
        state.wait_for_everyone()
    return folder


def _one_by_one(batches: Iterable[SyntheticBatch]) -> Iterator[SyntheticSample]:
    for batch in batches:
        for row, index in enumerate(batch.indices.tolist()):
            values = {name: arrays[row] for name, arrays in batch.values.items()}
            sounds = {name: (values.pop(name)[0], waves[row]) for name, waves in batch.waveforms.items()}
            yield SyntheticSample(index, values, sounds)


def _describe_sample(
    model: GenerativeModel, plan: Plan, source_ids: bool, model_name: str, index: int
) -> dict[str, Any]:
    """Metadata of one sample; a modality that is made from the others alone has no source (None)."""
    label = plan.class_names[index // plan.per_class]
    row: dict[str, Any] = {"label": label, "index": index, "seed": plan.seed, "model": model_name}
    if plan.ratios:
        row |= {f"{name}_mask_ratio": ratio for name, ratio in plan.ratios.items()}
        row["copies_real_data"] = plan.paste_visible
    else:
        row["may_hold_real_pixels"] = model.may_hold_real_pixels
    if plan.segments > 1:
        row |= {f"{name}_segments": int(lengths[index]) for name, lengths in plan.lengths.items()}
    if source_ids:
        for name, source in plan.sources.items():
            start = source[index]
            row[f"source_{name}_id"] = int(plan.real[name].rows[start]) if start >= 0 else None
    return row


def _describe_plan(model: GenerativeModel, plan: Plan, model_name: str) -> dict[str, Any]:
    """How the data set says that it was made."""
    method = {} if model.method is None else {"method": model.method}
    about = {"generator": {"library": f"mmgen {__version__}"} | method | {"model": model_name}}
    about |= {"seed": plan.seed, "per_class": plan.per_class}
    prior = "real" if plan.sources else model.origin
    about |= {"mask_ratio": plan.ratios, "segments": plan.segments} if plan.ratios else {"input_prior": prior}
    about |= asdict(plan.sampling) if plan.sampling else {}
    about |= {"patch": {name: modality.patch for name, modality in model.encoders.items()}} if model.encoders else {}
    about["copies_real_data"] = plan.paste_visible or model.may_hold_real_pixels
    return about if plan.chosen_from is None else about | {"chosen_from": plan.chosen_from}


def _describe_run(model: GenerativeModel, plan: Plan) -> dict[str, Any]:
    """All that the samples of a plan depend on, by names that users understand; equal where samples are equal."""
    config = hashlib.sha256(json.dumps(model.config, sort_keys=True).encode()).hexdigest()
    fixed = None if plan.fixed is None else hashlib.sha256(plan.fixed.values[:].tobytes()).hexdigest()[:12]
    real = hashlib.sha256()  # of sources and their values: all, or many over the whole range where they are too many
    for name, source in plan.sources.items():
        real.update(f"{name}\0".encode() + source.astype("<i8").tobytes())
        longest = int(plan.lengths[name].max(initial=0))
        steps = [source[(source >= 0) & (plan.lengths[name] > step)] + step for step in range(longest)]
        used = np.unique(np.concatenate(steps))
        if len(used):
            real.update(plan.real[name].rows[used].astype("<i8").tobytes())
            places = np.linspace(0, len(used) - 1, min(len(used), _SAMPLES_LOOKED_AT)).round().astype(np.int64)
            for some in np.array_split(used[places], -(-len(places) // 64)):
                with one_thread():  # values may be decoded only now
                    values = plan.real[name].values[some]
                real.update(np.ascontiguousarray(values).tobytes())
    return {
        "seed": plan.seed,
        "samples per class": plan.per_class,
        "labels": list(plan.class_names),
        "segments": plan.segments,
        "mask ratio": plan.ratios,
        "pasting of visible patches": plan.paste_visible,
        "start": plan.made,
        "sampling": asdict(plan.sampling) if plan.sampling else None,
        "model": f"{model_digest(model)} {config[:12]}",
        "images": fixed,
        "real samples": real.hexdigest()[:12],
        "versions": f"mmgen {__version__}, torch {torch.__version__}",
    }
