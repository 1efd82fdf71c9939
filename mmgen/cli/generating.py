"""``mmgen generate``."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mmgen.cli.data_flags import CachedDataFlags
from mmgen.errors import UserError

if TYPE_CHECKING:
    from mmgen.data.samples import Samples
    from mmgen.generation.writing import OutputOptions
    from mmgen.models.condensed import CondensedModel
    from mmgen.models.cross_modal_mae import CrossModalMAE

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
    from mmgen.artifacts.models import load_model
    from mmgen.generation.writing import OutputOptions
    from mmgen.models.condensed import CondensedModel

    model = load_model(options.model)
    how = OutputOptions(options.format, options.batch_size, options.shard_size, options.overwrite)
    if isinstance(model, CondensedModel):
        labels = _generate_images(model, options, how)
    else:
        labels = _generate_tuples(model, options, how)
    logger.info("%d samples of %s are in %s", len(labels) * options.per_class, " and ".join(labels), options.out)


def _generate_images(model: CondensedModel, options: Generate, how: OutputOptions) -> tuple[str, ...]:
    """A set of a condensed model; its labels."""
    from mmgen.data.sources import reading_of
    from mmgen.generation.condensed import from_real_images, write_condensed

    unused = ["audio", "mask_ratio", "image_mask_ratio", "audio_mask_ratio", "segments", "paste_visible"]
    unused += ["images"] if model.origin != "real" else []
    defaults = {field.name: field.default for field in fields(Generate)}
    given = [f"--{name.replace('_', '-')}" for name in unused if getattr(options, name) != defaults[name]]
    if given:
        needs = "only --images" if model.origin == "real" else "no real samples"
        raise UserError(f"{options.model} is a condensed set, whose model takes {needs}; leave out {', '.join(given)}.")
    made = None
    if options.choose_from is not None:
        made = _choose(model, options.per_class, options.choose_from, options.seed)
    if model.origin == "real":
        if options.images is None:
            raise UserError(
                f"{options.model} is a generator that starts from real images; give --images with some of every class."
            )
        reading = reading_of(options, options.out, options.seed)
        made = from_real_images(model, options.images, options.per_class, options.seed, reading, options.split)
    write_condensed(
        model, options.per_class, options.seed, options.out, how, made=made, chosen_from=options.choose_from
    )
    return model.class_names


def _choose(model: CondensedModel, per_class: int, choose_from: int, seed: int) -> Samples:
    """Representatives, made where :func:`write_condensed` would make images."""
    from mmgen.condensation.representatives import representatives
    from mmgen.data.threads import one_thread
    from mmgen.training.engine import make_accelerator

    if model.origin not in ("class", "noise"):
        raise UserError("--choose-from needs a generator that makes images by itself; leave it out.")
    with one_thread():
        return representatives(model, per_class, choose_from, seed, make_accelerator().device)


def _generate_tuples(model: CrossModalMAE, options: Generate, how: OutputOptions) -> tuple[str, ...]:
    """A set of a cross-modal masked autoencoder; its labels."""
    from mmgen.artifacts.models import model_digest
    from mmgen.data.sources import reading_of
    from mmgen.generation.pairs import make_plan, read_sources, write_dataset

    if options.choose_from is not None:
        raise UserError(f"--choose-from is for generators of images, not for {options.model}; leave it out.")
    paths = {name: path for name, path in (("image", options.images), ("audio", options.audio)) if path is not None}
    own_ratios = {"image": options.image_mask_ratio, "audio": options.audio_mask_ratio}
    ratios = {name: options.mask_ratio if (own := own_ratios.get(name)) is None else own for name in model.modalities}
    samples = read_sources(model, paths, reading_of(options, options.out, options.seed), options.split)
    plan = make_plan(
        model, samples, options.per_class, ratios, options.seed, options.paste_visible, segments=options.segments
    )
    write_dataset(model, plan, samples, options.out, how, options.source_ids, model_digest(model))
    return plan.label_names
