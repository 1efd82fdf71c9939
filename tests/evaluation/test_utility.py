from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score, roc_auc_score
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmgen.data.audio import log_mel_segments
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.phantoms import phantom_cough
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation import utility as module
from mmgen.evaluation.utility import (
    Outcome,
    UtilityConfig,
    classification_scores,
    summary,
    train_and_predict,
    train_and_test,
    utility,
)
from mmgen.models.modality import Modality
from mmgen.training import classifier as training
from mmgen.training.classifier import ClassifierConfig, ClassifierTask, train_classifier

SOUND = AudioSettings()


def coughs(seed: int, per_class: int) -> Samples:
    """Log-mels of the first second of phantom coughs."""
    labels = np.repeat([0, 1], per_class)
    waves = [phantom_cough(label, np.random.default_rng([seed, i])) for i, label in enumerate(labels)]
    values = np.stack([log_mel_segments(wave, SOUND)[0] for wave in waves])
    return Samples(values, labels, ("covid", "healthy"), np.arange(len(labels)))


@pytest.fixture(scope="module")
def train() -> Samples:
    return coughs(1, 96)


@pytest.fixture(scope="module")
def test() -> Samples:
    return coughs(2, 60)


@pytest.fixture(scope="module")
def modality(train: Samples) -> Modality:
    values = train.values.astype(np.float64)
    return Modality("audio", SOUND.shape, (10, 10), (float(values.mean()),), (float(values.std()),))


# -- scores


def test_scores_are_those_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 4):
        labels = rng.integers(0, classes, 200)
        probabilities = rng.dirichlet(np.ones(classes), 200) + 0.4 * np.eye(classes)[labels]
        probabilities /= probabilities.sum(1, keepdims=True)
        predicted = probabilities.argmax(1)
        options: dict[str, Any] = {} if classes == 2 else {"multi_class": "ovr", "average": "macro"}
        scores = classification_scores(probabilities, labels)
        assert scores == pytest.approx(
            {
                "accuracy": accuracy_score(labels, predicted),
                "balanced_accuracy": balanced_accuracy_score(labels, predicted),
                "auc": roc_auc_score(labels, probabilities[:, 1] if classes == 2 else probabilities, **options),
            }
        )


def test_scores_by_hand() -> None:
    labels = np.array([0, 0, 0, 1])
    always_first = np.array([[0.9, 0.1]] * 4)
    assert classification_scores(always_first, labels) == {"accuracy": 0.75, "balanced_accuracy": 0.5, "auc": 0.5}
    perfect = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    assert classification_scores(perfect, labels) == {"accuracy": 1.0, "balanced_accuracy": 1.0, "auc": 1.0}
    # Ranks right but threshold wrong: the one positive is called negative.
    timid = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    assert classification_scores(timid, labels) == {"accuracy": 0.75, "balanced_accuracy": 0.5, "auc": 1.0}


# -- training


def shuffled(samples: Samples, seed: int) -> Samples:
    """The same sounds; a random half of each label's have the other one."""
    labels, rng = samples.labels.copy(), np.random.default_rng(seed)
    for label in (0, 1):
        members = rng.permutation(np.flatnonzero(samples.labels == label))
        labels[members[::2]] = 1 - label
    return Samples(samples.values, labels, samples.label_names, samples.rows)


@pytest.mark.timeout(300)
def test_a_network_tells_phantoms_apart(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    scores = train_and_test(modality, train, test, UtilityConfig(updates=24, max_side=32), accelerator, seed=0)
    assert scores["auc"] > 0.75 and scores["accuracy"] > 0.55


@pytest.mark.slow
def test_a_network_makes_nothing_of_shuffled_labels(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    check_shuffled(modality, train, test, accelerator, UtilityConfig(updates=40, max_side=48, seeds=1), shuffles=4)


def check_shuffled(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator, config: UtilityConfig, shuffles: int
) -> None:
    others = {f"shuffled {seed}": shuffled(train, seed) for seed in range(shuffles)}
    results = utility(modality, {"real": train, **others}, test, config, accelerator)
    assert results["real"].auc.mean > 0.8
    assert results["real"].balanced_accuracy.mean > 0.65
    assert 0.35 < np.mean([results[name].auc.mean for name in others]) < 0.65
    assert 0.4 < np.mean([results[name].balanced_accuracy.mean for name in others]) < 0.6
    conditions = ["recall", "confusion", "seeds", "n_train", "n_test", "updates", "max_side"]
    for result in results.values():
        entry = result.to_json()
        assert list(entry) == ["accuracy", "balanced_accuracy", "auc", *conditions]
        assert entry["seeds"] == config.seeds and entry["n_train"] == len(train)
        assert all(entry[score].keys() == {"mean", "std"} for score in ("accuracy", "balanced_accuracy", "auc"))


class Counted(ClassifierTask):
    """Notes what it is trained with; a linear model is enough."""

    sizes: list[int] = []  # noqa: RUF012

    def update(self, batch: Any, position: Any) -> Any:
        Counted.sizes.append(len(batch["label"]))
        return super().update(batch, position)


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> None:
    Counted.sizes = []
    monkeypatch.setattr(training, "ClassifierTask", Counted)
    monkeypatch.setattr(module, "build_classifier", make_linear)


def make_linear(name: str, shape: tuple[int, int, int], classes: int, backbone: Any) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(64 * shape[0], classes))


@pytest.mark.usefixtures("linear")
def test_labels_that_mean_something_are_learnt_and_others_are_not(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    check_shuffled(modality, train, test, accelerator, UtilityConfig(updates=100, max_side=32, seeds=1), shuffles=6)


@pytest.mark.usefixtures("linear")
@pytest.mark.parametrize("count", [4, 10, 32, 33, 100, 192])
def test_every_training_set_gets_the_same_number_of_updates(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator, count: int
) -> None:
    chosen = train.select(np.linspace(0, len(train) - 1, count).astype(int))
    train_and_test(modality, chosen, test, UtilityConfig(updates=7, batch_size=32), accelerator, seed=0)
    assert Counted.sizes == [min(32, count)] * 7


@pytest.mark.usefixtures("linear")
def test_a_result_is_a_function_of_the_seed(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    config = UtilityConfig(updates=5, seeds=3)
    first, again = (utility(modality, {"real": train}, test, config, accelerator)["real"] for _ in range(2))
    assert first == again
    aucs = [train_and_test(modality, train, test, config, accelerator, seed)["auc"] for seed in range(3)]
    assert len(set(aucs)) == 3
    assert first.auc.mean == pytest.approx(np.mean(aucs))
    assert first.auc.std == pytest.approx(np.std(aucs, ddof=1))
    assert first.auc.ci95 == pytest.approx(interval(aucs))
    alone = utility(modality, {"a": train}, test, UtilityConfig(updates=2, seeds=1), accelerator)["a"].auc
    assert alone.ci95 is None and alone.std == 0


@pytest.mark.usefixtures("linear")
def test_equal_sets_are_learnt_once_a_seed_with_the_scores_of_two_trainings(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    config = UtilityConfig(updates=5, seeds=2)
    copy = Samples(train.values[:].copy(), train.labels.copy(), train.label_names, train.rows.copy())
    swapped = Samples(train.values, 1 - train.labels, train.label_names, train.rows)
    sets = {"real": train, "random_subset": [copy, copy], "swapped": swapped}
    scores = utility(modality, sets, test, config, accelerator)
    assert len(Counted.sizes) == 2 * 2 * 5  # what differs by labels alone is learnt
    alone = {name: utility(modality, {name: sets[name]}, test, config, accelerator)[name] for name in sets}
    assert {name: entry.auc for name, entry in scores.items()} == {name: entry.auc for name, entry in alone.items()}
    assert scores["real"].auc == scores["random_subset"].auc != scores["swapped"].auc


def interval(values: list[float]) -> list[float]:
    """Student's, by scipy."""
    return list(stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values)))


@pytest.mark.usefixtures("linear")
def test_recalls_and_confusions_are_those_of_sklearn(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    config = UtilityConfig(updates=5, seeds=2)
    entry = utility(modality, {"real": train}, test, config, accelerator)["real"].to_json()
    tested = [train_and_predict(modality, train, test, config, accelerator, seed) for seed in range(2)]
    predicted = [t.probabilities.argmax(1) for t in tested]
    counts = sum(confusion_matrix(test.labels, p) for p in predicted)
    assert entry["confusion"] == {"labels": ["covid", "healthy"], "counts": counts.tolist()}
    assert np.sum(entry["confusion"]["counts"]) == 2 * len(test)
    recalls = np.array([recall_score(test.labels, p, average=None) for p in predicted])
    assert [entry["recall"][name]["mean"] for name in test.label_names] == pytest.approx(recalls.mean(0))
    assert [entry["recall"][name]["std"] for name in test.label_names] == pytest.approx(recalls.std(0, ddof=1))


def test_rows_of_a_confusion_are_true_labels() -> None:
    tested = Outcome(np.eye(3)[[1, 1, 2, 0]], np.array([0, 0, 2, 1]))
    result = summary([[tested, tested]], ("a", "b", "c"))
    assert result.confusion.counts == ((0, 4, 0), (2, 0, 0), (0, 0, 2))
    assert {name: recall.mean for name, recall in result.recall.items()} == {"a": 0, "b": 0, "c": 1}


def test_what_is_trained_several_times_in_one_run_counts_by_its_mean() -> None:
    right, wrong = (Outcome(np.eye(2)[predicted], np.array([0, 1])) for predicted in ([0, 1], [1, 0]))
    result = summary([[right, wrong], [right, right]], ("a", "b"))
    assert result.accuracy.mean == 0.75 and result.accuracy.std == pytest.approx(np.std([0.5, 1], ddof=1))
    assert result.recall["a"].mean == 0.75


@pytest.mark.usefixtures("linear")
def test_recovery_stands_with_the_synthetic_set(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    config = UtilityConfig(updates=40, seeds=1)
    few = train.select([0, 100])
    entries = utility(modality, {"real": train, "random_subset": few, "synthetic": few}, test, config, accelerator)
    assert entries["synthetic"].recovery == 0.0  # the same two samples, by the same seed
    assert all("recovery" not in entries[name].to_json() for name in ("real", "random_subset"))
    alone = utility(modality, {"real": few, "synthetic": few}, test, config, accelerator)["synthetic"]
    assert alone.recovery is None and "recovery" not in alone.to_json()


@pytest.mark.usefixtures("linear")
def test_a_label_that_is_never_tested_is_refused(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    with pytest.raises(UserError, match="no test sample of covid"):
        train_and_test(modality, train, test.select(test.labels == 1), UtilityConfig(updates=1), accelerator, 0)


@pytest.mark.usefixtures("linear")
def test_test_labels_that_training_lacks_are_refused(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    with pytest.raises(UserError, match="every test label among the training labels"):
        train_and_test(modality, train.select(train.labels == 0), test, UtilityConfig(updates=1), accelerator, 0)


@pytest.mark.usefixtures("linear")
def test_settings_reach_the_training(
    modality: Modality,
    train: Samples,
    test: Samples,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[ClassifierConfig, int, int, int | None]] = []

    def noted(model: Any, modality: Any, kept: Samples, config: Any, run: Any, validation: Samples | None) -> Any:
        seen.append((config, run.seed, len(kept), None if validation is None else len(validation)))
        return train_classifier(model, modality, kept, config, run, validation)

    monkeypatch.setattr(module, "train_classifier", noted)
    augmentation = {"audio": "spectrogram", "image": "radiograph"}
    for classifier, lr in (("convnet", 1e-3), ("vit_lora", training.LEARNING_RATES["vit_lora"])):
        config = UtilityConfig(
            classifier=classifier,
            updates=10,
            balance="sampling",
            augmentation=augmentation,  # type: ignore[arg-type]
            validation_share=0.25,
        )
        train_and_test(modality, train, test, config, accelerator, seed=3)
        expected = ClassifierConfig(10, 32, lr, balance="sampling", augmentation="spectrogram")
        assert seen.pop() == (expected, 3, 144, 48)
    few = train.select(np.r_[0:12, 96:108])  # three of a label would be held out
    train_and_test(modality, few, test, UtilityConfig(updates=10, validation_share=0.25), accelerator, seed=0)
    assert seen.pop() == (ClassifierConfig(10), 0, 24, None)


def test_a_backbone_reaches_the_network(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    torch.manual_seed(0)
    backbone = VisionTransformer(32, 16, 3, num_classes=0, embed_dim=16, depth=1, num_heads=2)
    config = UtilityConfig(classifier="vit_lora", updates=2, seeds=2, max_side=40)
    scores = utility(modality, {"real": train}, test, config, accelerator, backbone)["real"]
    assert 0 <= scores.auc.mean <= 1 and scores.auc.std > 0
    with pytest.raises(UserError, match="vit_lora adapts a pretrained Vision Transformer"):
        utility(modality, {"real": train}, test, config, accelerator)


@pytest.mark.parametrize(
    "options", [{"max_side": 16}, {"validation_share": 1.0}, {"validation_share": -0.1}, {"folds": 1}, {"folds": -2}]
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        UtilityConfig(**options)
    with pytest.raises(UserError, match=r"needs updates in multiples of 10, got 0\.2 and 155"):
        UtilityConfig(updates=155, validation_share=0.2)
