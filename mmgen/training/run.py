"""A run of a training: what it is given, what it writes into its folder, and how it is stopped from outside."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmgen.data.opening import parse_json
from mmgen.data.writing.atomic import new_file
from mmgen.data.writing.unfinished import alone_in
from mmgen.errors import UserError, shown
from mmgen.models.seeds import counted_stream
from mmgen.training.events import EventFile

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """Where and how a training runs: one object for every training.

        run = Run(make_accelerator(), Path("runs/mine"), seed=1)
        train_mae(model, splits, config, loop, run)
        train_classifier(network, modality, train, config, run.stage("classifier"))

    Attributes:
        accelerator: engine of this process.
        folder: gets logs, previews and checkpoints; None writes nothing.
        resume: go on with the last checkpoint in the folder.
        seed: of everything that is drawn: order, masks, noise, augmentation.

    Raises:
        UserError: a negative seed, or ``resume`` without a folder.
    """

    accelerator: Accelerator
    folder: Path | None = None
    resume: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"--seed must be 0 or more, got {self.seed}.")
        if self.resume and self.folder is None:
            raise UserError("A run without a folder cannot be resumed.")

    @property
    def checkpoints(self) -> Checkpoints | None:
        """Those of the folder, if there is one."""
        return None if self.folder is None else Checkpoints(self.folder / "checkpoints")

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to go on from; a training that was stopped early has begun and has none."""
        return self.checkpoints is not None and self.checkpoints.last.is_file()

    def stage(self, name: str) -> Run:
        """A training that is part of this one, in a folder of that name. Resumed, it starts if it had not begun."""
        part = self if self.folder is None else replace(self, folder=self.folder / name)
        return replace(part, resume=self.resume and part.resumable)

    @contextmanager
    def alone(self, *stages: str) -> Iterator[None]:
        """Look at what earlier runs left of this run or of its stages, then keep others from writing to the folder
        until the block ends. What killed ones left half written there is removed. Collective.

        Raises:
            UserError: there is nothing to resume, or another run is writing to the folder. Where an earlier run will be
                replaced, a warning is logged.
        """
        self._check_beginning(*stages)
        refused: list[str | None] = [None]
        with ExitStack() as stack:
            if self.folder is not None and self.accelerator.is_main_process:
                try:
                    stack.enter_context(alone_in(self.folder, tidy=True))
                except (UserError, OSError) as error:
                    refused = [str(error)]
            if self.accelerator.num_processes > 1:  # the others have to know, or would wait for the first one
                torch.distributed.broadcast_object_list(refused)
            if refused[0] is not None:
                raise UserError(refused[0])
            yield

    def _check_beginning(self, *stages: str) -> None:
        begun = any(replace(self, resume=False).stage(name).resumable for name in stages or (".",))
        if self.resume and not begun:
            raise UserError(
                f"There is no checkpoint in {self.folder}; start without --resume, or name the folder of the run."
            )
        if begun and not self.resume:
            logger.warning(
                "%s holds an earlier run, which this one replaces (--resume latest would go on with it).", self.folder
            )

    def set_aside(self, *stages: str) -> None:
        """Rename the checkpoints that an earlier run left of these stages, so that nobody resumes them by mistake."""
        for name in stages:
            if checkpoints := self.stage(name).checkpoints:
                checkpoints.set_aside()

    def draws(self, update: int) -> torch.Generator:
        """Random numbers of an update, on the CPU: a function of seed and update alone."""
        return counted_stream(self.seed, update)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise UserError where a file of a run cannot be written."""
    try:
        yield
    except (OSError, RuntimeError, UserError) as error:
        reason: BaseException = error  # of a full disk torch tells what it could not do then, new_file what to do
        while not isinstance(reason, OSError) and (below := reason.__cause__ or reason.__context__):
            reason = below
        raise UserError(f"{path} cannot be written ({reason}); make room, then go on with --resume latest.") from error


class Checkpoints:
    """The folder ``checkpoints/`` of a run: ``last.pt``, ``best.pt`` (weights only) and the newest few ``step_*.pt``.

    Args:
        folder: where they live.
        keep: how many ``step_*.pt`` to keep beside ``last.pt``; they share its disk blocks until it is replaced.

    Attributes:
        last: path of the newest checkpoint.
        best: path of the weights with the lowest validation score.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep
        self.last, self.best = folder / "last.pt", folder / "best.pt"

    def set_aside(self) -> None:
        """Rename what an earlier run left here to ``checkpoints.earlier``, so that nobody resumes it by mistake."""
        if self.folder.is_dir():
            earlier = self.folder.with_name(self.folder.name + ".earlier")
            shutil.rmtree(earlier, ignore_errors=True)
            self.folder.rename(earlier)

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Write ``last.pt`` and keep it as ``step_<step>.pt`` too."""
        self.write(state, self.last)
        if self.keep > 0:
            named = self.folder / f"step_{step:08d}.pt"
            named.unlink(missing_ok=True)
            try:
                os.link(self.last, named)
            except OSError:  # some network and memory-card file systems have no hard links
                with writing(named), self.last.open("rb") as source, new_file(named) as file:
                    shutil.copyfileobj(source, file)
            # Numbers above this one were left by a run that this one has replaced.
            steps = sorted(file for file in self.folder.glob("step_*.pt") if file.name <= named.name)
            for old in set(self.folder.glob("step_*.pt")) - set(steps[-self.keep :]):
                old.unlink()

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
            raise self._refusal(path, "be read", error) from error

    @contextmanager
    def reading(self, path: Path) -> Iterator[Any]:
        """What a checkpoint holds; raises UserError if it cannot be read, or does not fit what the block does with
        it."""
        state = self.load(path)
        try:
            yield state
        except UserError:
            raise
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._refusal(path, "be used", error) from error

    def _refusal(self, path: Path, action: str, error: Exception) -> UserError:
        reason = shown(" ".join(f"{type(error).__name__} {error}".split()))
        return UserError(f"Checkpoint {path} cannot {action} ({reason}); copy a step_*.pt over it and resume.")

    def write(self, state: Mapping[str, Any], path: Path) -> None:
        """Write one file, or leave it as it was and raise UserError."""
        with writing(path), new_file(path) as file:
            torch.save(dict(state), file)


class RunLog:
    """Writes ``metrics.jsonl`` (one line an epoch), TensorBoard events and ``previews/``; used on the main process
    only.

    Args:
        folder: the run's folder.
        resumed_epoch: lines of this and later epochs are dropped first; an interrupted epoch is logged once.
    """

    def __init__(self, folder: Path, resumed_epoch: int = 0) -> None:
        self.folder = folder
        self.path = folder / "metrics.jsonl"
        kept = [row for row in read_metrics(self.path) if row["epoch"] < resumed_epoch]
        with writing(self.path), new_file(self.path) as file:
            file.write("".join(json.dumps(row) + "\n" for row in kept).encode())
        self._events = EventFile(folder / "tensorboard", resumed_epoch)
        self._previewed = False

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Append one line; numbers that are not finite become null. ``row["epoch"]`` is the x axis in TensorBoard."""
        row = json.loads(json.dumps(row), parse_constant=lambda _: None)
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._events.scalars(_flatten(row), row["epoch"])

    def preview(self, name: str, picture: np.ndarray) -> None:
        """Save a uint8 (H, W) or (H, W, 3) picture as ``previews/<name>.png``; the first one is named in the log."""
        from PIL import Image

        target = self.folder / "previews" / f"{name}.png"
        with writing(target), new_file(target) as file:
            Image.fromarray(picture).save(file, "PNG")
        if not self._previewed:
            logger.info("First picture  %s (more appear beside it)", target)
        self._previewed = True


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``metrics.jsonl``, each with its "epoch"; [] when there is none. What a crash or a full disk cut off at
    the end is left out."""
    rows = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            row = parse_json(line)
        except ValueError:
            break
        if not isinstance(row, dict) or not isinstance(row.get("epoch"), int):
            break
        rows.append(row)
    return rows


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


class StopSignal:
    """Context in which SIGTERM and SIGINT set a flag and do not end the process; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def requested(self, device: torch.device) -> bool:
        """Whether any process was asked to stop. Collective: every process must call it at the same step."""
        if not torch.distributed.is_initialized():
            return self.name is not None
        flag = torch.tensor(float(self.name is not None), device=device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
