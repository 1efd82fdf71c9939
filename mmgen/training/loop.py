"""The one training loop. It never knows which method it runs: a task says what an update is."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.data.progress import make_bar
from mmgen.errors import UserError
from mmgen.models.seeds import global_seed
from mmgen.training.averaging import WeightAverage
from mmgen.training.engine import mean_over_processes, peak_memory_mb
from mmgen.training.run import Run, RunLog, StopSignal

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopConfig:
    """How long and how often.

    Attributes:
        epochs: passes over the data.
        steps: updates in one epoch, for batches that come as one endless stream.
        schedule: learning-rate curve over all updates, after a linear warm-up; "trapezoid" is constant and falls
            linearly in the last third.
        warmup: share of all updates that warms up.
        ema_decay: decay of an exponential moving average of the weights, 0 for none. It is what is validated and kept
            as best.
        ema_share: instead, length of a moving average as a share of the training so far (power function, Karras et al.
            2024), so that it suits short and long trainings; 0 for none.
        validate_every: epochs between validations, previews and checkpoints; 0 means ten times in a run. There is a
            preview after the first epoch too.
        log_every: updates between two looks at the running losses and at stop requests from other processes.
    """

    epochs: int
    steps: int = 1
    schedule: Literal["cosine", "constant", "trapezoid"] = "cosine"
    warmup: float = 0.05
    ema_decay: float = 0.0
    ema_share: float = 0.0
    validate_every: int = 0
    log_every: int = 10

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"The number of epochs must be at least 1, got {self.epochs}.")


@dataclass(frozen=True)
class Position:
    """Where an update stands: epoch, step in the epoch, update since the start, and this process among all."""

    epoch: int
    step: int
    update: int
    rank: int = 0
    world: int = 1


class Batches(Protocol):
    """Where batches come from: a function of the position alone, so that a resumed run sees what it would have seen."""

    batch_size: int
    steps_per_epoch: int

    def batch(self, position: Position) -> dict[str, Tensor]:
        """This process's share of one global batch, on the CPU."""


class Task(ABC):
    """A method that is trained. Owns its modules and optimisers."""

    model: nn.Module
    optimizers: Mapping[str, torch.optim.Optimizer]

    @abstractmethod
    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """Backward passes and optimiser steps of one batch; scalars to log, on the device. Losses are ``loss/...``."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Measures on held-out data; ``"score"``, lower is better, chooses the best weights. {}: nothing to measure."""
        return {}

    def describe(self) -> dict[str, Any]:
        """JSON-able state worth a line in the log once an epoch, beside the scalars."""
        return {}

    def stop(self) -> str:
        """After a validation: why the training ends before its time; "": it goes on."""
        return ""

    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """uint8 pictures (H, W) or (H, W, 3) by name."""
        return {}


class NonFiniteLoss(RuntimeError):  # noqa: N818
    """A loss was not a number any more; the message names the last good checkpoint."""


class Interrupted(RuntimeError):  # noqa: N818
    """The run was asked to stop; its state is in the checkpoint that the message names."""


class Loop:
    """Runs a task over batches: schedule, precision, checkpoints, exact resume, logging, progress, stop signals.

    Args:
        task: the method and its model.
        batches: training data by position.
        config: how long and how often.
        run: seeds torch anew before every update, together with the update's number.
        fingerprint: JSON-able settings that a checkpoint must agree with to be resumed, beside the loop's own.
    """

    def __init__(
        self, task: Task, batches: Batches, config: LoopConfig, run: Run, fingerprint: Mapping[str, Any] | None = None
    ) -> None:
        self.task, self.batches, self.config = task, batches, config
        self.run, self.accelerator, self.checkpoints = run, run.accelerator, run.checkpoints
        self.updates = config.epochs * batches.steps_per_epoch
        averaged = config.ema_decay or config.ema_share
        self.ema = WeightAverage(task.model, config.ema_decay, config.ema_share) if averaged else None
        identity = {**(fingerprint or {}), "loop": asdict(config), "seed": run.seed}
        self._identity = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
        self._base_lrs = {name: [g["lr"] for g in o.param_groups] for name, o in task.optimizers.items()}
        self._update = 0
        self._best, self._best_weights = math.inf, dict[str, Tensor]()
        self._finite = torch.ones((), device=run.accelerator.device, dtype=torch.bool)
        self._log: RunLog | None = None
        self._ended = False

    @property
    def model(self) -> nn.Module:
        """The weights to validate and keep: the moving average where there is one."""
        return self.task.model if self.ema is None else self.ema.module

    def train(self) -> nn.Module:
        """Train to the end, or go on where the run is resumed, and return :attr:`model`.

        Raises:
            NonFiniteLoss: a loss is NaN or infinite; the last good checkpoint stays.
            Interrupted: SIGTERM or SIGINT; a checkpoint was written.
            UserError: a run is resumed without a checkpoint, or with one of another configuration.
        """
        main, steps = self.accelerator.is_main_process, self.batches.steps_per_epoch
        if self.run.resume:
            self._load()
        elif main and self.checkpoints:
            self.checkpoints.set_aside()
        if self.run.folder and main:
            self._log = RunLog(self.run.folder, resumed_epoch=self._update // steps)
        progress = {"total": self.updates, "initial": self._update, "disable": self._log is None}
        with (
            StopSignal() as stop,
            ThreadPoolExecutor(1) as reader,
            make_bar(desc="training", unit="step", **progress) as bar,
        ):
            while self._update < self.updates:
                epoch, first, start = self._update // steps, self._update, time.perf_counter()
                sums: dict[str, Tensor] = {}
                for position, batch in self._stream(epoch, reader):
                    self._update_once(batch, position, sums)
                    bar.update()
                    self._check_in(stop, sums, position, bar)
                self._end_of_epoch(epoch, sums, first, time.perf_counter() - start, bar)
                self._stop_if_asked(stop)
                if self._ended:
                    break
        return self.model

    @property
    def has_best(self) -> bool:
        """Whether a validation had a finite score."""
        return math.isfinite(self._best)

    def use_best(self) -> None:
        """Give :attr:`model` the weights with the lowest validation score: those of ``best.pt``, or kept in memory
        without a folder."""
        if self.checkpoints is None:
            self.model.load_state_dict(self._best_weights)
            return
        with self.checkpoints.reading(self.checkpoints.best) as weights:
            self.model.load_state_dict(weights)

    def _stream(self, epoch: int, reader: ThreadPoolExecutor) -> Iterator[tuple[Position, dict[str, Tensor]]]:
        """The rest of an epoch; the next batch is read while the current one is learnt."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        steps, device = self.batches.steps_per_epoch, self.accelerator.device
        positions = [Position(epoch, s, epoch * steps + s, rank, world) for s in range(self._update % steps, steps)]
        pending = reader.submit(self.batches.batch, positions[0])
        for position, following in zip(positions, [*positions[1:], None], strict=True):
            batch = pending.result()
            if following is not None:
                pending = reader.submit(self.batches.batch, following)
            if device.type != "cpu":
                batch = {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}
            yield position, batch

    def _update_once(self, batch: Mapping[str, Tensor], position: Position, sums: dict[str, Tensor]) -> None:
        torch.manual_seed(global_seed(self.run.seed, position.update, position.rank))
        factor = self._lr_factor(position.update)
        for name, optimizer in self.task.optimizers.items():
            for group, lr in zip(optimizer.param_groups, self._base_lrs[name], strict=True):
                group["lr"] = lr * factor
        self.task.model.train()
        scalars = self.task.update(batch, position)
        if self.ema is not None:
            self.ema.update_parameters(self.task.model)
        for name, value in scalars.items():
            self._finite &= torch.isfinite(value)
            sums[name] = sums.get(name, 0.0) + value
        self._update = position.update + 1

    def _check_in(self, stop: StopSignal, sums: Mapping[str, Tensor], position: Position, bar: Any) -> None:
        """Every few updates: show losses, check them, stop if asked. The only place that waits for the device."""
        alone = self.accelerator.num_processes == 1
        if (position.update + 1) % self.config.log_every and not (alone and stop.name):
            return
        self._check_finite()
        latest = {name: value for name, value in sums.items() if name.startswith("loss/")}
        bar.set_postfix(
            {name.removeprefix("loss/"): f"{float(value) / (position.step + 1):.3f}" for name, value in latest.items()}
        )
        if position.step + 1 < self.batches.steps_per_epoch:  # else the epoch's row and validation come first
            self._stop_if_asked(stop)

    def _stop_if_asked(self, stop: StopSignal) -> None:
        """Leave with a checkpoint if any process was asked to stop. Collective."""
        if stop.requested(self.accelerator.device):
            self._save()
            self.accelerator.wait_for_everyone()  # a process that leaves early has the launcher end the one that writes
            where = f" The state is in {self.checkpoints.last}; go on with --resume latest." if self.checkpoints else ""
            raise Interrupted(
                f"Stopped by {stop.name or 'another process'} after update {self._update} of {self.updates}.{where}"
            )

    def _end_of_epoch(self, epoch: int, sums: Mapping[str, Tensor], first: int, seconds: float, bar: Any) -> None:
        self._check_finite()
        done = self._update - first
        row: dict[str, Any] = {"epoch": epoch, "update": self._update}
        row |= {name: float(value) / done for name, value in mean_over_processes(sums).items()}
        row |= {"lr": self._lr_factor(self._update - 1), "samples_per_s": done * self.batches.batch_size / seconds}
        row |= {"seconds": seconds, "peak_memory_mb": peak_memory_mb(self.accelerator.device), **self.task.describe()}
        every = self.config.validate_every or max(1, self.config.epochs // 10)
        due = self._update == self.updates or (epoch + 1) % every == 0
        self.model.eval()
        if due:
            measures = self.task.validate(self.model)
            row |= {f"validation/{name}": value for name, value in measures.items() if math.isfinite(value)}
            if measures and measures["score"] < self._best:
                self._best = measures["score"]
                if self.checkpoints is None:
                    self._best_weights = {key: value.clone() for key, value in self.model.state_dict().items()}
                elif self.accelerator.is_main_process:
                    self.checkpoints.write(self.model.state_dict(), self.checkpoints.best)
        if self._log and (due or epoch == 0):  # after the first epoch, so that there is something to see at once
            bar.clear()
            for name, picture in self.task.preview(self.model).items():
                self._log.preview(f"{name}_{epoch + 1:04d}", picture)
        if self._log:
            self._log.epoch(row)
        if due:
            self._save()
            self._ended = self.task.stop() != ""

    def _lr_factor(self, update: int) -> float:
        warm = max(1, round(self.config.warmup * self.updates))
        if update < warm:
            return (update + 1) / warm
        if self.config.schedule == "constant":
            return 1.0
        if self.config.schedule == "trapezoid":
            return min(1.0, 3.0 * (self.updates - update) / self.updates)
        return 0.5 * (1.0 + math.cos(math.pi * (update - warm) / max(1, self.updates - warm)))

    def _check_finite(self) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(finite := self._finite.float(), torch.distributed.ReduceOp.MIN)
            self._finite = finite.bool()
        if not bool(self._finite):
            kept = f" The last good checkpoint is {self.checkpoints.last}." if self.run.resumable else ""
            raise NonFiniteLoss(
                f"A loss stopped being a number before update {self._update}.{kept} "
                "Lower the learning rate or use --mixed-precision no."
            )

    # -- state

    def _save(self) -> None:
        if not self.checkpoints or not self.accelerator.is_main_process:
            return
        state = {
            "identity": self._identity,
            "update": self._update,
            "best": self._best,
            "model": self.task.model.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.task.optimizers.items()},
        }
        if self.ema is not None:
            state["ema"] = self.ema.state_dict()
        self.checkpoints.save(state, self._update)

    def _load(self) -> None:
        with self.checkpoints.reading(self.checkpoints.last) as state:
            if state["identity"] != self._identity:
                raise UserError(
                    f"{self.checkpoints.last} belongs to a run with other settings or data; "
                    "repeat its command with --resume latest added, or choose another --out."
                )
            self.task.model.load_state_dict(state["model"])
            for name, optimizer in self.task.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
                _check_sizes(optimizer)
            if self.ema is not None:
                self.ema.load_state_dict(state["ema"])
            self._update, self._best = range(self.updates + 1).index(state["update"]), float(state["best"])
        logger.info("Resumed %s at update %d of %d.", self.checkpoints.last, self._update, self.updates)


def _check_sizes(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError for what an optimiser has taken over of other parameters, at which it would fail later."""
    for parameter, kept in optimizer.state.items():
        sizes = {value.shape for value in kept.values() if isinstance(value, Tensor) and value.ndim}
        if sizes - {parameter.shape}:
            raise ValueError(f"the optimiser's state is of other sizes than {tuple(parameter.shape)}")
