"""From labelled X-rays and coughs to a labelled synthetic data set with a report (MMAE paper).

Without flags: phantom data, a small model, a few minutes on two CPU cores. On your own data:

    python recipes/mmae_covid.py --images PATH --audio PATH --preset small --out runs/mine

--config FILE.yaml takes flags from a file; flags on the command line go on top.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.models import model_digest, save_model, start_from_timm
from mmgen.artifacts.provenance import Costs, config_to_dict, write_config
from mmgen.assessment.auditing import audit_run
from mmgen.assessment.inputs import data_sets_of
from mmgen.assessment.mae import Evaluated, evaluate_mae
from mmgen.assessment.reporting import with_media, write_whole
from mmgen.assessment.subject import Subject
from mmgen.cli.config import parse_config
from mmgen.cli.data_flags import CachedDataFlags
from mmgen.cli.main import run_command
from mmgen.data.phantoms import write_phantoms
from mmgen.data.prepare import PairedData, prepare
from mmgen.data.settings import Settings
from mmgen.data.writing.synthetic import read_dataset
from mmgen.errors import UserError
from mmgen.generation.pairs import make_plan, model_settings, write_dataset
from mmgen.generation.writing import OutputOptions
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.fusion import FusionQuery
from mmgen.names import Precision
from mmgen.presets import PRESETS, Preset, PresetName, build_mae
from mmgen.training.batches import PairedBatches
from mmgen.training.checkpoint import Checkpoints
from mmgen.training.engine import make_accelerator, part_ways
from mmgen.training.loop import LoopConfig
from mmgen.training.mae import MAEConfig, train_mae
from mmgen.training.runlog import read_metrics

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger("mmgen")


@dataclass(frozen=True, kw_only=True)
class Recipe(CachedDataFlags):
    """Train a cross-modal masked autoencoder, generate a synthetic data set, measure it."""

    images: Path | None = None
    """Folder with a subfolder for each label (or train/ and test/ above them), CSV, published data set, or shards.
    Phantoms if absent."""
    audio: Path | None = None
    """The same for recordings."""
    out: Path = Path("runs/mmae_covid")
    """Run folder."""
    preset: PresetName = "tiny"
    """Sizes of model and data."""
    epochs: int | None = None
    """Passes over the data, if not the preset's."""
    batch_size: int | None = None
    """Pairs in one update over all processes, if not the preset's."""
    accumulate: int = 1
    """Parts into which each process cuts its share of a batch to save memory."""
    lr: float | None = None
    """Peak learning rate, if not the preset's."""
    mask_ratio: float = 0.75
    """Hidden share of every sample, in training and generation."""
    fusion_query: FusionQuery | None = None
    """Where cross-attention takes its queries from, if not the preset's choice."""
    loss_coupling: Literal["decoupled", "joint"] = "decoupled"
    """One gradient and optimiser for each modality's loss, or for their sum."""
    image_weights: str | None = None
    """Start the image stream from a ViT: file or timm name, e.g. vit_base_patch16_224.mae with --preset base."""
    ema_decay: float = 0.0
    """Keep a moving average of the weights instead of the last ones (0: no)."""
    single_modal: bool = True
    """Also train an autoencoder of each modality alone, to compare with."""
    per_class: int | None = None
    """Synthetic pairs of each label; as many as the largest real class if absent."""
    seed: int = 0
    """Seed of splits, weights, pairs and masks."""
    resume: Literal["latest"] | None = None
    """Go on from the run folder's last checkpoint."""
    mixed_precision: Precision = "auto"
    """bf16 where the hardware has it, no, or auto."""
    refuse_unpaired: bool = False
    """Stop where one side lacks a label, instead of leaving the label out."""
    fast: bool = False
    """Short attacks in the audit; the preset tiny always has short ones."""

    @property
    def sizes(self) -> Preset:
        """The preset with the flags that override it."""
        own = {name: getattr(self, name) for name in ("epochs", "batch_size", "lr", "fusion_query")}
        return dataclasses.replace(
            PRESETS[self.preset], **{name: value for name, value in own.items() if value is not None}
        )


def check(config: Recipe) -> None:
    """Refuse before training what would fail after it."""
    if (config.images is None) != (config.audio is None):
        raise UserError("Give both --images and --audio, or neither for phantoms.")
    if not 0.0 < config.mask_ratio < 1.0:
        raise UserError(f"--mask-ratio lies between 0 and 1, got {config.mask_ratio}.")
    for name in ("epochs", "batch_size", "accumulate", "per_class"):
        if (value := getattr(config, name)) is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {value}.")
    if config.seed < 0:
        raise UserError(f"--seed must be 0 or more, got {config.seed}.")
    if config.resume is None and (config.out / "checkpoints").is_dir():
        logger.warning(
            "%s holds an earlier run, which this one replaces (--resume latest would go on with it).", config.out
        )


def read_data(config: Recipe, accelerator: Accelerator) -> PairedData:
    """Real data from the flags, or phantoms."""
    images, audio = config.images, config.audio
    if images is None or audio is None:
        with accelerator.main_process_first():
            images, audio = write_phantoms(config.out / "phantoms", seed=config.seed)
        logger.info("Phantom data: %s, %s", images, audio)
    settings = {"image": config.sizes.image, "audio": config.sizes.audio}
    sources = {name: config.source(path, settings[name]) for name, path in (("image", images), ("audio", audio))}
    return prepare(sources, config.preparation(config.out, config.seed, config.refuse_unpaired))


def train(
    config: Recipe, data: PairedData, names: Sequence[str], accelerator: Accelerator, folder: Path
) -> CrossModalMAE:
    """A model of the named modalities, trained in ``folder``."""
    sizes = config.sizes
    settings: dict[str, Settings] = {"image": sizes.image, "audio": sizes.audio}
    model = build_mae(sizes, {name: settings[name] for name in names}, data.splits["train"], seed=config.seed)
    if config.image_weights and "image" in names:
        start_from_timm(model, "image", config.image_weights)
    learning = MAEConfig(
        lr=sizes.lr,
        betas=sizes.betas,
        mask_ratio=config.mask_ratio,
        loss_coupling=config.loss_coupling,
        accumulate=config.accumulate,
        seed=config.seed,
    )
    loop = LoopConfig(sizes.epochs, ema_decay=config.ema_decay, seed=config.seed)
    # Single-modal training that had not begun when the run was interrupted starts now.
    resume = config.resume is not None and (folder == config.out or Checkpoints(folder / "checkpoints").resumable)
    # An epoch of all modalities is as long as the largest one's; one modality alone gets as many updates.
    updates = sizes.epochs * PairedBatches(data.splits["train"], sizes.batch_size, config.seed).steps_per_epoch
    return train_mae(
        model,
        data.splits,
        sizes.batch_size,
        learning,
        loop,
        accelerator,
        folder,
        resume,
        data.fingerprints,
        updates,
    )


def main() -> None:
    config = parse_config(Recipe, description=__doc__)
    check(config)
    accelerator = make_accelerator(config.mixed_precision)
    costs = Costs(accelerator.device)
    out, model_folder = config.out, config.out / "model"

    with costs.phase("data"):
        data = read_data(config, accelerator)
    if accelerator.is_main_process and config.resume is None:  # a refused --resume leaves the run as it was
        write_config(out, config_to_dict(config) | {"sizes": config_to_dict(config.sizes)}, data.fingerprints)
        for name in data.manifests:  # what an earlier run left would be taken for this one's
            Checkpoints(out / "single_modal" / name / "checkpoints").set_aside()
    if accelerator.is_main_process:
        data.write_skipped(out / "skipped_files.csv")
    accelerator.wait_for_everyone()

    with costs.phase("train"):
        model = train(config, data, list(data.manifests), accelerator, out)
    history = read_metrics(out / "metrics.jsonl")
    if accelerator.is_main_process:
        save_model(model, model_folder, CardFacts(data.training_counts()))
        if history:
            costs["train"]["samples_per_s"] = median(row["samples_per_s"] for row in history)

    single: dict[str, CrossModalMAE] = {}
    if config.single_modal:
        with costs.phase("train single-modal"):
            for name in model.modalities:
                single[name] = train(config, data, [name], accelerator, out / "single_modal" / name)

    with costs.phase("generate"):
        real = data.splits["train"]
        plan = make_plan(model, real, config.per_class, config.mask_ratio, config.seed)
        folder = write_dataset(
            model, plan, real, out / "synthetic", OutputOptions(overwrite=True), model_name=model_digest(model)
        )
    part_ways()
    if not accelerator.is_main_process:
        return

    settings = model_settings(model)
    with costs.phase("evaluate"):
        what = Evaluated(model, single, data, read_dataset(folder, settings), settings, config.mask_ratio)
        sections, media = evaluate_mae(what, config.sizes.utility, accelerator, history, config.seed)
    errors = {name: measures["masked_patch_error"]["ratio"] for name, measures in sections["fidelity"].items()}
    facts = CardFacts(data.training_counts(), hidden_patch_errors=errors)
    save_model(model, model_folder, facts, sections["utility"])
    with costs.phase("audit"):
        subject = Subject(model, None, data_sets_of(out), settings)
        fast = config.fast or config.preset == "tiny"
        sections["privacy"], pairs = audit_run(subject, data, out / "audit", fast, config.seed)
    head = {"run": out.name, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    head["config"] = config_to_dict(config, whole_paths=False)
    page = write_whole(out / "report", {**head, **sections, "cost": costs}, with_media(media, pairs))
    logger.info("Report    %s\nData set  %s\nModel     %s", page, folder, model_folder)


if __name__ == "__main__":
    run_command(main)
