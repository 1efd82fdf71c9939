"""``mmgen generate``."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mmgen.cli.data_flags import CachedDataFlags
from mmgen.errors import UserError
from mmgen.names import MODALITY_FLAGS as FLAGS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Generate(CachedDataFlags):
    """Make a labelled synthetic data set from a trained model, with real samples where it needs some."""

    model: Annotated[str, tyro.conf.Positional]
    """Folder of a model or of a run, or a hub id."""
    per_class: int
    """Samples of each label."""
    out: Path
    """Folder of the new data set."""
    start: Annotated[Literal["label", "image", "audio", "samples"] | None, tyro.conf.arg(name="from")] = None
    """What samples are made from: label (and chance alone; the default where the model can), image or audio (the other
    one is made from real samples), or samples (real ones in part)."""
    steps: int | None = None
    """Network passes a sample of a denoising model; more are finer and slower."""
    guidance: float | None = None
    """How far a denoising model exaggerates the label; 1: not."""
    images: Path | None = None
    """Folder or CSV of real images, where samples are made from them."""
    audio: Path | None = None
    """Folder or CSV of real recordings, where samples are made from them."""
    choose_from: int | None = None
    """For a generator of images: choose those that stand for so many draws of each class."""
    mask_ratio: float = 0.75
    """Hidden share of every modality; 1 makes it from the others alone."""
    image_mask_ratio: float | None = None
    """Hidden share of images, if another."""
    audio_mask_ratio: float | None = None
    """Hidden share of sounds, if another."""
    split: str = "train"
    """Split to start from, where the data have splits."""
    segments: int = 1
    """Length of sounds in segments; what is left of a recording, or a shorter one, gives a shorter sound."""
    seed: int = 0
    """Seed of partners and masks."""
    batch_size: int = 32
    """Samples made at once."""
    paste_visible: bool = False
    """Keep visible patches of the real samples: copies real data."""
    source_ids: bool = True
    """Keep row numbers of the real samples in the metadata."""
    format: Literal["folder", "webdataset"] = "folder"
    """Files in folders by label, or tar shards of the WebDataset form."""
    shard_size: int = 1000
    """Samples a shard, rounded up to whole batches; processes share out whole shards."""
    overwrite: bool = False
    """Replace an earlier data set in the folder; an interrupted one of the same command goes on without this."""


def generate(options: Generate) -> dict[str, Any]:
    """Run ``mmgen generate``."""
    from mmgen.artifacts.models import load_model, model_settings
    from mmgen.data.sources import reading_of
    from mmgen.generation.amount import refuse_too_much
    from mmgen.generation.pairs import read_sources
    from mmgen.generation.plan import check_start, make_plan
    from mmgen.generation.writing import OutputOptions, write_dataset
    from mmgen.models.generative import Sampling

    model = load_model(options.model)
    output = OutputOptions(options.format, options.batch_size, options.shard_size, options.overwrite)
    start = check_start(model, options.start)
    _refuse_unused(options, start, "samples" in model.starts, "label" in model.starts)
    # Of one label, for more may be left out.
    refuse_too_much(model_settings(model), options.per_class, options.out, options.choose_from or 0)
    paths = {name: path for name in FLAGS if (path := getattr(options, FLAGS[name])) is not None}
    own_ratios = {name: getattr(options, f"{name}_mask_ratio", None) for name in model.ratios(options.mask_ratio)}
    ratios = {name: options.mask_ratio if own is None else own for name, own in own_ratios.items()}
    given = {name: getattr(options, name) for name in ("steps", "guidance") if getattr(options, name) is not None}
    sampling = Sampling(**given) if len(model.starts) > 1 else None
    real = read_sources(model, paths, reading_of(options, options.out, options.seed), options.split)
    further = (options.seed, options.paste_visible, options.segments, options.choose_from, start, sampling)
    plan = make_plan(model, real, options.per_class, ratios, *further)
    write_dataset(model, plan, options.out, output, options.source_ids)
    logger.info("%d samples of %s are in %s", len(plan), " and ".join(plan.class_names), options.out)
    return {
        "dataset": options.out,
        "samples": len(plan),
        "counts": dict.fromkeys(plan.class_names, plan.per_class),
        "modalities": list(model_settings(model)),
    }


def _refuse_unused(options: Generate, start: str, decodes: bool, draws: bool) -> None:
    """Raise UserError for flags that have no use where samples start so.

    Args:
        start: what samples are made from.
        decodes: whether the model is a masked autoencoder.
        draws: whether it can make samples from labels.
    """
    ratios = ["mask_ratio", "image_mask_ratio", "audio_mask_ratio", "segments", "paste_visible"]
    unused = [] if decodes and draws else ["steps", "guidance"]
    unused += ["choose_from"] if decodes else []
    unused += ratios if start != "samples" else []
    unused += [flag for flag in ("images", "audio") if start not in ("samples", flag.removesuffix("s"))]
    defaults = {field.name: field.default for field in fields(Generate)}
    given = [f"--{name.replace('_', '-')}" for name in unused if getattr(options, name) != defaults[name]]
    if given:
        needs = {"label": "no real samples", "samples": "real samples"}.get(
            start, f"only --{start}s".replace("os", "o")
        )
        raise UserError(f"{options.model} makes samples from {needs} here; leave out {', '.join(given)}.")
