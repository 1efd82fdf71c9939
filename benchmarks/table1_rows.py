"""The rows of ``table1.py``: what is measured, and how rows are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError, first_few

FULL, RANDOM = "full", "random"
# Selections of real images by features; "subset" among the methods means both. Random ones are always there.
SELECTIONS = ("herding", "k_center")
# MedSynth as printed, which starts from real images; "medsynth" itself starts from a class prior.
MEDSYNTH_REAL = "medsynth_real"
ORDER = (FULL, RANDOM, *SELECTIONS, "dm", "it_gan", "dim", "dcgan", "mae", "medsynth", MEDSYNTH_REAL)
Comparable = Literal["subset", "dm", "it_gan", "dim", "dcgan", "mae", "medsynth", "medsynth_real"]
# Sets that are drawn from a generator which holds no image and no latent of a single one.
SHAREABLE = ("dim", "dcgan", "mae", "medsynth")
NAMES = {
    FULL: "All real",
    RANDOM: "Random real",
    "herding": "Herding (real)",
    "k_center": "K-center (real)",
    "dm": "DM",
    "it_gan": "IT-GAN",
    "dim": "DiM",
    "dcgan": "DCGAN",
    "mae": "Denoising MAE",
    "medsynth": "MedSynth",
    MEDSYNTH_REAL: "MedSynth (from real images)",
}


class Unit(NamedTuple):
    """A kind of training set.

    Attributes:
        method: "full", "random", or what made the set.
        ipc: images a class; None for all real images and for fresh ones.
        fresh: as many images as the full set has, or as one training looks at.
    """

    method: str
    ipc: int | None = None
    fresh: bool = False

    def __str__(self) -> str:
        size = ", fresh" if self.fresh else "" if self.ipc is None else f", {self.ipc} a class"
        return NAMES[self.method] + size


class Job(NamedTuple):
    """One training, which gives one row.

    Attributes:
        targets: what is learnt of an image, its label ("hard") or a teacher's probabilities ("soft").
    """

    unit: Unit
    classifier: str
    seed: int
    targets: str = "hard"


@dataclass(frozen=True)
class Wanted:
    """What there are to be rows of.

    Attributes:
        methods: beside all real images and random ones.
        ipc: images a class.
        classifiers: networks by name.
        seeds: trainings of each on each set.
        fresh: those of the methods that are measured on fresh images too.
        targets: what is learnt, see :class:`Job`.
    """

    methods: tuple[str, ...]
    ipc: tuple[int, ...]
    classifiers: tuple[str, ...]
    seeds: int
    fresh: tuple[str, ...]
    targets: tuple[str, ...] = ("hard",)

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """From JSON."""
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in content.items()})

    def __or__(self, other: Wanted) -> Wanted:
        """Both together."""
        return Wanted(
            _united(ORDER, self.methods, other.methods),
            tuple(sorted({*self.ipc, *other.ipc})),
            _united(("convnet", "resnet18", "densenet121", "vit_lora"), self.classifiers, other.classifiers),
            max(self.seeds, other.seeds),
            _united(ORDER, self.fresh, other.fresh),
            _united(("hard", "soft"), self.targets, other.targets),
        )

    @property
    def references(self) -> list[Unit]:
        """What the methods are compared with."""
        return [Unit(FULL), *(Unit(RANDOM, count) for count in self.ipc)]

    @property
    def rivals(self) -> list[Unit]:
        """Sets of the methods, method after method."""
        return [
            unit
            for method in self.methods
            for unit in (*(Unit(method, count) for count in self.ipc), Unit(method, None, True))
            if not unit.fresh or method in self.fresh
        ]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Classifiers, each with what it learns."""
        return [(name, targets) for name in self.classifiers for targets in self.targets]

    @property
    def jobs(self) -> list[Job]:
        """All trainings: references first, classifier after classifier; then set after set, each drawn once a seed."""
        seeds, columns = range(self.seeds), self.columns
        first = [Job(unit, name, seed, to) for name, to in columns for unit in self.references for seed in seeds]
        return first + [Job(unit, name, seed, to) for unit in self.rivals for seed in seeds for name, to in columns]


def _united(order: Sequence[str], *parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in order if any(name in part for part in parts))


class RowFile:
    """Rows as JSON lines, one a training. A killed run loses the row that it was writing at most.

    Args:
        path: of the file; what a killed run has cut off is dropped from it.

    Attributes:
        rows: by job, in the order in which they were measured.

    Raises:
        UserError: another line than the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = read_rows(path)
        self.rows = {job_of(row): row for row in content}
        whole = "".join(_line(row) for row in content)
        if path.is_file() and path.read_text(encoding="utf-8", errors="replace") != whole:
            with new_file(path, sync=True) as file:
                file.write(whole.encode())

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row, on the disk when this returns."""
        with self.path.open("ab") as file:
            file.write(_line(row).encode())
            file.flush()
            os.fsync(file.fileno())
        self.rows[job_of(row)] = dict(row)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, [] if it is not there; a last line that was cut off is left out.

    Raises:
        UserError: another line is damaged.
    """
    lines = path.read_bytes().splitlines() if path.is_file() else []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            job_of(row)
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise UserError(f"Line {number} of {path} is damaged; remove it, and its row is measured again.") from error
        rows.append(row)
    return rows


def job_of(row: Mapping[str, Any]) -> Job:
    """Which training a row is of."""
    unit = Unit(row["method"], row["ipc"], row["fresh"])
    return Job(unit, row["classifier"], row["seed"], row.get("targets", "hard"))  # earlier rows have none


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


@dataclass
class Book:
    """``config.json``: what all rows of a folder have in common.

    Attributes:
        settings: everything that rows depend on beside what they name themselves.
        wanted: what runs in this folder were to measure, together.
        about: the data and the machine, for people.
    """

    settings: dict[str, Any]
    wanted: Wanted
    about: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Book | None:
        """That of a folder, None if it has none; raises UserError if it is damaged."""
        path = folder / "config.json"
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(content["settings"], Wanted.read(content["wanted"]), content["about"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged; choose another --out.") from error

    def write(self, folder: Path) -> None:
        """Write it whole or not at all."""
        with new_file(folder / "config.json", sync=True) as file:
            file.write(json.dumps(asdict(self), ensure_ascii=False, indent=1).encode())


def refuse_others(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise UserError if the folder holds rows that were measured with other settings than these."""
    book = Book.read(folder)
    if book is None:
        if (folder / "rows.jsonl").is_file():
            raise UserError(f"{folder} holds rows without their config.json; choose another --out.")
        return
    now = json.loads(json.dumps(settings))
    changed = [f"{key} ({book.settings.get(key)}, now {now[key]})" for key in now if book.settings.get(key) != now[key]]
    if changed:
        raise UserError(
            f"{folder} holds rows that were measured with other settings, {first_few(changed)}; "
            "give the same to go on, or choose another --out."
        )
