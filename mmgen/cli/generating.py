"""``mmgen generate``."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mmgen.cli.data_flags import CachedDataFlags
from mmgen.errors import UserError

logger = logging.getLogger(__name__)

# The flag that says where each modality's real samples are.
_MODALITIES = {"image": "images", "audio": "audio"}


@dataclass(frozen=True, kw_only=True)
class Generate(CachedDataFlags):
    """Make a labelled synthetic data set from a trained model, with real samples where it needs some."""

    model: Annotated[str, tyro.conf.Positional]
    """Folder of a model or of a run, or a hub id."""
    per_class: int
    """Samples of each label."""
    out: Path
    """Folder of the new data set."""
    images: Path | None = None
    """Folder or CSV of real images; not needed at image mask ratio 1, nor by a condensed model unless it starts
    from real images."""
    audio: Path | None = None
    """Folder or CSV of real recordings; not needed at audio mask ratio 1."""
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


def generate(options: Generate) -> None:
    """Run ``mmgen generate``."""
    from mmgen.artifacts.models import load_model, model_settings
    from mmgen.data.sources import reading_of
    from mmgen.generation.amount import refuse_too_much
    from mmgen.generation.pairs import read_sources
    from mmgen.generation.plan import make_plan
    from mmgen.generation.writing import OutputOptions, write_dataset

    model = load_model(options.model)
    output = OutputOptions(options.format, options.batch_size, options.shard_size, options.overwrite)
    if not model.ratios(options.mask_ratio):
        _refuse_unused(options, model.needs_real_data)
    elif options.choose_from is not None:
        raise UserError(f"--choose-from is for generators of images, not for {options.model}; leave it out.")
    # Of one label, for more may be left out.
    refuse_too_much(model_settings(model), options.per_class, options.out, options.choose_from or 0)
    paths = {name: path for name in _MODALITIES if (path := getattr(options, _MODALITIES[name])) is not None}
    own_ratios = {name: getattr(options, f"{name}_mask_ratio", None) for name in model.ratios(options.mask_ratio)}
    ratios = {name: options.mask_ratio if own is None else own for name, own in own_ratios.items()}
    real = read_sources(model, paths, reading_of(options, options.out, options.seed), options.split)
    further = (options.seed, options.paste_visible, options.segments, options.choose_from)
    plan = make_plan(model, real, options.per_class, ratios, *further)
    write_dataset(model, plan, options.out, output, options.source_ids)
    logger.info("%d samples of %s are in %s", len(plan), " and ".join(plan.class_names), options.out)


def _refuse_unused(options: Generate, needs_images: bool) -> None:
    """Raise UserError for flags that a condensed model has no use for."""
    unused = ["audio", "mask_ratio", "image_mask_ratio", "audio_mask_ratio", "segments", "paste_visible"]
    unused += [] if needs_images else ["images"]
    defaults = {field.name: field.default for field in fields(Generate)}
    given = [f"--{name.replace('_', '-')}" for name in unused if getattr(options, name) != defaults[name]]
    if given:
        needs = "only --images" if needs_images else "no real samples"
        raise UserError(f"{options.model} is a condensed set, whose model takes {needs}; leave out {', '.join(given)}.")
