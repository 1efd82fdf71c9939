"""Checkpoints of a run: written to a temporary name and renamed, read with ``weights_only=True``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmgen.errors import UserError


class Checkpoints:
    """The folder ``checkpoints/`` of a run: ``last.pt``, ``best.pt`` (weights only) and the newest few ``step_*.pt``.

    Args:
        folder: where they live.
        keep: how many ``step_*.pt`` to keep beside ``last.pt``; they share its disk blocks until it is replaced.
    """

    def __init__(self, folder: Path, keep: int = 1) -> None:
        self.folder = folder
        self.keep = keep

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """Weights with the lowest validation score."""
        return self.folder / "best.pt"

    @property
    def resumable(self) -> bool:
        """Whether there is one to go on from; a training that was stopped early enough has begun and has none."""
        return self.last.is_file()

    def set_aside(self) -> None:
        """Rename what an earlier run left here to ``checkpoints.earlier``, so that nobody resumes it by mistake."""
        if self.folder.is_dir():
            earlier = self.folder.with_name(self.folder.name + ".earlier")
            shutil.rmtree(earlier, ignore_errors=True)
            self.folder.rename(earlier)

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Write ``last.pt`` and keep it as ``step_<step>.pt`` too."""
        self._write(state, self.last)
        if self.keep > 0:
            named = self.folder / f"step_{step:08d}.pt"
            named.unlink(missing_ok=True)
            try:
                os.link(self.last, named)
            except OSError:  # some network and memory-card file systems have no hard links
                shutil.copyfile(self.last, named)
            # Numbers above this one were left by a run that this one has replaced.
            steps = sorted(file for file in self.folder.glob("step_*.pt") if file.name <= named.name)
            for old in set(self.folder.glob("step_*.pt")) - set(steps[-self.keep :]):
                old.unlink()

    def save_best(self, weights: Mapping[str, Any]) -> None:
        """Write ``best.pt``."""
        self._write(weights, self.best)

    def load(self, path: Path | None = None) -> dict[str, Any]:
        """Read a checkpoint (``last.pt`` by default) on the CPU; raises UserError if it is missing or damaged."""
        path = path or self.last
        if not path.is_file():
            raise UserError(
                f"There is no checkpoint {path}; start without --resume, or give --out of the run to go on with."
            )
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UserError(
                f"Checkpoint {path} cannot be read ({error}); copy a step_*.pt over it and resume."
            ) from error

    def _write(self, state: Mapping[str, Any], path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(dict(state), temporary)
            os.replace(temporary, path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            temporary.unlink(missing_ok=True)
            raise UserError(
                f"The checkpoint {path} cannot be written ({error}); make room, then go on with --resume latest."
            ) from error
