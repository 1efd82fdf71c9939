"""The command line: ``mmgen condense``, ``generate``, ``check`` and ``phantoms``; also what recipes need to be
commands."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mmgen.condense import CondensationFlags
from mmgen.config import refuse_repeats
from mmgen.errors import UserError
from mmgen.flags import CachedDataFlags, DataFlags

if TYPE_CHECKING:
    from mmgen.data.prepare import PairedData
    from mmgen.models.cross_modal_mae import CrossModalMAE
    from mmgen.models.medsynth import MedSynthGenerator
    from mmgen.output import OutputOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Condense(CondensationFlags):
    """Condense a labelled image set into a generator and a small synthetic data set."""

    data: Annotated[Path, tyro.conf.Positional]
    """Folder with a subfolder for each label (or train/ and test/ above them), CSV, published data set, or shards; the
    training split is used."""
    ipc: int
    """Images of each class."""
    out: Path
    """Folder of the condensed data set."""
    method: Literal["medsynth"] = "medsynth"
    """How to condense."""
    run: Path | None = None
    """Folder of the trainings and of the generator (model/); OUT_run beside the data set if absent."""
    resume: Literal["latest"] | None = None
    """Go on from the run folder's last checkpoints."""
    format: Literal["folder", "webdataset"] = "folder"
    """Files in folders by label, or tar shards of the WebDataset form."""
    shard_size: int = 1000
    """Samples a shard, rounded up to whole batches; processes share out whole shards."""
    overwrite: bool = False
    """Replace an earlier data set in the folder; an interrupted one of the same command goes on without this."""

    @property
    def run_folder(self) -> Path:
        """Where trainings and generator go."""
        return self.run or self.out.with_name(f"{self.out.resolve().name}_run")


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
    """Folder or CSV of real images; not needed at image mask ratio 1, nor by a generator with a class prior."""
    audio: Path | None = None
    """Folder or CSV of real recordings; not needed at audio mask ratio 1."""
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


@dataclass(frozen=True, kw_only=True)
class Check(DataFlags):
    """List what is wrong with real data before a training, or verify a synthetic data set. Exits with 1 on problems."""

    dataset: Annotated[Path | None, tyro.conf.Positional] = None
    """Synthetic data set to verify against its checksums."""
    images: Path | None = None
    """Folder, CSV or shards of real images."""
    audio: Path | None = None
    """Folder, CSV or shards of real recordings."""
    refuse_unpaired: bool = False
    """Count a label that one side lacks as a problem, instead of leaving it out."""


@dataclass(frozen=True)
class Phantoms:
    """Write phantom data, the embedded data of the recipes."""

    out: Path
    """Folder to write images/ and audio/ into, or the data set itself if it is of one modality."""
    kind: Literal["xrays-and-coughs", "lesions", "brains"] = "xrays-and-coughs"
    """What to draw: both modalities of one recipe, or the pictures of another."""
    subjects_per_class: int = 60
    """Phantom subjects of each label and modality."""
    image_size: int = 128
    """Side of the pictures."""
    seed: int = 0
    """Seed of everything."""


def condense(options: Condense) -> None:
    """Run ``mmgen condense``."""
    from mmgen.condensation.medsynth import STAGES, set_stages_aside
    from mmgen.condense import write_condensed
    from mmgen.data.mel import one_thread
    from mmgen.output import OutputOptions, refuse_occupied
    from mmgen.provenance import config_to_dict, write_config
    from mmgen.training.engine import make_accelerator, part_ways

    run, resume, count = options.run_folder, options.resume is not None, options.ipc
    how = OutputOptions(options.format, shard_size=options.shard_size, overwrite=options.overwrite)
    if count < 1:
        raise UserError(f"--ipc must be at least 1, got {count}.")
    out, taken = options.out.resolve(), [(run / name).resolve() for name in (*STAGES, "model")]
    if run.resolve().is_relative_to(out) or any(map(out.is_relative_to, taken)):
        raise UserError(f"{options.out} would hold files of the run in {run} too; choose another --run or --out.")
    refuse_occupied(options.out, options.overwrite)
    options.refuse_impossible(run, resume)

    accelerator = make_accelerator(options.mixed_precision)
    data = options.read(options.data, options.out)
    model = options.condenser(data, accelerator, run, resume)
    if accelerator.is_main_process:
        if not resume:
            write_config(run, config_to_dict(options) | {"fit": config_to_dict(options.fit)}, data.fingerprints)
            set_stages_aside(run)
        data.write_skipped(run / "skipped_files.csv")
    accelerator.wait_for_everyone()
    generator = model.fit().generator
    if accelerator.is_main_process:
        _save_generator(generator, run / "model", data, count)
    with one_thread():  # as where a generator makes its images itself
        made = None if generator.prior is not None else model.sample(count, options.seed)
    folder = write_condensed(generator, count, options.seed, options.out, how, made=made)
    part_ways()
    logger.info("Generator      %s\nCondensed set  %s", run / "model", folder)


def _save_generator(generator: MedSynthGenerator, folder: Path, data: PairedData, images_per_class: int) -> None:
    from mmgen.condense import size_lines, subjects_in_training
    from mmgen.hub import save_generator

    sizes = size_lines(data, len(generator.class_names), [images_per_class])
    save_generator(generator, folder, data.training_counts(), subjects_in_training(data), sizes)


def generate(options: Generate) -> None:
    """Run ``mmgen generate``."""
    from mmgen.hub import load_model
    from mmgen.models.medsynth import MedSynthGenerator
    from mmgen.output import OutputOptions

    model = load_model(options.model)
    how = OutputOptions(options.format, options.batch_size, options.shard_size, options.overwrite)
    if isinstance(model, MedSynthGenerator):
        labels = _generate_images(model, options, how)
    else:
        labels = _generate_tuples(model, options, how)
    logger.info("%d samples of %s are in %s", len(labels) * options.per_class, " and ".join(labels), options.out)


def _generate_images(model: MedSynthGenerator, options: Generate, how: OutputOptions) -> tuple[str, ...]:
    """A set of a MedSynth generator; its labels."""
    from mmgen.condense import from_real_images, write_condensed

    unused = ["audio", "mask_ratio", "image_mask_ratio", "audio_mask_ratio", "segments", "paste_visible"]
    unused += ["images"] if model.prior is not None else []
    defaults = {field.name: field.default for field in fields(Generate)}
    given = [f"--{name.replace('_', '-')}" for name in unused if getattr(options, name) != defaults[name]]
    if given:
        needs = "only --images" if model.prior is None else "no real samples"
        raise UserError(f"{options.model} is a MedSynth generator, which takes {needs}; leave out {', '.join(given)}.")
    made = None
    if model.prior is None:
        if options.images is None:
            raise UserError(
                f"{options.model} is a generator that starts from real images; give --images with some of every class."
            )
        how_read = options.preparation(options.out, options.seed)
        made = from_real_images(
            model, options.images, options.per_class, options.seed, options.source, how_read, options.split
        )
    write_condensed(model, options.per_class, options.seed, options.out, how, made=made)
    return model.class_names


def _generate_tuples(model: CrossModalMAE, options: Generate, how: OutputOptions) -> tuple[str, ...]:
    """A set of a cross-modal masked autoencoder; its labels."""
    from mmgen.generate import make_plan, read_sources, write_dataset
    from mmgen.hub import model_digest

    paths = {name: path for name, path in (("image", options.images), ("audio", options.audio)) if path is not None}
    own_ratios = {"image": options.image_mask_ratio, "audio": options.audio_mask_ratio}
    ratios = {name: options.mask_ratio if (own := own_ratios.get(name)) is None else own for name in model.modalities}
    samples = read_sources(model, paths, options.source, options.preparation(options.out, options.seed), options.split)
    plan = make_plan(
        model, samples, options.per_class, ratios, options.seed, options.paste_visible, segments=options.segments
    )
    write_dataset(model, plan, samples, options.out, how, options.source_ids, model_digest(model))
    return plan.label_names


def check(options: Check) -> None:
    """Run ``mmgen check``."""
    from mmgen.data.audio import AudioSettings
    from mmgen.data.check import check_data
    from mmgen.data.images import ImageSettings
    from mmgen.data.writing.verify import verify_dataset

    paths = {"image": options.images, "audio": options.audio}
    settings = {"image": ImageSettings(), "audio": AudioSettings()}
    if (options.dataset is None) == (paths["image"] is None and paths["audio"] is None):
        raise UserError("Give --images and --audio (or one of them) to check real data, or a synthetic data set.")
    if options.dataset is not None:
        problems = verify_dataset(options.dataset)
        for line in problems or [f"{options.dataset} is whole: every file is there and as it was written."]:
            logger.info("%s", line)
    else:
        sources = {name: options.source(path, settings[name]) for name, path in paths.items() if path is not None}
        findings = check_data(sources, options.renames, options.refuse_unpaired, options.skip_bad)
        problems = findings.overview.problems
        for line in findings.lines():
            logger.info("%s", line)
    if problems:
        raise SystemExit(1)


def phantoms(options: Phantoms) -> None:
    """Run ``mmgen phantoms``."""
    from mmgen.data.phantoms import write_phantom_images, write_phantoms

    amount = (options.subjects_per_class, options.seed, options.image_size)
    if options.kind == "xrays-and-coughs":
        folders = write_phantoms(options.out, *amount)
    else:
        folders = (write_phantom_images(options.out, options.kind, *amount),)
    logger.info("Phantom data are in %s", " and ".join(map(str, folders)))


def run_command(command: Callable[[], None]) -> None:
    """Run a command as a program: logging on the first process, one sentence instead of a traceback for user errors.

    Exits with 2 for such errors, 1 when a loss stopped being a number, 130 when the run was asked to stop.
    """
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, format="%(message)s", stream=sys.stdout)
    for chatty in ("accelerate", "huggingface_hub", "torch.distributed"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        command()
    except UserError as error:
        _leave(f"error: {error}", 2)
    except OSError as error:  # a full disk, a folder that may not be written
        _leave(f"error: {error}", 2)
    except RuntimeError as error:
        codes = {"NonFiniteLoss": 1, "Interrupted": 130}
        if type(error).__name__ not in codes:
            raise
        _leave(str(error), codes[type(error).__name__])


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(code)


def main() -> None:
    """Entry point of the ``mmgen`` command."""

    def command() -> None:
        refuse_repeats(sys.argv[1:], Condense, Generate, Check)
        options = tyro.cli(
            Annotated[Condense, tyro.conf.subcommand("condense")]
            | Annotated[Generate, tyro.conf.subcommand("generate")]
            | Annotated[Check, tyro.conf.subcommand("check")]
            | Annotated[Phantoms, tyro.conf.subcommand("phantoms")],
            prog="mmgen",
        )
        if isinstance(options, Condense):
            condense(options)
        elif isinstance(options, Generate):
            generate(options)
        elif isinstance(options, Check):
            check(options)
        else:
            phantoms(options)

    run_command(command)
