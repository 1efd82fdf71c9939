"""What a run writes while it learns: JSON lines, TensorBoard, preview pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class RunLog:
    """Writes ``metrics.jsonl`` (one line an epoch), TensorBoard events and ``previews/``; used on the main process
    only.

    Args:
        folder: the run's folder.
        resumed_epoch: lines of this and later epochs are dropped first; an interrupted epoch is logged once.
    """

    def __init__(self, folder: Path, resumed_epoch: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "metrics.jsonl"
        kept = [row for row in read_metrics(self.path) if row["epoch"] < resumed_epoch]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_epoch)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Append one line; numbers that are not finite become null. ``row["epoch"]`` is the x axis in TensorBoard."""
        row = _finite(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in _flatten(row).items():
            self._events.add_scalar(name, value, row["epoch"])
        self._events.flush()

    def preview(self, name: str, picture: np.ndarray) -> None:
        """Save a uint8 (H, W) or (H, W, 3) picture as ``previews/<name>.png``."""
        from PIL import Image

        target = self.folder / "previews" / f"{name}.png"
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(target)

    def close(self) -> None:
        """Flush and close the event file."""
        self._events.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``metrics.jsonl``; [] when there is none. A last line cut off by a crash is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flatten(value: Any, prefix: str = "") -> dict[str, float]:
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix: float(value)} if isinstance(value, int | float) else {}
    return {
        name: number for key, item in items for name, number in _flatten(item, f"{prefix}/{key}".strip("/")).items()
    }
