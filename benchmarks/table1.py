"""MedSynth's Table 1 and Fig. 2 on your own images: every method of condensation, judged by the same classifiers.

    python benchmarks/table1.py --data PATH --ipc 10 50 --budget small --out runs/table1

Each method is fitted once to the training images. Classifiers are then trained on all real images, on random real ones,
and on each method's set, all alike: for as many updates as help on all real images (found on the validation part), by
hard labels and by the soft labels of a teacher that is trained on the training part alone. They are tested on the real
test images, which nothing is chosen by. A run that was stopped goes on where it was if the same command is given again;
with more methods, sizes, classifiers or seeds in the same folder only what is missing is measured. OUT/table1.md and
OUT/summary.json hold the result, OUT/rows.jsonl every training. --print-only writes the table of what is there.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from table1_fits import Fits, makes_fresh
from table1_rows import (
    FULL,
    ORDER,
    RANDOM,
    SELECTIONS,
    Book,
    Comparable,
    Job,
    RowFile,
    Unit,
    Wanted,
    read_rows,
    refuse_others,
)
from table1_summary import audits_of, column_of, markdown, summarise, trained_for, unit_of
from table1_training import Protocol

from mmgen.artifacts.provenance import config_to_dict, git_revision, machine, package_versions
from mmgen.cli.condensation_flags import ImageSetFlags
from mmgen.cli.config import parse_config, refuse_below_one
from mmgen.cli.main import run_command
from mmgen.data.images import ImageSettings
from mmgen.data.loading import PairedData, prepare
from mmgen.data.samples import Samples
from mmgen.data.sources import reading_of
from mmgen.data.writing.atomic import new_file
from mmgen.data.writing.unfinished import alone_in
from mmgen.errors import UserError
from mmgen.evaluation.report.text import duration, score
from mmgen.evaluation.teacher import TEACHERS
from mmgen.evaluation.training_sets import random_subset
from mmgen.evaluation.utility import UtilityConfig, train_and_test
from mmgen.names import IMAGE, BudgetName, LabelKind, NetworkName
from mmgen.presets import SCALES, fitted_to, image_settings
from mmgen.training.engine import make_accelerator
from mmgen.training.run import Run

if TYPE_CHECKING:
    from accelerate import Accelerator
    from timm.models.vision_transformer import VisionTransformer

logger = logging.getLogger("mmgen")

# Flags that change which rows there are, or nothing in them. What the data are by is in their fingerprint.
_FREE = {"data", "out", "methods", "ipc", "classifiers", "seeds", "fresh", "targets"}
_FREE |= {"print_only", "cache", "cache_limit"}
_MOST_FRESH = 4000  # images of a fresh set; generators that draw step by step take a second for some


@dataclass(frozen=True, kw_only=True)
class Table1(ImageSetFlags):
    """Flags of this script."""

    data: Path | None = None
    """Folder with a subfolder for each label (or train/ and test/ above them), CSV, published data set, or shards."""
    out: Path = Path("runs/table1")
    """Folder of rows, fits and the table; one run at a time writes to it."""
    methods: tuple[Comparable, ...] = ("subset", "dm", "it_gan", "dim", "dcgan", "mae", "medsynth", "medsynth_real")
    """Methods; subset means herding and k-center (random real images are always there), medsynth_real the paper as
    printed, whose generator starts from real images."""
    ipc: tuple[int, ...] = (10, 50, 100)
    """Images a class of the condensed sets."""
    classifiers: tuple[NetworkName, ...] = ("convnet", "resnet18", "densenet121", "vit_lora")
    """Networks that measure, in this order."""
    seeds: int = 5
    """Trainings of each classifier on each set; trainings of one seed are compared with each other."""
    targets: tuple[LabelKind, ...] = ("hard", "soft")
    """What classifiers learn of every set, real ones too: labels, or a teacher's probabilities of them."""
    teacher: NetworkName | None = None
    """Network of the teacher, if not the budget's; vit_lora tunes --backbone."""
    updates: int | None = None
    """Updates of every classifier; if absent as many as help on all real images, for each of them."""
    budget: BudgetName = "small"
    """Lengths of fits and trainings, and the size of images if no other is given."""
    fresh: bool = True
    """Measure generators on as many images as there are real ones, too."""
    print_only: bool = False
    """Train nothing; write and print the table of the rows that are there."""

    @property
    def form(self) -> ImageSettings:
        """Form of the images."""
        return image_settings(self.budget, self.image_size, self.channels)

    @property
    def wanted(self) -> Wanted:
        """What the flags want measured."""
        named = {*self.methods, *(SELECTIONS if "subset" in self.methods else ())}
        methods = tuple(name for name in ORDER if name in named)
        ipc = tuple(sorted(set(self.ipc)))
        fresh = tuple(name for name in methods if self.fresh and makes_fresh(name))
        targets = tuple(kind for kind in ("hard", "soft") if kind in self.targets)
        return Wanted(methods, ipc, tuple(dict.fromkeys(self.classifiers)), self.seeds, fresh, targets)

    @property
    def utility(self) -> UtilityConfig:
        """How all classifiers are trained, at the size of the images, but for the number of updates."""
        augmentation = {IMAGE: self.augmentation or "none"}
        how = SCALES[self.budget].utility
        return replace(how, balance="sampling", max_side=max(self.form.size, 32), augmentation=augmentation)

    @property
    def teaching(self) -> UtilityConfig:
        """How the teacher is trained."""
        how = replace(TEACHERS[self.budget], augmentation=self.utility.augmentation, max_side=self.utility.max_side)
        return how if self.teacher is None else replace(how, classifier=self.teacher)

    def settings(self, accelerator: Accelerator) -> dict[str, Any]:
        """Everything that rows depend on beside the data and what they name themselves."""
        flags = {key: value for key, value in config_to_dict(self, whole_paths=False).items() if key not in _FREE}
        how = {f"classifiers' {key}": value for key, value in config_to_dict(self.utility).items()}
        for name in ("classifier", "seeds", "updates", "labels"):
            del how[f"classifiers' {name}"]
        flags["teacher"] = self.teaching.classifier
        # What "auto" and an absent size mean is said, not that it was left to the script.
        found = {"image_size": self.form.size, "mixed_precision": str(accelerator.mixed_precision)}
        return {**flags, **found, **how}

    def check(self) -> None:
        """Refuse what no run can begin with."""
        if self.data is None:
            raise UserError("--data names no images; give a folder with a subfolder for each label, or a CSV.")
        refuse_below_one(self, "ipc", "seeds", *(() if self.updates is None else ("updates",)))
        if not self.classifiers:
            raise UserError("--classifiers names no network; give at least one.")
        if not self.targets:
            raise UserError("--targets names nothing to learn; give hard, soft or both.")
        self.form  # noqa: B018  # refuses images that no generator makes


class Measurement:
    """Measures what is missing in a folder.

    Args:
        config: flags.
        data: images, read once.
        fits: models of the methods.
        rows: what is there; what is measured is added.
    """

    def __init__(self, config: Table1, data: PairedData, fits: Fits, rows: RowFile) -> None:
        self.config, self.data, self.fits, self.rows = config, data, fits, rows
        self.train = data.splits["train"][IMAGE]
        self.test = data.splits["test"][IMAGE].at_most()
        self.revision = git_revision()
        sides = fits.modality, self.train, data.splits["val"][IMAGE]
        self.protocol = Protocol(fits.run, *sides, config.utility, config.updates)
        self._drawn: tuple[Unit, int, Samples, float | None] | None = None

    def run(self) -> None:
        """All jobs that have no row yet."""
        jobs = self.config.wanted.jobs
        left = [job for job in jobs if job not in self.rows.rows]
        missing = Counter((job.unit, job.classifier, job.targets) for job in left)
        if len(left) < len(jobs):
            logger.info("%d of %d rows are there.", len(jobs) - len(left), len(jobs))
        for number, job in enumerate(left, 1):
            self.rows.append(self.measure(job))
            group = job.unit, job.classifier, job.targets
            missing[group] -= 1
            if not missing[group]:
                self._tell(job, len(jobs) - len(left) + number, len(jobs), left[number:])

    def measure(self, job: Job) -> dict[str, Any]:
        """One training: its row."""
        config = self.config
        drawn, fit_seconds = self._draw(job.unit, job.seed, job.targets)
        backbone = self._backbone_of(job.classifier)
        how = replace(self.protocol.of(job.classifier, backbone), labels=job.targets)
        start = time.perf_counter()
        scores = train_and_test(
            self.fits.modality, drawn, self.test, how, self.fits.run.accelerator, job.seed, backbone
        )
        seconds = time.perf_counter() - start
        return {
            **job.unit._asdict(),
            "classifier": job.classifier,
            "seed": job.seed,
            "targets": job.targets,
            **scores,
            "n_train": len(drawn),
            "n_real": len(self.train),
            "n_test": len(self.test),
            "condensation_ratio": len(drawn) / len(self.train),
            "classes": len(self.train.label_names),
            "labels": list(self.train.label_names),
            "updates": how.updates,
            "batch_size": how.batch_size,
            "max_side": min(how.max_side, config.form.size),
            "seconds": seconds,
            "fit_seconds": fit_seconds,
            "budget": config.budget,
            "image_size": config.form.size,
            "split_column": config.split_column,
            "data": data_name(config.data),
            "device": self.fits.run.accelerator.device.type,
            "version": package_versions()["mmgen"],
            "git_revision": self.revision,
        }

    def _backbone_of(self, classifier: str) -> VisionTransformer | None:
        return self.fits.backbone if classifier == "vit_lora" else None

    def _draw(self, unit: Unit, seed: int, targets: str) -> tuple[Samples, float | None]:
        """The training set of a seed, with soft labels if these are learnt, and how long its method was fitted; the
        last one is kept for the next classifier."""
        if self._drawn is None or self._drawn[:2] != (unit, seed):
            self._drawn = unit, seed, *self._drawn_anew(unit, seed)
        drawn, seconds = self._drawn[2:]
        if targets == "soft" and drawn.probabilities is None:
            teaching = self.config.teaching
            drawn = self.protocol.labelled(drawn, teaching, self._backbone_of(teaching.classifier))
            self._drawn = unit, seed, drawn, seconds
        return drawn, seconds

    def _drawn_anew(self, unit: Unit, seed: int) -> tuple[Samples, float | None]:
        if unit.method == FULL:
            return self.train, None
        if unit.method == RANDOM:
            return random_subset(self.train, unit.ipc, seed), None
        return self.fits.sample(unit.method, unit.ipc, self._fresh if unit.ipc is None else unit.ipc, seed)

    @property
    def _fresh(self) -> int:
        """Images a class of a fresh set."""
        return max(min(len(self.train), _MOST_FRESH) // len(self.train.label_names), 1)

    def _tell(self, job: Job, done: int, total: int, left: Sequence[Job]) -> None:
        """A line on a group of rows that has become complete."""
        seeds = range(self.config.seeds)
        wanted = replace(self.config.wanted, classifiers=(job.classifier,), targets=(job.targets,))
        entries = summarise((self.rows.rows[key] for key in self.rows.rows if key.seed in seeds), wanted)
        entry = next(entry for entry in entries if unit_of(entry) == job.unit)
        rest = f", about {duration(self._estimate(left))} left beside fits" if left else ""
        names = (str(job.unit), column_of(job.classifier, job.targets), score(entry["auc"]), score(entry["accuracy"]))
        logger.info("%s, %s: AUC %s, accuracy %s (row %d of %d%s)", *names, done, total, rest)

    def _estimate(self, left: Sequence[Job]) -> float:
        """Seconds that trainings take, by those measured; of a classifier without any, by the others'."""
        rows = list(self.rows.rows.values())
        seconds = {
            name: [row["seconds"] for row in rows if row["classifier"] == name] for name in self.config.classifiers
        }
        overall = sum(row["seconds"] for row in rows) / len(rows)
        means = {name: sum(several) / len(several) if several else overall for name, several in seconds.items()}
        return sum(means[job.classifier] for job in left)


def data_name(path: Path | None) -> str:
    """What data are called in rows: their folder's name."""
    return "" if path is None else (path.resolve().parent if path.is_file() else path.resolve()).name


def measure(config: Table1) -> None:
    """Fit and train what is missing in the folder."""
    config.check()
    run = Run(make_accelerator(config.mixed_precision), config.out, True, config.seed)
    if run.accelerator.num_processes > 1:
        raise UserError("This benchmark runs in one process; start it with python instead of accelerate launch.")
    reading = reading_of(config, config.out, config.seed)
    config = fitted_to(config, reading.sources({IMAGE: config.data}, {IMAGE: config.form})[IMAGE])
    settings = config.settings(run.accelerator)
    with alone_in(config.out):
        refuse_others(config.out, settings)  # before the data are read
        data = prepare(reading.sources({IMAGE: config.data}, {IMAGE: config.form}), reading)
        settings["data_fingerprint"] = data.fingerprints[IMAGE]
        refuse_others(config.out, settings)
        data.write_skipped(config.out / "skipped_files.csv")
        earlier = Book.read(config.out)
        wanted = config.wanted if earlier is None else earlier.wanted | config.wanted
        about = {"name": data_name(config.data), "data": data.summary(), "versions": package_versions()}
        about |= {"git_revision": git_revision(), "machine": machine()}
        Book(settings, wanted, about).write(config.out)
        augmentation = config.augmentation or "none"
        fits = Fits(run, data, config.budget, augmentation, config.backbone, config.backbone_weights)
        Measurement(config, data, fits, RowFile(config.out / "rows.jsonl")).run()


def write_table(out: Path) -> str:
    """Write table1.md and summary.json of the rows in a folder; the former's text.

    Raises:
        UserError: there are none.
    """
    book, rows = Book.read(out), read_rows(out / "rows.jsonl")
    if book is None or not rows:
        raise UserError(f"There are no rows in {out}; measure some first, or name the --out of a run.")
    entries = summarise(rows, book.wanted)
    split = book.settings.get("split_column")
    facts = [
        f"{rows[0]['n_real']} training and {rows[0]['n_test']} test images of {rows[0]['classes']} classes"
        + (f", split by column {split}" if split else "")
        + f"; budget {book.settings['budget']}, {book.settings['image_size']} pixels; classifiers trained in batches "
        f"of {rows[0]['batch_size']} at {min(row['max_side'] for row in rows)} pixels, {trained_for(rows)}, whatever "
        f"the set; soft labels of a teacher, {book.settings.get('teacher')}, trained on the training images."
    ]
    text = markdown(entries, f"Methods of condensation on {book.about['name']}", facts, audits_of(out))
    content = {"settings": book.settings, "about": book.about, "entries": entries}
    for name, whole in (
        ("table1.md", text),
        ("summary.json", json.dumps(content, ensure_ascii=False, indent=1) + "\n"),
    ):
        with new_file(out / name) as file:
            file.write(whole.encode())
    return text


def main() -> None:
    config = parse_config(Table1, description=__doc__)
    if not config.print_only:
        measure(config)
    print(write_table(config.out), end="")


if __name__ == "__main__":
    run_command(main)
