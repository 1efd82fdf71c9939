"""Utility: is a synthetic set good for training? Classifiers trained on synthetic or real data, tested on real."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmgen.data.progress import progress_bar
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings, kind_of
from mmgen.errors import UserError, first_few
from mmgen.evaluation.measured import fingerprint
from mmgen.evaluation.outcomes import Outcome, classification_scores, paired_differences, summary
from mmgen.evaluation.scores import UtilityScores, with_recovery
from mmgen.evaluation.training_sets import as_draws, fold_of, four_sets, hold_out, reduced
from mmgen.models.classifiers import build_classifier
from mmgen.models.mfcc import MFCCClassifier
from mmgen.models.modality import Modality
from mmgen.names import AugmentationName, ClassifierName, LabelKind
from mmgen.training.classifier import (
    LEARNING_RATES,
    VALIDATIONS,
    ClassifierConfig,
    fit_mfcc,
    predict,
    train_classifier,
)
from mmgen.training.run import Run

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UtilityConfig:
    """How the measuring classifiers are trained; identical for every training set.

    "mfcc" is fitted to all training samples at once: of what follows only ``seeds``, ``balance`` and ``folds`` are of
    meaning for it, and only sets that are drawn at random give it other scores with another seed.

    Attributes:
        classifier: by name.
        updates: optimiser steps of every training, whatever the size of the set.
        batch_size: samples a step.
        seeds: trainings, with different initial weights and orders, that mean and deviation are taken over.
        max_side: larger samples are reduced (antialiased) so that their longer side has this many pixels; 32 at least.
        balance: see :class:`ClassifierConfig`.
        augmentation: strategy by modality; without augmentation where a modality is not named.
        validation_share: share of each training set that is held out, to keep the best weights instead of the last; of
            sets that are too small nothing is. 0: never.
        folds: parts that :func:`utility_by_folds` cuts the real data into, at least 2; 0 where
            there is a fixed test set, which :func:`utility` takes.
        sound_classifier: instead of ``classifier`` for sounds, see :meth:`of_modality`.
        labels: "soft" learns from the probabilities of sets that have some. A random real subset then gets some too,
            since a teacher's labels alone are worth much: those of this classifier, trained on the set "real".
    """

    classifier: ClassifierName = "resnet18"
    updates: int = 150
    batch_size: int = 32
    seeds: int = 3
    max_side: int = 64
    balance: Literal["none", "weights", "sampling"] = "none"
    augmentation: Mapping[str, AugmentationName] = field(default_factory=dict)
    validation_share: float = 0.0
    folds: int = 0
    sound_classifier: ClassifierName = "mfcc"
    labels: LabelKind = "hard"

    def __post_init__(self) -> None:
        # At 16 px, bf16 convolutions of torch 2.11 on a CPU gave NaN gradients in one training step of six.
        if self.max_side < 32:
            raise UserError(f"Classifiers need max_side of at least 32, got {self.max_side}.")
        if not 0 <= self.validation_share < 1 or (self.validation_share and self.updates % VALIDATIONS):
            raise UserError(
                f"validation_share lies between 0 and 1 and needs updates in multiples of {VALIDATIONS}, "
                f"got {self.validation_share} and {self.updates}."
            )
        if self.folds < 0 or self.folds == 1:
            raise UserError(f"folds is 0 (a fixed test set) or at least 2, got {self.folds}.")

    def of_classifier(self, classifier: ClassifierName, modality: Modality) -> UtilityConfig:
        """The same of another classifier; whole samples for the ViT, whose cost is that of its own input size, and for
        cepstral coefficients."""
        side = max(modality.shape[1:]) if classifier in ("vit_lora", "mfcc") else self.max_side
        return replace(self, classifier=classifier, max_side=max(side, 32))

    def of_modality(self, modality: Modality, settings: Settings) -> UtilityConfig:
        """The same of the classifier that measures this kind of files."""
        classifier = self.classifier if kind_of(settings).is_picture else self.sound_classifier
        return self.of_classifier(classifier, modality)


def has_labels(label_names: Sequence[str]) -> bool:
    """Whether there are labels to tell apart; says so where there are none."""
    if len(label_names) < 2:
        logger.warning("There is one label only: utility for classification cannot be measured.")
    return len(label_names) > 1


def train_and_predict(
    modality: Modality,
    train: Samples,
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    seed: int,
    backbone: VisionTransformer | None = None,
) -> Outcome:
    """Train one classifier on ``train`` and apply it to the files of ``test``; nothing is selected on the test data.

    Raises:
        UserError: label names that differ, one class only, or a class that training or test data lack.
    """
    if train.label_names != test.label_names:
        raise UserError(f"Training labels {train.label_names} and test labels {test.label_names} differ; rename them.")
    classes = len(train.label_names)
    if set(np.unique(test.labels)) - set(np.unique(train.labels)) or classes < 2:
        raise UserError("A classifier needs at least two labels, and every test label among the training labels.")
    if untested := [name for label, name in enumerate(test.label_names) if label not in test.labels]:
        raise UserError(
            f"There is no test sample of {first_few(untested)}, so no AUC; add some or leave the label out."
        )
    model = trained_classifier(modality, train, config, Run(accelerator, seed=seed), backbone)
    return Outcome.by_file(predict(model, modality, reduced(test, config.max_side), accelerator), test)


def trained_classifier(
    modality: Modality,
    train: Samples,
    config: UtilityConfig,
    run: Run,
    backbone: VisionTransformer | None = None,
) -> nn.Module:
    """The classifier of a configuration, trained on samples reduced to ``config.max_side``; see
    :func:`train_classifier`."""
    train = reduced(train, config.max_side)
    torch.manual_seed(run.seed)
    model = build_classifier(config.classifier, train.values.shape[1:], len(train.label_names), backbone)
    if isinstance(model, MFCCClassifier):
        return fit_mfcc(model, modality, train, config.balance != "none", run.accelerator, config.labels)
    kept, validation = hold_out(train, config.validation_share, run.seed)
    learning = ClassifierConfig(
        updates=config.updates,
        batch_size=config.batch_size,
        lr=LEARNING_RATES[config.classifier],
        balance=config.balance,
        augmentation=config.augmentation.get(modality.name, "none"),
        labels=config.labels,
    )
    return train_classifier(model, modality, kept, learning, run, validation)


def labelled_by_teacher(
    teacher: nn.Module, modality: Modality, sets: Sequence[Samples], config: UtilityConfig, accelerator: Accelerator
) -> list[Samples]:
    """Sets with the probabilities that a trained classifier gives their samples as soft labels."""
    return [
        replace(samples, probabilities=predict(teacher, modality, reduced(samples, config.max_side), accelerator))
        for samples in sets
    ]


def train_and_test(
    modality: Modality,
    train: Samples,
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    seed: int,
    backbone: VisionTransformer | None = None,
) -> dict[str, float]:
    """:func:`classification_scores` of one classifier, see :func:`train_and_predict`."""
    tested = train_and_predict(modality, train, test, config, accelerator, seed, backbone)
    return classification_scores(tested.probabilities, tested.labels)


def utility(
    modality: Modality,
    training_sets: Mapping[str, Samples | Sequence[Samples]],
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    backbone: VisionTransformer | None = None,
) -> dict[str, UtilityScores]:
    """Scores of a classifier for each training set on a fixed test set, mean and deviation over seeds.

    The interval holds the chance of training and not that of the test samples. "synthetic" has its recovery beside
    "real" and "random_subset".

    Args:
        training_sets: by name; a set that is drawn at random may come as one draw a seed, so that the deviation holds
            the chance of the draw too. :func:`mmgen.evaluation.training_sets.four_sets` makes the usual ones.
        backbone: what "vit_lora" starts from, see :func:`build_classifier`.
    """
    draws = _with_soft_subset(as_draws(training_sets, config.max_side), modality, config, accelerator, backbone)
    test = reduced(test, config.max_side)
    title = f"{config.classifier} on {modality.name}"
    outcomes = _train_all(modality, draws, test, config, accelerator, backbone, title)
    runs = {name: [[outcome] for outcome in of_seeds] for name, of_seeds in outcomes.items()}
    sizes = {name: len(drawn[0]) for name, drawn in draws.items()}
    return _scores(runs, test, sizes, _soft_sets(draws, config), modality, config)


def utility_by_folds(
    modality: Modality,
    real: Samples,
    synthetic: Samples,
    subjects: np.ndarray | None,
    config: UtilityConfig,
    accelerator: Accelerator,
    backbone: VisionTransformer | None = None,
) -> dict[str, UtilityScores]:
    """The four training sets, each tested on every one of ``config.folds`` parts of the real data.

    For each part, "real" and "random_subset" are taken from the other parts; "synthetic" is the whole synthetic set.
    **The synthetic rows are optimistic** unless the generator was trained on other people: it has seen the other parts
    and the tested one too. A fixed test set that no model has seen is the better measure and the usual one.

    Args:
        subjects: (N,) whose sample each real one is, see :meth:`.Samples.subject_numbers`; None: every file is of
            a subject of its own. A subject is in one part only.

    Returns:
        As :func:`utility`, with ``folds``. Mean, deviation and interval are over folds, of each of which the mean of
        ``config.seeds`` trainings counts; folds share training data, so the interval is rather too short. ``n_test``
        is the number of all real files, each of which is tested once a seed.

    Raises:
        UserError: fewer than two folds, a label of fewer subjects than folds, or see :func:`four_sets`.
    """
    real, synthetic = reduced(real, config.max_side), reduced(synthetic, config.max_side)
    part = fold_of(real, subjects, config.folds)
    runs: defaultdict[str, list[list[Outcome]]] = defaultdict(list)
    sizes: defaultdict[str, list[int]] = defaultdict(list)
    for fold in range(config.folds):
        sets = four_sets(real.select(part != fold), synthetic, config.max_side, config.seeds)
        draws = _with_soft_subset(as_draws(sets, config.max_side), modality, config, accelerator, backbone)
        title = f"{config.classifier} on {modality.name}, part {fold + 1} of {config.folds}"
        outcomes = _train_all(modality, draws, real.select(part == fold), config, accelerator, backbone, title)
        for name, of_seeds in outcomes.items():
            runs[name].append(of_seeds)
            sizes[name].append(len(draws[name][0]))
    means = {name: round(float(np.mean(of_folds))) for name, of_folds in sizes.items()}
    return _scores(runs, real, means, _soft_sets(draws, config), modality, config)


def _with_soft_subset(
    draws: dict[str, list[Samples]],
    modality: Modality,
    config: UtilityConfig,
    accelerator: Accelerator,
    backbone: VisionTransformer | None,
) -> dict[str, list[Samples]]:
    """The same, with soft labels for the random real subset where classifiers learn from such; see
    :class:`UtilityConfig`."""
    if config.labels == "hard" or not {"real", "random_subset"} <= draws.keys():
        return draws
    teacher = trained_classifier(modality, draws["real"][0], config, Run(accelerator), backbone)
    labelled = labelled_by_teacher(teacher, modality, draws["random_subset"], config, accelerator)
    return draws | {"random_subset": labelled}


def _soft_sets(draws: Mapping[str, Sequence[Samples]], config: UtilityConfig) -> set[str]:
    """Names of the sets whose soft labels are learnt."""
    soft = {name for name, drawn in draws.items() if drawn[0].probabilities is not None}
    return soft if config.labels == "soft" else set()


def _train_all(
    modality: Modality,
    draws: Mapping[str, Sequence[Samples]],
    test: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    backbone: VisionTransformer | None,
    description: str,
) -> dict[str, list[Outcome]]:
    """Train on each set, once a seed, and test: {training set: [one of each seed]}.

    Equal sets with equal seeds give equal classifiers, which are trained once: a random subset is often everything.
    """
    # There is no chance in fitting cepstral coefficients.
    jobs = {
        (name, seed): (fingerprint(drawn[seed % len(drawn)]), 0 if config.classifier == "mfcc" else seed)
        for name, drawn in draws.items()
        for seed in range(config.seeds)
    }
    trained: dict[tuple[str, int], Outcome] = {}
    for name, seed in progress_bar(list(jobs), total=len(jobs), description=description):
        if jobs[name, seed] not in trained:
            train = draws[name][seed % len(draws[name])]
            outcome = train_and_predict(modality, train, test, config, accelerator, seed, backbone)
            trained[jobs[name, seed]] = outcome
    return {name: [trained[jobs[name, seed]] for seed in range(config.seeds)] for name in draws}


def _scores(
    runs: Mapping[str, Sequence[Sequence[Outcome]]],
    tested: Samples,
    n_train: Mapping[str, int],
    soft: Collection[str],
    modality: Modality,
    config: UtilityConfig,
) -> dict[str, UtilityScores]:
    """Scores of every training set, with what they were measured on."""
    differences = paired_differences(runs, soft)
    scores = {
        name: replace(
            summary(of_set, tested.label_names),
            folds=config.folds or None,
            seeds=config.seeds,
            n_train=n_train[name],
            n_test=len(np.unique(tested.rows)),
            updates=None if config.classifier == "mfcc" else config.updates,
            max_side=min(config.max_side, max(modality.shape[1:])),
            labels="soft" if name in soft else None,
            **differences[name],
        )
        for name, of_set in runs.items()
    }
    if {"real", "random_subset", "synthetic"} <= scores.keys():
        scores["synthetic"] = with_recovery(scores, "synthetic", "random_subset")
    return scores
