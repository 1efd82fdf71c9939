"""Which parts of MedSynth's fit make its sets useful, measured on people held out of the training images.

Test images are not looked at, so presets may be chosen by what comes out. All variants share one backbone and one tuned
classifier, and each is measured as drawn and as chosen from many draws, beside random real images of the same number.

    python benchmarks/medsynth_variants.py --data PATH --out benchmarks/results/medsynth_variants.json
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mmgen.artifacts.provenance import machine
from mmgen.cli.condensation_flags import ImageSetFlags
from mmgen.cli.config import parse_config
from mmgen.cli.main import run_command
from mmgen.condensation.condenser import Length, to_samples
from mmgen.condensation.medsynth import MedSynth, MedSynthConfig
from mmgen.condensation.methods import preset
from mmgen.condensation.representatives import representatives
from mmgen.data.loading import prepare
from mmgen.data.samples import Samples
from mmgen.data.sources import reading_of
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError
from mmgen.evaluation.training_sets import random_subset
from mmgen.evaluation.utility import utility
from mmgen.names import IMAGE, NetworkName
from mmgen.presets import SCALES, fitted_to, image_settings
from mmgen.training.engine import make_accelerator
from mmgen.training.run import Run

logger = logging.getLogger("mmgen")

_PHASES = ("phase1", "phase2")

Variant = Literal["preset", "no_networks", "networks_alone", "deep", "light_gan", "log_softmax", "logits"]


@dataclass(frozen=True, kw_only=True)
class Variants(ImageSetFlags):
    """Flags of this benchmark."""

    data: Path | None = None
    """As for table1.py; the training split is used."""
    out: Path | None = None
    """File of rows, written after every variant."""
    variants: tuple[Variant, ...] = get_args(Variant)
    """preset; no_networks: critic and ViT alone; networks_alone: next to no critic; deep: six blocks, wider, fewer
    updates; light_gan: a fifth of the GAN's loss in phase II; log_softmax, logits: other matching."""
    budget: Literal["quick", "small"] = "small"
    """Preset that is varied; "paper" has no matching in networks."""
    ipc: tuple[int, ...] = (10, 50)
    """Images a class."""
    classifiers: tuple[NetworkName, ...] = ("convnet", "resnet18")
    """Networks that measure."""
    seeds: int = 3
    """Trainings of each on each set."""
    held_out: float = 0.35
    """Share of people that measure."""


def varied(base: MedSynthConfig, variant: Variant) -> MedSynthConfig:
    """Settings of a variant; those without networks have the updates of the critic that cost as much."""
    gan = base.gan
    longer = {name: phase._replace(count=2 * phase.count) for name, phase in vars(base).items() if name in _PHASES}
    changes: dict[Variant, dict[str, Any]] = {
        "preset": {},
        "no_networks": {"network_updates": 0, **longer},
        "networks_alone": {"phase1": Length(0), "phase2": Length(1)},
        "deep": {"width": 32, "blocks": 6, "warmup": base.warmup // 2, "network_updates": base.network_updates // 3},
        "light_gan": {"gan": replace(gan, gan_weight=0.2)},
        "log_softmax": {"gan": replace(gan, matching="log_softmax")},
        "logits": {"gan": replace(gan, matching="logits")},
    }
    return replace(base, **changes[variant])


def subjects_apart(samples: Samples, subjects: np.ndarray | None, share: float, seed: int) -> np.ndarray:
    """(N,) whether an image is held out: of each class's subjects this share, one at least.

    Raises:
        UserError: a class with images of one subject.
    """
    subjects = np.arange(len(samples)) if subjects is None else subjects
    rng, held = np.random.default_rng(seed), np.zeros(len(samples), dtype=bool)
    for label, name in enumerate(samples.label_names):
        own = np.unique(subjects[samples.labels == label])
        if len(own) < 2:
            raise UserError(f"{name} has images of one person, who cannot be on both sides; leave the label out.")
        held |= np.isin(subjects, rng.choice(own, max(1, round(share * len(own))), replace=False))
    return held


def measured(
    config: Variants, model: MedSynth, sets: dict[str, list[Samples]], test: Samples, accelerator: Any
) -> Iterator[dict[str, Any]]:
    """A row for each classifier and set."""
    learning = replace(SCALES[config.budget].utility, balance="sampling", seeds=config.seeds)
    learning = replace(learning, augmentation={IMAGE: config.augmentation or "none"})
    for name in config.classifiers:
        how = replace(learning, classifier=name)
        for which, scores in utility(model.modality, sets, test, how, accelerator, model.backbone).items():
            row = {"classifier": name, "set": which, "n_train": scores.n_train}
            yield row | {"auc": scores.auc.to_json(), "accuracy": scores.accuracy.to_json()}


def sets_of(config: Variants, model: MedSynth) -> dict[str, list[Samples]]:
    """Drawn and chosen sets; the larger ones begin with the smaller."""
    seeds, sets = range(config.seeds), {}
    for count in config.ipc:
        sets[f"drawn@{count}"] = [to_samples(model.model.sample(count, seed)) for seed in seeds]
    most, device = max(config.ipc), model.run.accelerator.device
    pool = max(model.config.choose_from, 2 * most)
    chosen = [representatives(model.model, most, pool, seed, device) for seed in seeds]
    for count in config.ipc:
        first = np.tile(np.arange(most), len(model.train.label_names)) < count
        sets[f"chosen@{count}"] = [drawn.select(first) for drawn in chosen]
    return sets


def run(config: Variants) -> dict[str, Any]:
    """Rows of all variants, and what they were measured on."""
    if config.data is None:
        raise UserError("--data names no images; give a folder with a subfolder for each label, or a CSV.")
    form = image_settings(config.budget, config.image_size, config.channels)
    fit = Run(make_accelerator(config.mixed_precision), seed=config.seed)
    reading = reading_of(config, Path("runs/medsynth_variants"), config.seed)  # no decoded images beside results
    config = fitted_to(config, reading.sources({IMAGE: config.data}, {IMAGE: form})[IMAGE])
    form = image_settings(config.budget, config.image_size, config.channels)
    data = prepare(reading.sources({IMAGE: config.data}, {IMAGE: form}), reading)
    everything = data.splits["train"][IMAGE]
    subjects = everything.subject_numbers()
    held = subjects_apart(everything, subjects, config.held_out, config.seed)
    train, test = everything.select(~held), everything.select(held).at_most()
    subjects = None if subjects is None else subjects[~held]
    backbone = {"backbone": config.backbone, "backbone_weights": config.backbone_weights}
    base = preset("medsynth", config.budget, 1, config.augmentation or "none", **backbone)
    rows: list[dict[str, Any]] = []
    document = {"command": " ".join(["python", *sys.argv]), "machine": machine(), "n_train": len(train)}
    document |= {"n_held_out": len(test), "rows": rows}
    shared: MedSynth | None = None
    for variant in config.variants:
        model = MedSynth(varied(base, variant), fit, train, subjects=subjects)
        start = time.perf_counter()
        if shared is None:
            model.pretrain()
            model.tune()
        else:
            model.backbone, model.classifier = shared.backbone, shared.classifier
        before = time.perf_counter() - start
        model.learn_prior()
        model.learn_distribution()
        model.learn_task()
        seconds = time.perf_counter() - start - before
        if shared is None:
            references = {f"random@{n}": [random_subset(train, n, s) for s in range(config.seeds)] for n in config.ipc}
            references["real"] = [train] * config.seeds
            rows += [{"variant": None} | row for row in measured(config, model, references, test, fit.accelerator)]
            shared = model
        results = measured(config, model, sets_of(config, model), test, fit.accelerator)
        rows += [{"variant": variant, "seconds": seconds} | row for row in results]
        logger.info("%s", table(rows))
        if config.out is not None:
            config.out.parent.mkdir(parents=True, exist_ok=True)
            with new_file(config.out) as file:
                file.write((json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode())
    return document


def table(rows: list[dict[str, Any]]) -> str:
    """AUC of all variants and sets as Markdown."""
    columns = list(dict.fromkeys((row["classifier"], row["set"]) for row in rows))
    lines = ["| | " + " | ".join(" ".join(column) for column in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        of_it = {(row["classifier"], row["set"]): row["auc"] for row in rows if row["variant"] == variant}
        cells = [
            f"{of_it[column]['mean']:.3f} ± {of_it[column]['std']:.3f}" if column in of_it else "" for column in columns
        ]
        lines.append(f"| {variant or 'references'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    print(table(run(parse_config(Variants, description=__doc__))["rows"]))


if __name__ == "__main__":
    run_command(main)
