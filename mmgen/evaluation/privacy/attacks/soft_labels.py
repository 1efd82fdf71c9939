"""Membership inference from soft labels: a student trained on them inherits what their teacher memorised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmgen.data.manifest import label_key
from mmgen.data.samples import Samples
from mmgen.evaluation.measured import fingerprint
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores
from mmgen.evaluation.privacy.sides import Side
from mmgen.evaluation.training_sets import reduced
from mmgen.evaluation.utility import UtilityConfig, trained_classifier
from mmgen.models.modality import Modality
from mmgen.models.teacher import Teacher
from mmgen.training.classifier import predict
from mmgen.training.engine import make_accelerator
from mmgen.training.run import Run

_SIDE = 64  # samples that the student sees are reduced to this
_STEPS = (-1, 0, 1)
_SHIFT = 32  # a record is moved by this part of its sides


def student_of(modality: Modality, labelled: Samples, updates: int, seed: int) -> Teacher:
    """A ConvNet trained on the soft labels of a synthetic set, for samples reduced to 64 pixels.

    Args:
        labelled: synthetic samples with soft labels.
        updates: optimiser steps.
    """
    config = UtilityConfig("convnet", updates=updates, max_side=_SIDE, labels="soft")
    student = trained_classifier(modality, labelled, config, Run(make_accelerator(), seed=seed))
    return Teacher(student, modality, labelled.label_names)


def membership_scores(asked: Teacher, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """How a classifier takes records for what they are, higher is more like a member; (N,) each.

    * Confidence: log-probability of the true label (Yeom et al. 2018).
    * Label alone: whether it is right, and in what share of nine small shifts (Choquette-Choo et al. 2021).

    Labels are matched by name; of a record whose label is unknown there, the most probable one counts.
    """
    accelerator = make_accelerator()
    network = asked.network.to(accelerator.device)
    probabilities = predict(network, asked.modality, samples, accelerator)
    places = {label_key(name): place for place, name in enumerate(asked.class_names)}
    known = np.array([places.get(label_key(name), -1) for name in samples.label_names])[samples.labels]
    true = np.where(known < 0, probabilities.argmax(1), known)
    confidence = np.log(probabilities[np.arange(len(samples)), true].clip(1e-12))
    values = np.asarray(samples.values[:])
    down, right = (max(1, side // _SHIFT) for side in values.shape[2:])
    right_shifts = np.zeros(len(samples))
    for shift in ((down * y, right * x) for y in _STEPS for x in _STEPS):
        moved = replace(samples, values=np.roll(values, shift, (2, 3)))
        right_shifts += predict(network, asked.modality, moved, accelerator).argmax(1) == true
    return confidence, (probabilities.argmax(1) == true) + right_shifts / len(_STEPS) ** 2


def attacked(key: str, asked: Teacher, name: str, sides: Sequence[Side]) -> dict[str, Scores]:
    """Scores of both attacks on members and non-members, under ``key`` and ``key_label_only``."""
    scores = [membership_scores(asked, side.samples[name]) for side in sides]
    subjects = [side.subjects.get(name) for side in sides]
    return {
        entry: Scores(*pair, *subjects)
        for entry, pair in zip((key, f"{key}_label_only"), zip(*scores, strict=True), strict=True)
    }


def run(case: Case) -> dict[str, Scores]:
    """The attack on one modality."""
    evidence, name = case.evidence, case.name
    labelled = evidence.soft_labels[name]
    student = student_of(evidence.modalities[name], labelled, case.effort.student, case.seed)
    sides = [replace(side, samples={name: reduced(side.samples[name], _SIDE)}) for side in case.sides]
    return attacked("soft_labels", student, name, sides)


ATTACK = Attack(
    (
        Kind("soft_labels", "confidence of a student of the soft labels"),
        Kind("soft_labels_label_only", "labels of a student of the soft labels"),
    ),
    run,
    needs=("soft_labels",),
    settings=lambda case: {"updates": case.effort.student, "labels": fingerprint(case.evidence.soft_labels[case.name])},
    threat="S",
    may_fail=True,
)
