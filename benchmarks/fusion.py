"""Which fusion is better: queries from one's own tokens, from the other modality's, or none (one model each)?

Every variant gets the same data, sizes, updates and seeds. Rows are written one by one; a run that was stopped goes on.

    python benchmarks/fusion.py --images PATH --audio PATH --out benchmarks/results/fusion.json
"""

from __future__ import annotations

import itertools
import json
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mmgen.config import parse_config
from mmgen.data.prepare import PairedData, Source, prepare
from mmgen.data.samples import Settings
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.presets import PRESETS, PresetName, build_mae
from mmgen.training.batches import PairedBatches
from mmgen.training.engine import make_accelerator
from mmgen.training.loop import Loop, LoopConfig
from mmgen.training.mae import MAEConfig, MAETask
from mmgen.training.mae_validation import masked_patch_error, mean_patch_error

VARIANTS = ("own", "other", "single")


@dataclass(frozen=True)
class FusionBenchmark:
    """Flags of this benchmark."""

    images: Path
    audio: Path
    out: Path
    preset: PresetName = "small"
    epochs: int = 15
    seeds: int = 3
    models: Path = Path("runs/fusion")
    variants: tuple[str, ...] = VARIANTS


def train_variant(
    config: FusionBenchmark, data: PairedData, settings: dict[str, Settings], variant: str, seed: int
) -> dict[str, CrossModalMAE]:
    """The trained model that serves each modality: one for both with fusion, one each without."""
    groups = [[name] for name in settings] if variant == "single" else [list(settings)]
    models = {}
    for names in groups:
        folder = config.models / f"{variant}-{seed}" / "-".join(names)
        if not (folder / "model" / "config.json").is_file():
            train_one(config, data, {name: settings[name] for name in names}, variant, seed, folder)
        models |= dict.fromkeys(names, CrossModalMAE.from_pretrained(folder / "model").eval())
    return models


def train_one(
    config: FusionBenchmark, data: PairedData, settings: dict[str, Settings], variant: str, seed: int, folder: Path
) -> None:
    """Train one model and save it below ``folder``."""
    preset = PRESETS[config.preset]
    splits = {split: {name: samples[name] for name in settings} for split, samples in data.splits.items()}
    torch.manual_seed(seed)
    model = build_mae(preset, settings, splits["train"], "own" if variant == "single" else variant)
    accelerator = make_accelerator()
    task = MAETask(
        model,
        MAEConfig(lr=preset.lr, betas=preset.betas, whole_mask_share=0.0, seed=seed),
        accelerator,
        preset.batch_size,
        splits["train"],
        splits["val"],
    )
    batches = PairedBatches(splits["train"], preset.batch_size, seed)
    Loop(task, batches, LoopConfig(config.epochs, validate_every=config.epochs, seed=seed), accelerator, folder).run()
    model.save_pretrained(folder / "model")


def measure(
    config: FusionBenchmark, data: PairedData, models: dict[str, CrossModalMAE], variant: str, seed: int
) -> dict[str, Any]:
    """One row of the table."""
    row: dict[str, Any] = {"variant": variant, "seed": seed, "modality": {}}
    for name, model in models.items():
        test = {key: samples for key, samples in data.splits["test"].items() if key in model.modalities}
        error = masked_patch_error(model, test, 0.75, seed=0)[name]
        modality = model.modalities[name]
        baseline = mean_patch_error(modality, data.splits["train"][name], test[name])
        row["modality"][name] = {"masked_patch_error": error, "of_mean_patch": error / baseline}
    return row


def main() -> None:
    config = parse_config(FusionBenchmark)
    preset = PRESETS[config.preset]
    settings: dict[str, Settings] = {"image": preset.image, "audio": preset.audio}
    paths = {"image": config.images, "audio": config.audio}
    data = prepare({name: Source(paths[name], settings[name]) for name in settings})
    rows = json.loads(config.out.read_text())["rows"] if config.out.is_file() else []
    done = {(row["variant"], row["seed"]) for row in rows}
    for seed, variant in itertools.product(range(config.seeds), config.variants):
        if (variant, seed) in done:
            continue
        start = time.perf_counter()
        models = train_variant(replace(config), data, settings, variant, seed)
        seconds = time.perf_counter() - start
        rows.append(measure(config, data, models, variant, seed) | {"seconds": seconds})
        print(json.dumps(rows[-1]), flush=True)
        machine = {"machine": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps({**machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
