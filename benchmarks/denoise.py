"""What matters in the denoising masked autoencoder: how it is trained, and with how many network passes it draws.

No test data are looked at: errors are of validation data, and samples are set beside training data, of which there are
more. With --model, a trained one is asked to draw with different steps and guidance; without, every variant of the
training is trained for as many updates and measured. Rows are written one by one; a run that was stopped goes on.

    python benchmarks/denoise.py --images PATH --audio PATH --updates 600 --out benchmarks/results/denoise_cpu.json
    python benchmarks/denoise.py --images PATH --audio PATH --model runs/mine --out benchmarks/results/sampling_cpu.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import write

from mmgen.artifacts.models import load_model, model_settings
from mmgen.cli.config import parse_config
from mmgen.data.loading import PairedData, prepare
from mmgen.data.samples import Samples
from mmgen.data.sources import Source
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.features import Extractor, make_extractor
from mmgen.evaluation.fidelity.kernel import kernel_distance
from mmgen.evaluation.fidelity.spectrum import SHARPNESS, seams, sharpness
from mmgen.generation.pairs import generate_pairs
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.denoising_steps import guided_times
from mmgen.models.generative import Sampling
from mmgen.presets import PRESETS, Preset, PresetName, build_mae, mae_config, mae_loop
from mmgen.training.engine import make_accelerator
from mmgen.training.mae import train_mae
from mmgen.training.mae_validation import masked_patch_error, mean_patch_error
from mmgen.training.memorisation import denoising_errors
from mmgen.training.run import Run

TRAININGS: dict[str, dict[str, Any]] = {
    "default": {},
    "times of larger pictures: N(-0.8, 0.8)": {"learning": {"time_mean": -0.8, "time_deviation": 0.8}},
    "no plain updates": {"learning": {"plain_share": 0.0}},
    "half plain updates": {"learning": {"plain_share": 0.5}},
    "plain updates alone": {"learning": {"plain_share": 1.0}},
    "mean of patches (mse)": {"preset": {"decoder": "mse"}},
    "no augmentation": {"learning": {"augmentation": {}}},
    "late times: N(1, 1.8)": {"learning": {"time_mean": 1.0}},
    "narrow convolutions": {"preset": {"head_width": 16}},
    "one transformer layer": {"preset": {"decoder_depth": 1}},
    "large patches": {"preset": {"image_patch": 16, "audio_patch": 28}},
}
STEPS = (4, 6, 8, 10, 14, 20, 40, 100)
GUIDANCE = (1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class DenoisingBenchmark:
    """Flags of this benchmark."""

    images: Path
    audio: Path
    out: Path
    model: str | None = None
    preset: PresetName = "small"
    updates: int = 600
    per_class: int = 100
    seed: int = 0
    features: str = "pixels"
    """Feature space of the kernel distance: pixels, or NAME@FILE of a timm network."""
    variants: tuple[str, ...] = tuple(TRAININGS)


def data_of(config: DenoisingBenchmark, preset: Preset) -> PairedData:
    """The data, decoded as the preset does."""
    paths = {"image": config.images, "audio": config.audio}
    return prepare({name: Source(paths[name], preset.settings[name]) for name in paths})


def train(config: DenoisingBenchmark, preset: Preset, data: PairedData, choice: Mapping[str, Any]) -> CrossModalMAE:
    """A model of one variant, trained for so many updates."""
    preset = replace(preset, **choice.get("preset", {}))
    model = build_mae(preset, preset.settings, data.splits["train"], seed=config.seed)
    learning = mae_config(preset, preset.settings, **choice.get("learning", {}))
    run = Run(make_accelerator(), seed=config.seed)
    return train_mae(model, data.splits, learning, mae_loop(preset), run, updates=config.updates)


def drawn(config: DenoisingBenchmark, model: DenoisingMAE, sampling: Sampling) -> tuple[dict[str, Samples], float]:
    """Samples from labels alone by modality, and seconds a tuple."""
    start = time.perf_counter()
    batches = list(generate_pairs(model, None, config.per_class, seed=config.seed, sampling=sampling, progress=False))
    seconds = (time.perf_counter() - start) / (config.per_class * len(model.class_names))
    labels = np.concatenate([batch.labels for batch in batches])
    return {
        name: Samples(
            np.concatenate([b.values[name] for b in batches]), labels, model.class_names, np.arange(len(labels))
        )
        for name in model.modalities
    }, seconds


def quality(
    model: CrossModalMAE, data: PairedData, made: Mapping[str, Samples], spaces: Mapping[str, Extractor]
) -> Any:
    """Kernel distance to training data, sharpness against these, and seams, by modality."""
    found: dict[str, Any] = {}
    for name, modality in model.modalities.items():
        real = data.splits["train"][name]
        features = [spaces[name](samples) for samples in (real, made[name])]
        found[name] = {"kernel_distance": kernel_distance(*features)}
        found[name] |= dict(zip(SHARPNESS, sharpness(modality, real.values, made[name].values).values(), strict=True))
        found[name]["seams"] = seams(modality, made[name].values)
    return found


def errors(config: DenoisingBenchmark, model: CrossModalMAE, data: PairedData) -> dict[str, Any]:
    """Error on hidden patches as a share of the mean patch's, and of denoising, on validation data."""
    held, train = data.splits["val"], data.splits["train"]
    found: dict[str, Any] = {}
    for name, error in masked_patch_error(model, held, 0.75, config.seed).items():
        found[name] = {"of_mean_patch": error / mean_patch_error(model.modalities[name], train[name], held[name])}
        if isinstance(model, DenoisingMAE):
            by_time = denoising_errors(model, name, held[name], seed=config.seed).mean(0)
            found[name]["denoising_error"] = by_time.tolist()
    return found


def row_of_training(
    config: DenoisingBenchmark, preset: Preset, data: PairedData, variant: str, spaces: dict[str, Extractor]
) -> dict[str, Any]:
    """One variant, trained and measured."""
    start = time.perf_counter()
    model = train(config, preset, data, TRAININGS[variant]).eval()
    row: dict[str, Any] = {"train_seconds": time.perf_counter() - start}
    row["errors"] = errors(config, model, data)
    if isinstance(model, DenoisingMAE) and TRAININGS[variant].get("learning", {}).get("plain_share") != 1.0:
        row["quality"] = quality(model, data, drawn(config, model, Sampling())[0], spaces)
    return row


def row_of_sampling(
    config: DenoisingBenchmark, model: DenoisingMAE, data: PairedData, sampling: Sampling, spaces: dict[str, Extractor]
) -> dict[str, Any]:
    """One way to draw, measured."""
    made, seconds = drawn(config, model, sampling)
    guided = 0 if sampling.guidance == 1.0 else guided_times(sampling.steps)
    found = {"passes": sampling.steps + guided, "seconds": seconds}
    return found | {"quality": quality(model, data, made, spaces)}


def main() -> None:
    config = parse_config(DenoisingBenchmark)
    torch.manual_seed(config.seed)
    preset = PRESETS[config.preset]
    model = None if config.model is None else load_model(config.model)
    if model is not None:
        if not isinstance(model, DenoisingMAE):
            raise UserError(f"{config.model} is no denoising masked autoencoder; give one.")
        preset = replace(preset, **model_settings(model))
    data = data_of(config, preset)
    shapes = build_mae(preset, preset.settings, data.splits["train"]).modalities if model is None else model.modalities
    spaces = {
        name: make_extractor(config.features if name == "image" else "pixels", modality)
        for name, modality in shapes.items()
    }
    rows = json.loads(config.out.read_text())["rows"] if config.out.is_file() else []
    done = {row["variant"] for row in rows}
    ways = [Sampling(steps) for steps in STEPS] + [Sampling(guidance=g) for g in GUIDANCE if g != Sampling.guidance]
    rest: dict[str, Callable[[], dict[str, Any]]] = {}
    if model is None:
        for variant in config.variants:
            rest[variant] = partial(row_of_training, config, preset, data, variant, spaces)
    else:
        for way in ways:
            rest[f"{way.steps} steps, guidance {way.guidance:g}"] = partial(
                row_of_sampling, config, model, data, way, spaces
            )
    for variant, measure in rest.items():
        if variant in done:
            continue
        rows.append({"variant": variant, **measure()})
        print(json.dumps(rows[-1]), flush=True)
        write(config.out, rows)


if __name__ == "__main__":
    main()
