"""What one update of the masked autoencoder costs: decoupled against joint losses, attention paths, precision.

All variants are measured side by side, in turn, in one run; medians of update seconds and pairs/s are reported.

    python benchmarks/mae_step.py --preset small --out benchmarks/results/mae_step_cpu.json
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmgen.artifacts.provenance import machine
from mmgen.cli.config import parse_config
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.presets import PRESETS, PresetName, build_mae
from mmgen.training import engine
from mmgen.training.loop import Position
from mmgen.training.mae import MAEConfig, MAETask
from mmgen.training.run import Run


@dataclass(frozen=True)
class StepBenchmark:
    """Flags of this benchmark."""

    out: Path | None = None
    preset: PresetName = "small"
    batch_size: int = 32
    rounds: int = 5
    """Measured updates of every variant, after one that warms up."""


def random_samples(settings: dict[str, Settings], count: int) -> dict[str, Samples]:
    """Noise of the right shapes: speed does not depend on content."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    return {
        name: Samples(rng.integers(0, 255, (count, *s.shape)).astype(np.uint8), labels, ("a", "b"), np.arange(count))
        for name, s in settings.items()
    }


class Engine:
    """What a task uses of an ``Accelerator``, which allows one precision a process; here precisions take turns."""

    def __init__(self, precision: str) -> None:
        self.device = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
        )
        self.num_processes = 1
        self._bf16 = precision == "bf16"

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)


def make_task(
    config: StepBenchmark, samples: dict[str, Samples], coupling: str, fused: bool, precision: str
) -> MAETask:
    """A fresh task of one variant."""
    preset = replace(PRESETS[config.preset], decoder="mse")
    torch.manual_seed(0)
    model = build_mae(preset, preset.settings, samples, "own")
    learning = MAEConfig(config.batch_size, loss_coupling=coupling, whole_mask_share=0.0)
    task = MAETask(model, learning, Run(Engine(precision)))
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    return task


def update_seconds(task: MAETask, batch: dict[str, torch.Tensor], update: int) -> float:
    """Seconds of one update, the device's queue included."""
    device = task.accelerator.device
    start = time.perf_counter()
    task.update({name: x.to(device) for name, x in batch.items()}, Position(0, update, update))
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    config = parse_config(StepBenchmark)
    preset = replace(PRESETS[config.preset], decoder="mse")
    samples = random_samples(preset.settings, config.batch_size)
    batch = {name: torch.from_numpy(s.values) for name, s in samples.items()}
    precisions = ["no", "bf16"] if engine.has_fast_bf16() else ["no"]
    variants = list(itertools.product(precisions, ("decoupled", "joint"), (True, False)))
    tasks = [make_task(config, samples, coupling, fused, precision) for precision, coupling, fused in variants]
    seconds: list[list[float]] = [[] for _ in tasks]
    for update in range(config.rounds + 1):
        for task, measured in zip(tasks, seconds, strict=True):
            measured.append(update_seconds(task, batch, update))
    rows: list[dict[str, Any]] = []
    for (precision, coupling, fused), measured in zip(variants, seconds, strict=True):
        median = statistics.median(measured[1:])
        rows.append({"precision": precision, "loss_coupling": coupling, "fused_attention": fused})
        rows[-1] |= {"seconds": median, "pairs_per_s": config.batch_size / median}
        print(json.dumps(rows[-1]), flush=True)
    document = {
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(),
        "rows": rows,
    }
    if config.out:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
