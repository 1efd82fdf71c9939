"""From labelled X-rays and coughs to a labelled synthetic data set with a report (MMAE paper).

Without flags: phantom data, a small model, a few minutes on two CPU cores. On your own data:

    python recipes/mmae_covid.py --images PATH --audio PATH --preset small --out runs/mine
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from mmgen.cli import run_command
from mmgen.config import parse_config
from mmgen.data.manifest import Columns
from mmgen.data.phantoms import write_phantoms
from mmgen.data.prepare import PairedData, Source, prepare
from mmgen.data.samples import Settings
from mmgen.data.synthetic import read_dataset
from mmgen.errors import UserError
from mmgen.evaluation.mae import Evaluated, measure_fidelity, measure_utility, report_media
from mmgen.evaluation.report import write_report
from mmgen.generate import make_plan, write_dataset
from mmgen.hub import model_digest, save_model, start_from_timm
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.fusion import FusionQuery
from mmgen.presets import PRESETS, Preset, PresetName, build_mae
from mmgen.provenance import config_to_dict, fingerprint, write_config
from mmgen.training.engine import Precision, make_accelerator, part_ways
from mmgen.training.loop import LoopConfig, peak_memory_mb
from mmgen.training.mae import MAEConfig, train_mae
from mmgen.training.runlog import read_metrics

logger = logging.getLogger("mmgen")


@dataclass(frozen=True)
class Recipe:
    """Train a cross-modal masked autoencoder, generate a synthetic data set, measure it."""

    images: Path | None = None
    """Folder with a subfolder for each label (or train/ and test/ above them), or a CSV. Phantoms if absent."""
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
    path_column: str | None = None
    """Column of paths, for CSV files."""
    label_column: str | None = None
    """Column of labels, for CSV files."""
    subject_column: str | None = None
    """Column of subjects, for CSV files; no subject is on two sides of a split."""
    split_column: str | None = None
    """Column of splits, for CSV files."""


def read_data(config: Recipe, settings: dict[str, Settings]) -> PairedData:
    """Real data from the flags, or phantoms."""
    if (config.images is None) != (config.audio is None):
        raise UserError("Give both --images and --audio, or neither for phantoms.")
    images, audio = config.images, config.audio
    if images is None or audio is None:
        images, audio = write_phantoms(config.out.parent / "phantoms", seed=config.seed)
        logger.info("Phantom data: %s, %s", images, audio)
    columns = Columns(config.path_column, config.label_column, config.subject_column, config.split_column)
    paths = {"image": images, "audio": audio}
    return prepare({name: Source(paths[name], settings[name], columns) for name in settings}, seed=config.seed)


def train(
    config: Recipe, preset: Preset, data: PairedData, settings: dict[str, Settings], accelerator: Any, folder: Path
) -> CrossModalMAE:
    """A model of the modalities in ``settings``, trained in ``folder``."""
    torch.manual_seed(config.seed)
    model = build_mae(preset, settings, data.splits["train"], config.fusion_query)
    if config.image_weights and "image" in settings:
        start_from_timm(model, "image", config.image_weights)
    learning = MAEConfig(
        lr=preset.lr,
        betas=preset.betas,
        mask_ratio=config.mask_ratio,
        loss_coupling=config.loss_coupling,
        accumulate=config.accumulate,
        seed=config.seed,
    )
    loop = LoopConfig(preset.epochs, ema_decay=config.ema_decay, seed=config.seed)
    marks = {name: fingerprint(data.manifests[name]) for name in settings}
    identity = {
        "model": model.config,
        "learning": config_to_dict(learning),
        "loop": config_to_dict(loop),
        "data": marks,
    }
    # A single-modal run that had not begun when the first was interrupted starts now.
    resume = config.resume is not None and (folder / "checkpoints" / "last.pt").is_file()
    if config.resume is not None and not resume and folder == config.out:
        raise UserError(
            f"There is no checkpoint in {folder}; start without --resume, or give --out of the run to go on with."
        )
    return train_mae(model, data.splits, preset.batch_size, learning, loop, accelerator, folder, resume, identity)


def main() -> None:
    config = parse_config(Recipe, description=__doc__)
    preset = PRESETS[config.preset]
    overrides = {name: value for name in ("epochs", "batch_size", "lr") if (value := getattr(config, name)) is not None}
    preset = dataclasses.replace(preset, **overrides)
    settings: dict[str, Settings] = {"image": preset.image, "audio": preset.audio}
    accelerator = make_accelerator(config.mixed_precision)
    costs: dict[str, dict[str, Any]] = {}

    @contextmanager
    def cost(phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        used = {"seconds": time.perf_counter() - start, "device": accelerator.device.type}
        costs[phase] = used | {"peak_memory_mb": peak_memory_mb(accelerator.device)}

    with cost("data"), accelerator.main_process_first():
        data = read_data(config, settings)
    if accelerator.is_main_process:
        marks = {name: fingerprint(manifest) for name, manifest in data.manifests.items()}
        write_config(config.out, config_to_dict(config) | {"resolved_preset": config_to_dict(preset)}, marks)

    with cost("train"):
        model = train(config, preset, data, settings, accelerator, config.out)
    single: dict[str, CrossModalMAE] = {}
    if config.single_modal:
        with cost("train single-modal"):
            for name in settings:
                single[name] = train(
                    config, preset, data, {name: settings[name]}, accelerator, config.out / "single_modal" / name
                )
    history = read_metrics(config.out / "metrics.jsonl")
    costs["train"]["samples_per_s"] = (
        sorted(row["samples_per_s"] for row in history)[len(history) // 2] if history else None
    )

    with cost("generate"):
        counts = [
            int((s.labels == label).sum())
            for s in data.splits["train"].values()
            for label in range(len(data.label_names))
        ]
        per_class = max(counts) if config.per_class is None else config.per_class
        plan = make_plan(model, data.splits["train"], per_class, config.mask_ratio, config.seed)
        folder = write_dataset(
            model, plan, data.splits["train"], config.out / "synthetic", overwrite=True, model_name=model_digest(model)
        )
    part_ways()
    if not accelerator.is_main_process:
        return

    with cost("evaluate"):
        what = Evaluated(model, single, data, read_dataset(folder, settings), settings, config.mask_ratio)
        fidelity = measure_fidelity(what, config.seed)
        utility = measure_utility(what, preset.utility, accelerator)
        media = report_media(what, fidelity, history, config.seed)
    report = {
        "run": config.out.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config_to_dict(config),
        "data": data.summary(),
        "utility": utility,
        "fidelity": fidelity,
        "privacy": {},
        "cost": costs,
    }
    page = write_report(config.out / "report", report, media)
    ratios = {
        name: f"{fidelity[name]['masked_patch_error']['ratio']:.2f} of the mean patch's error" for name in settings
    }
    trained_on = {
        name: {label: c.get("train", 0) for label, c in m.counts().items()} for name, m in data.manifests.items()
    }
    save_model(
        model,
        config.out / "model",
        trained_on,
        {f"masked-patch error, {name}": value for name, value in ratios.items()},
    )
    logger.info("Report    %s\nData set  %s\nModel     %s", page, folder, config.out / "model")


if __name__ == "__main__":
    run_command(main)
