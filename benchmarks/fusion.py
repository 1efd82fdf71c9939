"""Which fusion is better: queries from one's own tokens, from the other modality's, or none (one model each)?

Every variant gets the same data, sizes, updates and seeds. Rows are written one by one; a run that was stopped goes on.

    python benchmarks/fusion.py --images PATH --audio PATH --out benchmarks/results/fusion.json
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmgen.artifacts.provenance import machine
from mmgen.cli.config import parse_config
from mmgen.data.loading import PairedData, prepare
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.data.sources import Source
from mmgen.evaluation.utility import UtilityConfig, train_and_test
from mmgen.generation.pairs import generate_pairs
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.presets import PRESETS, PresetName, build_mae
from mmgen.training.engine import make_accelerator
from mmgen.training.loop import LoopConfig
from mmgen.training.mae import MAEConfig, train_mae
from mmgen.training.mae_validation import masked_patch_error, mean_patch_error
from mmgen.training.run import Run

VARIANTS = ("own", "other", "single")
UTILITY = UtilityConfig(updates=100, max_side=48, seeds=1)


@dataclass(frozen=True)
class FusionBenchmark:
    """Flags of this benchmark."""

    images: Path
    audio: Path
    out: Path
    preset: PresetName = "small"
    epochs: int = 10
    seeds: int = 3
    per_class: int = 100
    models: Path = Path("runs/fusion")
    variants: tuple[str, ...] = VARIANTS


def train_variant(
    config: FusionBenchmark, data: PairedData, settings: dict[str, Settings], variant: str, seed: int
) -> dict[str, CrossModalMAE]:
    """The trained model that serves each modality: one for both with fusion, one each without."""
    groups = [[name] for name in settings] if variant == "single" else [list(settings)]
    models = {}
    for names in groups:
        folder = config.models / f"{config.preset}-{config.epochs}" / f"{variant}-{seed}" / "-".join(names)
        if not (folder / "model" / "config.json").is_file():
            train_one(config, data, {name: settings[name] for name in names}, variant, seed, folder)
        models |= dict.fromkeys(names, CrossModalMAE.from_pretrained(folder / "model").eval())
    return models


def train_one(
    config: FusionBenchmark, data: PairedData, settings: dict[str, Settings], variant: str, seed: int, folder: Path
) -> None:
    """Train one model and save it below ``folder``."""
    preset = replace(PRESETS[config.preset], decoder="mse")
    if config.preset in ("tiny", "small"):  # as many tokens as the image has, which queries of the other need
        preset = replace(preset, audio_patch=14)
    query = "own" if variant == "single" else variant
    model = build_mae(preset, settings, data.splits["train"], query, seed)
    learning = MAEConfig(preset.batch_size, preset.lr, betas=preset.betas, whole_mask_share=0.0)
    train_mae(model, data.splits, learning, LoopConfig(config.epochs), Run(make_accelerator(), folder, seed=seed))
    model.save_pretrained(folder / "model")


def measure(
    config: FusionBenchmark, data: PairedData, models: dict[str, CrossModalMAE], variant: str, seed: int
) -> dict[str, Any]:
    """One row of the table: errors on unseen data, and test scores of a classifier trained on what the models make.

    The validation error is there to choose by, the test figures to report.
    """
    row: dict[str, Any] = {"variant": variant, "seed": seed, "modality": {}}
    accelerator = make_accelerator()
    for name, model in models.items():
        modality = model.modalities[name]
        relative = {}
        for split in ("val", "test"):
            samples = {key: data.splits[split][key] for key in model.modalities}
            error = masked_patch_error(model, samples, 0.75, seed=0)[name]
            baseline = mean_patch_error(modality, data.splits["train"][name], samples[name])
            relative[f"of_mean_patch_{split}"] = error / baseline
        test = data.splits["test"][name]
        made = synthesise(model, data, name, config.per_class, seed)
        how = UTILITY.of_modality(modality, data.files[name].settings)
        row["modality"][name] = relative | train_and_test(modality, made, test, how, accelerator, seed)
    return row


def synthesise(model: CrossModalMAE, data: PairedData, name: str, per_class: int, seed: int) -> Samples:
    """What a model makes of one modality from training data."""
    train = {key: data.splits["train"][key] for key in model.modalities}
    batches = list(generate_pairs(model, train, per_class, seed=seed, progress=False))
    labels = np.concatenate([batch.labels for batch in batches])
    values = np.concatenate([batch.values[name] for batch in batches])
    return Samples(values, labels, train[name].label_names, np.arange(len(labels)))


def table(rows: list[dict[str, Any]]) -> str:
    """Mean and deviation over seeds, as Markdown."""
    keys = ("of_mean_patch_val", "of_mean_patch_test", "accuracy", "auc")
    modalities = list(rows[0]["modality"])
    lines = ["| variant | " + " | ".join(f"{name} {key}" for name in modalities for key in keys) + " |"]
    lines.append("|---" * (1 + len(modalities) * len(keys)) + "|")
    for variant in dict.fromkeys(row["variant"] for row in rows):
        cells = []
        for name, key in itertools.product(modalities, keys):
            values = [row["modality"][name][key] for row in rows if row["variant"] == variant]
            cells.append(f"{statistics.mean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(config: FusionBenchmark, rows: list[dict[str, Any]]) -> None:
    """Save all rows with the settings and the machine that made them."""
    settings = {"preset": config.preset, "epochs": config.epochs, "per_class": config.per_class}
    document = {"command": " ".join(["python", *sys.argv]), "settings": settings, "machine": machine(), "rows": rows}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    config = parse_config(FusionBenchmark)
    preset = PRESETS[config.preset]
    settings = preset.settings
    paths = {"image": config.images, "audio": config.audio}
    data = prepare({name: Source(paths[name], settings[name]) for name in settings})
    rows = json.loads(config.out.read_text())["rows"] if config.out.is_file() else []
    done = {(row["variant"], row["seed"]) for row in rows}
    for seed, variant in itertools.product(range(config.seeds), config.variants):
        if (variant, seed) in done:
            continue
        models = train_variant(config, data, settings, variant, seed)
        rows.append(measure(config, data, models, variant, seed))
        print(json.dumps(rows[-1]), flush=True)
        write(config, rows)
    print(table(rows))


if __name__ == "__main__":
    main()
