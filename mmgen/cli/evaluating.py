"""``mmgen evaluate``: is a synthetic set useful, and how near is it to real data."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mmgen.cli.data_flags import CachedDataFlags
from mmgen.names import ClassifierName, LabelKind, NetworkName

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Evaluate(CachedDataFlags):
    """Measure a synthetic set beside real data: utility for training, closeness, variety; with a report."""

    synthetic: Annotated[Path, tyro.conf.Positional]
    """A data set of this library, a run that holds some, or a folder by label or CSV of any synthetic files."""
    real: tuple[str, ...]
    """Real data to train on: PATH, or image=PATH audio=PATH; the training split where there are splits."""
    test: tuple[str, ...]
    """Real data to test on; the test split where there are splits."""
    out: Path
    """Folder of the report."""
    modality: tuple[Literal["image", "audio"], ...] = ()
    """Which ones; all that the set has if absent."""
    features: str = "pixels"
    """Space of the fidelity measures: pixels, a timm name, NAME@FILE, or the folder of a masked autoencoder."""
    classifiers: tuple[NetworkName, ...] = ("resnet18", "convnet")
    """Networks that measure utility of pictures; none after the flag leaves it out."""
    sound_classifiers: tuple[ClassifierName, ...] = ("mfcc",)
    """Classifiers that measure utility of sounds; mfcc is logistic regression on cepstral coefficients."""
    backbone: str | None = None
    """What vit_lora starts from: a timm name, NAME@FILE, or the folder of a masked autoencoder."""
    updates: int = 100
    """Batches of every training, or the least with --until-plateau."""
    until_plateau: bool = False
    """Double the batches while that helps on a held-out fifth of the real data and takes less than 4 minutes."""
    max_side: int = 32
    """Side to which samples are reduced for classifiers other than vit_lora and mfcc."""
    seeds: int = 3
    """Trainings of each classifier on each set."""
    labels: LabelKind = "hard"
    """What is learnt of synthetic samples: hard labels, or the soft ones of a data set made with --soft-labels."""
    folds: int = 0
    """Cross-validate over so many parts of the real training data, instead of testing on --test."""
    fast: bool = False
    """One training of 20 batches of the first classifier of each kind."""
    real_split: str = "train"
    """Split of --real, where there are splits."""
    test_split: str = "test"
    """Split of --test, where there are splits."""
    seed: int = 0
    """Seed of everything; that of the training, so that what it held out is not read as training data."""


def evaluate(options: Evaluate) -> dict[str, Any]:
    """Run ``mmgen evaluate``."""
    from mmgen.artifacts.provenance import Costs
    from mmgen.assessment import evaluating
    from mmgen.assessment.reporting import add_to_report
    from mmgen.cli.tables import fidelity_table, utility_table
    from mmgen.data.sources import reading_of
    from mmgen.data.writing.unfinished import alone_in
    from mmgen.training.engine import best_device

    measures = evaluating.Measures(
        options.features,
        options.classifiers,
        options.backbone,
        sound_classifiers=options.sound_classifiers,
        until_plateau=options.until_plateau,
    )
    given = {name: getattr(options, name) for name in ("updates", "max_side", "seeds", "folds", "labels")}
    measures = replace(measures, utility=replace(measures.utility, **given))
    with alone_in(options.out, tidy=True):
        costs = Costs(best_device())
        with costs.phase("evaluate"):
            result = evaluating.evaluate(
                options.synthetic,
                options.real,
                options.test,
                options.out,
                modalities=options.modality,
                measures=measures.shortened() if options.fast else measures,
                seed=options.seed,
                reading=reading_of(options, options.out, options.seed),
                real_split=options.real_split,
                test_split=options.test_split,
            )
        # What an earlier call measured has its cost recorded already.
        cost = {} if result.reused else {"cost": costs}
        page = add_to_report(options.out, dict(result.sections) | cost, result.media())
        logger.info(
            "%s\n\n%s\n", utility_table(result.sections["utility"]), fidelity_table(result.sections["fidelity"])
        )
        logger.info("Report    %s", page)
    measured = {name: result.sections[name] for name in ("utility", "fidelity")}
    return {"out": options.out, "report": page} | measured
