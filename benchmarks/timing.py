"""What benchmarks of speed share: a device, an engine that changes its precision, turns, and the machine's own rate."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from mmgen.artifacts.provenance import machine
from mmgen.training.engine import best_device, has_fast_bf16

DeviceName = Literal["auto", "cpu", "cuda"]
Step = Callable[[int], object]


class Engine:
    """What a task uses of an ``Accelerator``, which allows one precision a process; here precisions take turns."""

    num_processes, process_index, is_main_process = 1, 0, True

    def __init__(self, precision: str, device: torch.device | None = None) -> None:
        self.device = best_device() if device is None else device
        self.mixed_precision = precision

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision == "bf16")


def device_of(name: DeviceName) -> torch.device:
    """The device that a flag names."""
    return best_device() if name == "auto" else torch.device(name)


def precisions() -> list[str]:
    """Those that this machine computes in hardware."""
    return ["no", "bf16"] if has_fast_bf16() else ["no"]


def seconds_of(step: Step, number: int, device: torch.device) -> float:
    """Seconds of one step, the device's queue included."""
    start = time.perf_counter()
    step(number)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turn(steps: Mapping[str, Step], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of steps that take turns, after one round that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            seconds[name].append(seconds_of(step, number, device))
    return {name: statistics.median(measured[1:]) for name, measured in seconds.items()}


def matrix_product(side: int, precision: str, device: torch.device) -> tuple[Step, int]:
    """A product of two square matrices, as a step, and its floating-point operations."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return lambda _: torch.mm(a, b, out=out), 2 * side**3


def write(out: Path | None, rows: list[dict[str, Any]], **further: Any) -> None:
    """The result file: command, machine and rows."""
    if out is None:
        return
    document = {"command": " ".join(["python", *sys.argv]), "machine": machine(), **further, "rows": rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
