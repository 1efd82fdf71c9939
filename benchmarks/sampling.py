"""What drawing samples from labels costs, and what it is worth: images a second by side, steps, device and batch size.

Without --model networks of several sides are measured, untrained: speed does not depend on weights. With a trained
denoising model and real images, its kernel distance to them stands beside the speed, and that of one half of the real
images to the other. All batch sizes and precisions of a side and number of steps take turns in one process; on a CPU,
numbers of processes are measured too, which share out the processors. "mmgen" is what ``mmgen generate`` does, with all
modalities of a model: a fixed batch size, and on a CPU a batch for every processor at once, each in one thread.

    python benchmarks/sampling.py --out benchmarks/results/sampling_cpu.json
    python benchmarks/sampling.py --model runs/mine/model --images cxr --out quality.json
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import DeviceName, Step, device_of, in_turn, precisions, write

from mmgen.artifacts.models import load_model, model_settings
from mmgen.cli.config import parse_config
from mmgen.data.images import ImageSettings
from mmgen.data.labels import align_labels
from mmgen.data.loading import prepare
from mmgen.data.samples import Samples
from mmgen.data.sources import Source
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.comparison import matched_rows
from mmgen.evaluation.fidelity.features import make_extractor
from mmgen.evaluation.fidelity.kernel import kernel_distance
from mmgen.generation.pairs import generate_pairs
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.generative import Sampling
from mmgen.presets import PRESETS, PresetName, build_mae
from mmgen.training.engine import choose_attention

IMAGE = "image"
TOKENS = 8  # along either side of an untrained network's images


@dataclass(frozen=True)
class SamplingBenchmark:
    """Flags of this benchmark."""

    out: Path | None = None
    device: DeviceName = "auto"
    model: str | None = None
    """A trained denoising model, for quality."""
    images: Path | None = None
    """Real images of its labels to compare with; best ones that it was not trained on."""
    features: str = "pixels"
    """Feature space of the kernel distance, see mmgen evaluate."""
    preset: PresetName = "small"
    """Of untrained networks."""
    sides: tuple[int, ...] = (64, 128)
    steps: tuple[int, ...] = (4, 11)
    guidance: float = 2.0
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    processes: tuple[int, ...] = tuple(sorted({1, os.cpu_count() or 1}))
    """Numbers of processes on a CPU."""
    rounds: int = 3
    """Measured batches of every variant, after one that warms up."""
    count: int = 64
    """Images that "mmgen" makes, of all labels together, 32 at once; with --images as many as a half of these."""
    quick: bool = False
    """One tiny network and one round, to see that everything runs."""


def main() -> None:
    config = parse_config(SamplingBenchmark, description=__doc__)
    if (config.model is None) != (config.images is None):
        raise UserError("Give both --model and --images, for quality, or neither, for speed alone.")
    if config.quick:
        config = replace(config, preset="tiny", sides=(32,), steps=(2,), batch_sizes=(1, 2), rounds=1, count=4)
        config = replace(config, processes=())
    device = device_of(config.device)
    rows: list[dict[str, Any]] = []
    for side, model in networks(config, device):
        real = None if config.images is None else real_images(config, model)
        for steps in config.steps:
            for row in measure(config, model, side, Sampling(steps, config.guidance), device, real):
                rows.append({"side": side, "steps": steps, "device": device.type, **row})
                print(json.dumps(rows[-1]), flush=True)
            write(config.out, rows, guidance=config.guidance)


def networks(config: SamplingBenchmark, device: torch.device) -> Iterator[tuple[int, DenoisingMAE]]:
    """Sides of images and the networks that make them, on the device."""
    if config.model is None:
        for side in config.sides:
            yield side, untrained(config.preset, side, device)
        return
    model = load_model(config.model)
    if not isinstance(model, DenoisingMAE) or IMAGE not in model.modalities:
        raise UserError(f"{config.model} is no denoising masked autoencoder of images; give another --model.")
    yield model.modalities[IMAGE].shape[-1], model.to(device).eval()


def untrained(preset: PresetName, side: int, device: torch.device) -> DenoisingMAE:
    """A network of a preset's form for images of this side."""
    form = ImageSettings(side, 1)
    sizes = replace(PRESETS[preset], image=form, image_patch=side // TOKENS, decoder="denoise")
    values = np.random.default_rng(0).integers(0, 256, (8, 1, side, side), dtype=np.uint8)
    samples = Samples(values, np.arange(8) % 2, ("a", "b"), np.arange(8))
    model = build_mae(sizes, {IMAGE: form}, {IMAGE: samples}).to(device).eval()
    choose_attention(model, device)
    return model


def real_images(config: SamplingBenchmark, model: DenoisingMAE) -> Samples:
    """All real images, decoded as the model's own were."""
    data = prepare({IMAGE: Source(config.images, model_settings(model)[IMAGE])})
    parts = [split[IMAGE] for split in data.splits.values()]
    values, labels, rows = (
        np.concatenate([getattr(part, name)[:] for part in parts]) for name in ("values", "labels", "rows")
    )
    return Samples(values, labels, parts[0].label_names, rows)


def measure(
    config: SamplingBenchmark,
    model: DenoisingMAE,
    side: int,
    sampling: Sampling,
    device: torch.device,
    real: Samples | None,
) -> list[dict[str, Any]]:
    """Rows of one network and number of steps."""
    variants = {f"{p}, {size}": (p, size) for p in precisions() for size in config.batch_sizes}
    steps = {name: drawing(model, size, sampling, p, device) for name, (p, size) in variants.items()}
    seconds = in_turn(steps, config.rounds, device)
    rows: list[dict[str, Any]] = []
    for name, (precision, size) in variants.items():
        rows.append({"way": "batch", "precision": precision, "batch_size": size})
        rows[-1] |= {"images_per_s": size / seconds[name]}
    if device.type == "cpu" and config.model is None:
        for processes in config.processes:
            rate = rate_of_processes(config, side, sampling, processes)
            rows.append({"way": "processes", "processes": processes, "batch_size": max(config.batch_sizes)})
            rows[-1] |= {"precision": precisions()[-1], "images_per_s": rate}
    return [*rows, whole(config, model, sampling, device, real)]


def drawing(model: DenoisingMAE, size: int, sampling: Sampling, precision: str, device: torch.device) -> Step:
    """The drawing of one batch of images."""
    labels = torch.arange(size) % max(1, len(model.class_names))

    def draw(number: int) -> None:
        torch.manual_seed(number)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            model.sample(labels, sampling.steps, sampling.guidance, order=[IMAGE])

    return draw


def rate_of_processes(config: SamplingBenchmark, side: int, sampling: Sampling, processes: int) -> float:
    """Images a second of several processes together, each with its share of the threads."""
    threads = max(1, torch.get_num_threads() // processes)
    size = max(config.batch_sizes)
    job = (config.preset, side, size, sampling, threads)
    with multiprocessing.get_context("spawn").Pool(processes, _start, job) as pool:
        seconds = []
        for number in range(config.rounds + 1):
            start = time.perf_counter()
            pool.map(_draw, [number] * processes, chunksize=1)
            seconds.append(time.perf_counter() - start)
    return processes * size / statistics.median(seconds[1:])


_drawn_by: list[Step] = []  # of a process


def _start(preset: PresetName, side: int, size: int, sampling: Sampling, threads: int) -> None:
    torch.set_num_threads(threads)
    device = torch.device("cpu")
    _drawn_by[:] = [drawing(untrained(preset, side, device), size, sampling, precisions()[-1], device)]


def _draw(number: int) -> None:
    _drawn_by[0](number)


def whole(
    config: SamplingBenchmark, model: DenoisingMAE, sampling: Sampling, device: torch.device, real: Samples | None
) -> dict[str, Any]:
    """The row of what the library does, with quality if there are real images."""
    classes = max(1, len(model.class_names))
    most = config.count if real is None else len(real) // 2
    each = -(-most // classes)
    start = time.perf_counter()
    batches = list(generate_pairs(model, None, each, device=device, sampling=sampling, progress=False))
    seconds = time.perf_counter() - start
    row: dict[str, Any] = {"way": "mmgen", "makes": list(model.modalities), "images_per_s": each * classes / seconds}
    if real is None:
        return row
    values, labels = (np.concatenate(x) for x in ([b.values[IMAGE] for b in batches], [b.labels for b in batches]))
    made = align_labels(Samples(values, labels, model.class_names, np.arange(len(labels))), real)
    extractor = make_extractor(config.features, model.modalities[IMAGE], device)
    first, second, third = matched_rows(real, made)
    features = [extractor(part) for part in (real.select(first), real.select(second), made.select(third))]
    row |= {"images": len(first), "features": extractor.name}
    row |= {"kernel_distance": kernel_distance(features[0], features[2])}
    return row | {"kernel_distance_real_halves": kernel_distance(features[0], features[1])}


if __name__ == "__main__":
    main()
