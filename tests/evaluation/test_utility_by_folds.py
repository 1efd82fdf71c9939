from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from mmgen.data.samples import Samples
from mmgen.evaluation import utility as module
from mmgen.evaluation.utility import Outcome, UtilityConfig, utility_by_folds
from mmgen.models.modality import Modality

MODALITY = Modality("image", (1, 32, 32), (8, 8), (127.5,), (64.0,))
NAMES = ("a", "b")


def images(per_class: tuple[int, int], seed: int = 0, names: tuple[str, str] = NAMES) -> Samples:
    """Class a is dark and class b bright."""
    rng, labels = np.random.default_rng(seed), np.repeat([0, 1], per_class)
    values = (rng.normal(0, 40, (len(labels), 1, 32, 32)) + np.array([90, 160])[labels][:, None, None, None]).clip(
        0, 255
    )
    return Samples(values.astype(np.uint8), labels, names, np.arange(len(labels)))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Samples, Samples, int]]:
    """Trainings: training samples, test samples, seed; the classifier is always right."""
    calls = []

    def oracle(modality: Any, train: Samples, test: Samples, config: Any, engine: Any, seed: int, *_: Any) -> Outcome:
        calls.append((train, test, seed))
        return Outcome(np.eye(2)[test.labels], test.labels)

    monkeypatch.setattr(module, "train_and_predict", oracle)
    return calls


def test_every_part_is_tested_by_what_the_others_teach(seen: list, accelerator: Accelerator) -> None:
    real, made = images((12, 9)), images((4, 2), 1, ("B", "A"))
    subjects = np.arange(21) // 2
    config = UtilityConfig(seeds=2, folds=3, max_side=32)
    entries = utility_by_folds(MODALITY, real, made, subjects, config, accelerator)
    assert list(entries) == ["real", "synthetic", "real+synthetic", "random_subset"]
    assert len(seen) == 3 * 4 * 2
    by_set = {name: [seen[8 * fold + 2 * place] for fold in range(3)] for place, name in enumerate(entries)}
    tested = np.concatenate([test.rows for _, test, _ in by_set["real"]])
    assert sorted(tested) == list(range(21))  # every real sample once
    for train, test, _ in by_set["real"]:
        assert set(train.rows) | set(test.rows) == set(range(21))
        assert not set(subjects[train.rows]) & set(subjects[test.rows])
    for (train, _, _), (subset, test, _) in zip(by_set["real"], by_set["random_subset"], strict=True):
        assert set(subset.rows) <= set(train.rows) and not set(subset.rows) & set(test.rows)
        assert np.bincount(subset.labels).tolist() == [2, 4]  # the synthetic set's labels are in another order
    assert all(np.array_equal(train.values, made.values) for train, _, _ in by_set["synthetic"])
    entry = entries["real"].to_json()
    assert (entry["folds"], entry["seeds"], entry["n_train"], entry["n_test"]) == (3, 2, 14, 21)
    assert entry["confusion"]["counts"] == [[24, 0], [0, 18]]  # every sample, once a seed
    assert entry["auc"] == {"mean": 1.0, "std": 0.0}
    assert np.isnan(entries["synthetic"].recovery)  # the subset is as good as everything


def test_a_real_classifier_tells_good_sets_from_mislabelled_ones(accelerator: Accelerator) -> None:
    """Planted: the synthetic set has the labels of the other class."""
    real, made = images((16, 16)), images((8, 8), 1)
    swapped = Samples(made.values, 1 - made.labels, NAMES, made.rows)
    config = UtilityConfig(classifier="convnet", updates=8, batch_size=8, seeds=1, folds=2, max_side=32)
    entries = utility_by_folds(MODALITY, real, swapped, None, config, accelerator)
    assert entries["real"].auc.mean > 0.9 and entries["random_subset"].auc.mean > 0.9
    assert entries["synthetic"].auc.mean < 0.3
