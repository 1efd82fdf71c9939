"""What habits of published condensation code cost, in DM's and DiM's updates as they are built here.

Each habit is switched on alone, then all of a method together. Variants take turns in one run, and medians are
reported. The habits:

* DM ``float_set``: all real images are held on the device, normalised, in float32; else bytes are read for each batch.
* DM ``class_loop``: a forward and a backward pass for every class; else of as many images as suit the device.
* DM ``plain_network``: the network has torch's own average pooling, and ReLUs that keep what they are given.
* DiM ``new_loader``: before every step of the generator a DataLoader with new worker processes reads what the network
  learns from; else one stream reads ahead, as in every training here. Both read from memory: no file is decoded.
* both ``float32``: no mixed precision; else bf16 where the machine multiplies it.

    python benchmarks/condensation_step.py --out benchmarks/results/condensation_step_cpu.json
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from timing import DeviceName, Engine, device_of, write
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmgen.cli.config import parse_config
from mmgen.condensation import dim, dm
from mmgen.data.phantoms.lesions import phantom_lesion
from mmgen.data.samples import Samples
from mmgen.models.classifiers import ConvNet, draw_weights
from mmgen.models.modality import Modality
from mmgen.models.seeds import torch_stream
from mmgen.names import BudgetName
from mmgen.training.augmentation import draw
from mmgen.training.batches import LabelledBatches, WholeBatches
from mmgen.training.conditional_gan import ConditionalGANTask
from mmgen.training.distribution_matching import DistributionTask
from mmgen.training.engine import has_fast_bf16
from mmgen.training.loop import Batches, Position
from mmgen.training.network_matching import PoolMatcher
from mmgen.training.run import Run

Habits = tuple[str, ...]
DM_HABITS: Habits = ("float_set", "class_loop", "plain_network", "float32")
DIM_HABITS: Habits = ("new_loader", "float32")
STEPS = 1_000_000  # of an epoch: no variant comes to its end


@dataclass(frozen=True)
class CondensationBenchmark:
    """Flags of this benchmark."""

    out: Path | None = None
    device: DeviceName = "auto"
    image_size: int = 64
    classes: int = 7
    images: int = 300
    """Real images of each class."""
    images_per_class: int = 10
    """Synthetic images of each class in DM."""
    budget: Literal["auto"] | BudgetName = "auto"
    """Sizes of networks and batches; auto: as published on an accelerator, small on a CPU."""
    workers: int = 2
    """Processes of a DataLoader."""
    updates: int = 10
    """Measured updates of every variant, after one that warms up."""


@dataclass
class Variant:
    """A method with some habits.

    Attributes:
        step: one update, by its number.
        set_mb: what holds the real images takes.
    """

    method: str
    habits: Habits
    step: Callable[[int], Any]
    set_mb: float


def main() -> None:
    config = parse_config(CondensationBenchmark)
    device = device_of(config.device)
    budget = config.budget if config.budget != "auto" else "small" if device.type == "cpu" else "paper"
    train = lesions(config)
    with ThreadPoolExecutor(1) as reader:
        variants = [
            make(config, budget, train, habits, device, reader)
            for make, known in ((dm_variant, DM_HABITS), (dim_variant, DIM_HABITS))
            for habits in ((), *((habit,) for habit in known), known)
        ]
        rows = measure(variants, config.updates, device)
    print(table(rows))
    write(config.out, rows, budget=budget)


def lesions(config: CondensationBenchmark) -> Samples:
    """Phantom pictures, of which a class has a few again and again: speed does not depend on content."""
    rng, few = np.random.default_rng(0), min(config.images, 8)
    drawn = [[phantom_lesion(k, rng, config.image_size) for _ in range(few)] for k in range(config.classes)]
    values = np.stack([drawn[k][i % few] for k in range(config.classes) for i in range(config.images)])
    labels = np.repeat(np.arange(config.classes), config.images)
    names = tuple(f"class {k}" for k in range(config.classes))
    return Samples(values.transpose(0, 3, 1, 2).copy(), labels, names, np.arange(len(labels)))


def measure(variants: list[Variant], updates: int, device: torch.device) -> list[dict[str, Any]]:
    """A row a variant: median seconds of an update, how many times those without habits, and memory."""
    seconds: list[list[float]] = [[] for _ in variants]
    peaks = [0.0 for _ in variants]
    for number in range(updates + 1):
        for at, variant in enumerate(variants):
            taken, peak = once(variant.step, number, device)
            if number:
                seconds[at].append(taken)
            peaks[at] = max(peaks[at], peak)
    rows: list[dict[str, Any]] = []
    for variant, times, peak in zip(variants, seconds, peaks, strict=True):
        median = statistics.median(times)
        plain = next((row["seconds"] for row in rows if row["method"] == variant.method), median)
        row = {"method": variant.method, "habits": list(variant.habits), "seconds": median, "times": median / plain}
        row |= {"range": [min(times), max(times)], "set_mb": variant.set_mb}
        rows.append(row | ({"step_peak_mb": peak} if device.type == "cuda" else {}))
    return rows


def once(step: Callable[[int], Any], number: int, device: torch.device) -> tuple[float, float]:
    """Seconds of one update, the device's queue included, and MB that it takes on a GPU beyond what is there."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    step(number)
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return seconds, (torch.cuda.max_memory_allocated() - before) / 2**20 if on_gpu else 0.0


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    lines = ["| method | habits | seconds | times | real images, MB |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (", ".join(row["habits"]) or "none", f"{row['seconds']:.3f}", f"{row['times']:.2f}")
        lines.append(f"| {row['method']} | {' | '.join(cells)} | {row['set_mb']:.1f} |")
    return "\n".join(lines)


def make_run(habits: Habits, device: torch.device) -> Run:
    """A run with the engine of a variant: bf16 unless it is a habit not to, or the machine does not multiply it."""
    return Run(Engine("bf16" if has_fast_bf16() and "float32" not in habits else "no", device))


class Ahead:
    """Reads the next batch while one is learnt, as the library's loop does, and moves it to the device."""

    def __init__(self, batches: Batches, device: torch.device, reader: ThreadPoolExecutor) -> None:
        self.batches, self.device, self.reader = batches, device, reader
        self._next: Future[dict[str, Tensor]] | None = None

    def __call__(self, number: int) -> dict[str, Tensor]:
        pending = self._next or self.reader.submit(self.batches.batch, position(number))
        batch = pending.result()
        self._next = self.reader.submit(self.batches.batch, position(number + 1))
        if self.device.type == "cpu":
            return batch
        return {name: x.pin_memory().to(self.device, non_blocking=True) for name, x in batch.items()}


def position(number: int) -> Position:
    """Of an update in one long epoch."""
    return Position(0, number, number)


# -- DM


class FloatSet:
    """All real images in memory of the device, as DM's published code holds them, and random ones of every class."""

    def __init__(self, train: Samples, modality: Modality, each: int, device: torch.device) -> None:
        self.images = modality.normalise(torch.from_numpy(train.values)).to(device)
        self._members = [np.flatnonzero(train.labels == label) for label in range(len(train.label_names))]
        self._labels = torch.arange(len(self._members), device=device).repeat_interleave(each)
        self._each, self._rng = each, np.random.default_rng(0)

    def __call__(self, number: int) -> dict[str, Tensor]:
        rows = np.concatenate([self._rng.permutation(members)[: self._each] for members in self._members])
        return {"x": self.images[torch.from_numpy(rows).to(self.images.device)], "label": self._labels}


class Prepared(Modality):
    """Of images that are normalised already."""

    def normalise(self, x: Tensor) -> Tensor:
        """As they are."""
        return x


class LoopingTask(DistributionTask):
    """The same update, class by class."""

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """One step; nothing about it but the order of computation is another."""
        draws = torch_stream(self.run.seed, position.update)
        parameters = draw(self.config.augmentation, draws)
        draw_weights(self.network, draws)
        images, loss = self.model(), torch.zeros((), device=batch["x"].device)
        for label in range(self.classes):
            with torch.no_grad():
                x = self.modality.normalise(batch["x"][batch["label"] == label])
                real = self._features(x, parameters).mean(0)
            made = self._features(images[self.model.labels == label], parameters).mean(0)
            loss = loss + (real - made).square().sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"loss/match": loss.detach()}


def make_plain(network: ConvNet) -> None:
    """Replace, in place, what computes the same faster."""
    for block in network.blocks:
        *_, relu, _ = block
        relu.inplace = False
        block[-1] = nn.AvgPool2d(2)


def dm_variant(
    config: CondensationBenchmark,
    budget: BudgetName,
    train: Samples,
    habits: Habits,
    device: torch.device,
    reader: ThreadPoolExecutor,
) -> Variant:
    """DM with the sizes of a preset."""
    run = make_run(habits, device)
    settings = replace(dm.PRESETS[budget], images_per_class=config.images_per_class)
    condenser, learning = dm.DM(settings, run, train), replace(settings.matching, augmentation="lesion")
    modality, each = condenser.modality, min(learning.real_per_class, config.images)
    held, read = train.values.nbytes, None
    if "float_set" in habits:
        read = FloatSet(train, modality, each, device)
        modality, held = Prepared(**modality.to_dict()), read.images.nbytes
    else:
        read = Ahead(LabelledBatches(train, each * config.classes, STEPS, 0, balanced=True), device, reader)
    kind = LoopingTask if "class_loop" in habits else DistributionTask
    task = kind(condenser.images, learning, run, modality)
    if "plain_network" in habits:
        make_plain(task.network)
    return Variant("DM", habits, lambda number: task.update(read(number), position(number)), held / 2**20)


# -- DiM


class Images(Dataset):
    """Images one by one, normalised, for a DataLoader."""

    def __init__(self, train: Samples, modality: Modality) -> None:
        self.train, self.modality = train, modality

    def __len__(self) -> int:
        return len(self.train)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.modality.normalise(torch.from_numpy(self.train.values[row])), int(self.train.labels[row])


class RestartingMatcher(PoolMatcher):
    """Lets its network learn from a DataLoader whose workers start anew for every step of the generator."""

    def __init__(self, loader: DataLoader, count: int, *args: Any) -> None:
        super().__init__(*args)
        self.loader, self.count = loader, count

    def learn(self, x: Tensor, labels: Tensor, position: Position, read: Any) -> Tensor:
        """Learn from ``count`` batches of the loader; what is given is not looked at."""
        losses, device = [], self.run.accelerator.device
        for number, (raw, known) in enumerate(itertools.islice(self.loader, self.count), position.step * self.count):
            at = Position(0, number, number)
            losses.append(super().learn(raw.to(device), known.to(device), at, read))
        return torch.stack(losses).mean()


def dim_variant(
    config: CondensationBenchmark,
    budget: BudgetName,
    train: Samples,
    habits: Habits,
    device: torch.device,
    reader: ThreadPoolExecutor,
) -> Variant:
    """DiM's second stage with the sizes of a preset."""
    run = make_run(habits, device)
    settings = dim.PRESETS[budget]
    condenser, learning = dim.DiM(settings, run, train), replace(settings.matching, augmentation="lesion")
    size, count = settings.gan.batch_size, learning.batches
    shape = (train.values.shape[1:], config.classes, run)
    if "new_loader" in habits:
        images = Images(train, condenser.modality)
        loader = DataLoader(images, size, shuffle=True, num_workers=config.workers, drop_last=True)
        matcher, parts = RestartingMatcher(loader, count, replace(learning, batches=1), *shape), 1
    else:
        matcher, parts = PoolMatcher(learning, *shape), 1 + count
    batches = WholeBatches(train, parts * size, STEPS, 0)
    read = Ahead(batches, device, reader)
    task = ConditionalGANTask(condenser.gan, settings.gan, run, condenser.modality, batches, matcher)
    return Variant(
        "DiM", habits, lambda number: task.update(read(number), position(number)), train.values.nbytes / 2**20
    )


if __name__ == "__main__":
    main()
