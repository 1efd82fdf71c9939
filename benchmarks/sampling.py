"""What drawing samples from labels costs: images a second by side, steps, device and batch size.

Networks are untrained, for speed does not depend on weights; ``denoise.py`` says what steps are worth, of a trained
one. All batch sizes and precisions of a side and number of steps take turns in one process; on a CPU, numbers of
processes are measured too, which share out the processors. "mmgen" is what ``mmgen generate`` does: a fixed batch size,
and on a CPU a batch for every processor at once, each in one thread.

    python benchmarks/sampling.py --out benchmarks/results/sampling_cpu.json
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import DeviceName, Step, device_of, in_turn, precisions, write

from mmgen.cli.config import parse_config
from mmgen.data.images import ImageSettings
from mmgen.data.samples import Samples
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
    preset: PresetName = "small"
    """Of the networks."""
    sides: tuple[int, ...] = (64, 128)
    steps: tuple[int, ...] = (4, 11)
    guidance: float = Sampling.guidance
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    processes: tuple[int, ...] = tuple(sorted({1, os.cpu_count() or 1}))
    """Numbers of processes on a CPU."""
    rounds: int = 3
    """Measured batches of every variant, after one that warms up."""
    count: int = 64
    """Images that "mmgen" makes, of all labels together."""
    quick: bool = False
    """One tiny network and one round, to see that everything runs."""


def main() -> None:
    config = parse_config(SamplingBenchmark, description=__doc__)
    if config.quick:
        config = replace(config, preset="tiny", sides=(32,), steps=(2,), batch_sizes=(1, 2), rounds=1, count=4)
        config = replace(config, processes=())
    device = device_of(config.device)
    rows: list[dict[str, Any]] = []
    for side in config.sides:
        model = untrained(config.preset, side, device)
        for steps in config.steps:
            for row in measure(config, model, side, Sampling(steps, config.guidance), device):
                rows.append({"side": side, "steps": steps, "device": device.type, **row})
                print(json.dumps(rows[-1]), flush=True)
            write(config.out, rows, guidance=config.guidance)


def untrained(preset: PresetName, side: int, device: torch.device) -> DenoisingMAE:
    """A network of a preset's form for images of this side."""
    form = ImageSettings(side, 1)
    sizes = replace(PRESETS[preset], image=form, image_patch=side // TOKENS, decoder="denoise")
    values = np.random.default_rng(0).integers(0, 256, (8, 1, side, side), dtype=np.uint8)
    samples = Samples(values, np.arange(8) % 2, ("a", "b"), np.arange(8))
    model = build_mae(sizes, {IMAGE: form}, {IMAGE: samples}).to(device).eval()
    choose_attention(model, device)
    return model


def measure(
    config: SamplingBenchmark, model: DenoisingMAE, side: int, sampling: Sampling, device: torch.device
) -> list[dict[str, Any]]:
    """Rows of one network and number of steps."""
    variants = {f"{p}, {size}": (p, size) for p in precisions() for size in config.batch_sizes}
    steps = {name: drawing(model, size, sampling, p, device) for name, (p, size) in variants.items()}
    seconds = in_turn(steps, config.rounds, device)
    rows: list[dict[str, Any]] = []
    for name, (precision, size) in variants.items():
        rows.append({"way": "batch", "precision": precision, "batch_size": size})
        rows[-1] |= {"images_per_s": size / seconds[name]}
    if device.type == "cpu":
        for processes in config.processes:
            rate = rate_of_processes(config, side, sampling, processes)
            rows.append({"way": "processes", "processes": processes, "batch_size": max(config.batch_sizes)})
            rows[-1] |= {"precision": precisions()[-1], "images_per_s": rate}
    return [*rows, whole(config.count, model, sampling, device)]


def drawing(model: DenoisingMAE, size: int, sampling: Sampling, precision: str, device: torch.device) -> Step:
    """The drawing of one batch of images."""
    labels = torch.arange(size) % len(model.class_names)

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


def whole(count: int, model: DenoisingMAE, sampling: Sampling, device: torch.device) -> dict[str, Any]:
    """The row of what the library does."""
    each = -(-count // len(model.class_names))
    start = time.perf_counter()
    for _ in generate_pairs(model, None, each, device=device, sampling=sampling, progress=False):
        pass
    seconds = time.perf_counter() - start
    return {"way": "mmgen", "images_per_s": each * len(model.class_names) / seconds}


if __name__ == "__main__":
    main()
