"""Soft labels that a teacher gives, and classifiers that are measured on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from accelerate import Accelerator

from mmgen.data.samples import Samples
from mmgen.evaluation.teacher import TEACHERS, soft_labels
from mmgen.evaluation.training_sets import four_sets
from mmgen.evaluation.utility import UtilityConfig, utility, utility_by_folds
from mmgen.models.modality import Modality
from mmgen.training.run import Run

MODALITY = Modality("image", (1, 32, 32), (8, 8), (128.0,), (60.0,))
# A square of 32 pixels takes this network some milliseconds a step.
CONFIG = UtilityConfig("convnet", updates=10, batch_size=8, seeds=1, max_side=32, balance="sampling")
LABELS = ("bright", "dark")


def pictures(per_class: int, seed: int = 0) -> Samples:
    """Bright and dark pictures of noise."""
    labels = np.repeat([0, 1], per_class)
    noise = np.random.default_rng(seed).normal(0, 20, (2 * per_class, 1, 32, 32))
    values = 128 + 50 * (1 - 2 * labels[:, None, None, None]) + noise
    return Samples(values.clip(0, 255).astype(np.uint8), labels, LABELS, np.arange(len(labels)))


def test_a_teacher_knows_what_it_was_taught(accelerator: Accelerator) -> None:
    """And nothing else: exchanged labels exchange its probabilities."""
    train, images = pictures(12), pictures(4, seed=1)
    soft = soft_labels(MODALITY, train, images, CONFIG, Run(accelerator))
    assert soft.shape == (8, 2) and soft.dtype == np.float32 and np.allclose(soft.sum(1), 1, atol=1e-5)
    assert (soft.argmax(1) == images.labels).all() and (soft > 0).all()
    swapped = soft_labels(MODALITY, replace(train, labels=1 - train.labels), images, CONFIG, Run(accelerator))
    assert (swapped.argmax(1) == 1 - images.labels).all()
    again = soft_labels(MODALITY, train, replace(images, labels=images.labels[::-1].copy()), CONFIG, Run(accelerator))
    assert np.allclose(soft, again)  # the labels of what is labelled are not looked at


def test_every_budget_has_a_teacher_that_sees_classes_equally_often() -> None:
    assert set(TEACHERS) == {"quick", "small", "paper"}
    assert {config.balance for config in TEACHERS.values()} == {"sampling"}


def wrong(samples: Samples) -> Samples:
    """Samples with the wrong labels and the right soft ones."""
    soft = 0.1 + 0.8 * np.eye(2, dtype=np.float32)[samples.labels]
    return replace(samples, labels=1 - samples.labels, probabilities=soft)


@pytest.mark.parametrize("folds", [0, 2])
def test_soft_labels_are_measured_only_where_they_are_asked_for(accelerator: Accelerator, folds: int) -> None:
    real, test, made = pictures(12), pictures(6, seed=1), wrong(pictures(5, seed=2))
    results = {}
    for labels in ("hard", "soft"):
        config = replace(CONFIG, labels=labels, folds=folds)
        if folds:
            results[labels] = utility_by_folds(MODALITY, real, made, None, config, accelerator)
        else:
            sets = four_sets(real, made, config.max_side, config.seeds)
            results[labels] = utility(MODALITY, sets, test, config, accelerator)
    assert results["hard"]["synthetic"].auc.mean < 0.1 and results["soft"]["synthetic"].auc.mean > 0.9
    assert {entry.labels for entry in results["hard"].values()} == {None}
    soft = {name for name, entry in results["soft"].items() if entry.labels == "soft"}
    # The random real subset gets a teacher's labels too; all real data are learnt by their own.
    assert soft == {"synthetic", "real+synthetic", "random_subset"}
    assert results["soft"]["random_subset"].auc.mean > 0.9
    assert "labels" not in results["hard"]["synthetic"].to_json()
    assert results["soft"]["synthetic"].to_json()["labels"] == "soft"


def test_real_samples_are_certain_beside_soft_ones() -> None:
    real, made = pictures(3), wrong(pictures(2, seed=1))
    sets = four_sets(real, made, 32, 1)
    both = sets["real+synthetic"].probabilities
    assert np.array_equal(both[:6], np.eye(2)[real.labels]) and np.array_equal(both[6:], made.probabilities)
    assert sets["real"].probabilities is None and sets["random_subset"][0].probabilities is None
    assert four_sets(real, pictures(2), 32, 1)["real+synthetic"].probabilities is None
