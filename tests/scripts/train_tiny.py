"""A script that tests start in processes of its own: ``train_tiny.py JSON`` carries out a list of tiny trainings.

Each is an object with ``out`` (file for the final weights, from the first process) and the arguments of
``tiny.make_loop``; ``disturb`` may hold {"update", "rank", "kind"}: when that process reads the batch of that update
it gets a signal (by its name), or numbers that are none (kind "nan").
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import tiny
import torch
from torch import Tensor

from mmgen.training.engine import make_accelerator
from mmgen.training.loop import Batches, Interrupted, NonFiniteLoss, Position


class Disturbed:
    """Batches that bring trouble at one position."""

    def __init__(self, batches: Batches, update: int, kind: str, rank: int = 0) -> None:
        self.batches, self.update, self.kind, self.rank = batches, update, kind, rank
        self.batch_size, self.steps_per_epoch = batches.batch_size, batches.steps_per_epoch

    def batch(self, position: Position) -> dict[str, Tensor]:
        batch = self.batches.batch(position)
        if (position.update, position.rank) == (self.update, self.rank):
            if self.kind == "nan":
                return {name: torch.full_like(x, torch.nan, dtype=torch.float32) for name, x in batch.items()}
            os.kill(os.getpid(), getattr(signal, self.kind))
        return batch


def carry_out(run: dict[str, Any]) -> None:
    """One training; what stopped it, if anything did, is written to ``out`` with the rank behind it."""
    out, disturb = Path(run.pop("out")), run.pop("disturb", None)
    folder = Path(run.pop("folder")) if "folder" in run else None
    accelerator = make_accelerator("no")
    wrap = None if disturb is None else lambda batches: Disturbed(batches, **disturb)
    loop = tiny.make_loop(accelerator, folder, wrap=wrap, **run)
    try:
        model = loop.train()
    except (Interrupted, NonFiniteLoss) as error:
        out.with_name(f"{out.name}.{accelerator.process_index}").write_text(f"{type(error).__name__}: {error}")
        if accelerator.num_processes == 1:
            raise
        return
    if accelerator.is_main_process:
        torch.save(model.state_dict(), out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in json.loads(sys.argv[1]):
        carry_out(each)
