from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from torch import nn

from mmgen.data.audio import AudioSettings, log_mel_segments
from mmgen.data.phantoms import phantom_cough
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation import utility as module
from mmgen.evaluation.utility import UtilityConfig, as_input, classification_scores, train_and_test, utility
from mmgen.models.classifiers import build_classifier
from mmgen.models.modality import Modality
from mmgen.training.classifier import ClassifierTask
from mmgen.training.engine import make_accelerator

SOUND = AudioSettings()


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield make_accelerator("no")
    AcceleratorState._reset_state(reset_partial_state=True)


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
    found = utility(modality, {"real": train, **others}, test, config, accelerator)
    assert found["real"]["auc"]["mean"] > 0.8
    assert found["real"]["balanced_accuracy"]["mean"] > 0.65
    assert 0.35 < np.mean([found[name]["auc"]["mean"] for name in others]) < 0.65
    assert 0.4 < np.mean([found[name]["balanced_accuracy"]["mean"] for name in others]) < 0.6
    conditions = {"seeds", "n_train", "n_test", "updates", "max_side"}
    for entry in found.values():
        assert entry.keys() == {"accuracy", "balanced_accuracy", "auc"} | conditions
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
    monkeypatch.setattr(module, "ClassifierTask", Counted)
    monkeypatch.setattr(module, "build_classifier", make_linear)


def make_linear(name: str, channels: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(64 * channels, classes))


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
    assert first["auc"] == pytest.approx({"mean": np.mean(aucs), "std": np.std(aucs, ddof=1)})
    assert utility(modality, {"a": train}, test, UtilityConfig(updates=2, seeds=1), accelerator)["a"]["auc"]["std"] == 0


@pytest.mark.usefixtures("linear")
def test_test_labels_that_training_lacks_are_refused(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    with pytest.raises(UserError, match="every test label among the training labels"):
        train_and_test(modality, train.select(train.labels == 0), test, UtilityConfig(updates=1), accelerator, 0)


# -- inputs and networks


def test_inputs_are_normalised_and_no_longer_than_allowed() -> None:
    modality = Modality("audio", (1, 100, 50), (10, 10), (-6.0,), (2.0,))
    values = np.random.default_rng(0).normal(-6, 2, (300, 1, 100, 50)).astype(np.float16)
    samples = Samples(values, np.zeros(300, dtype=np.int64), ("a", "b"), np.arange(300))
    whole, small = as_input(modality, samples, 100), as_input(modality, samples, 25)
    assert whole.shape == (300, 1, 100, 50) and small.shape[-2:] in {(25, 12), (25, 13)}
    np.testing.assert_allclose(whole.numpy(), (values.astype(np.float32) + 6) / 2, atol=1e-5)
    assert abs(float(small.mean()) - float(whole.mean())) < 0.01  # reduced by averaging
    assert as_input(modality, samples, 400).shape == whole.shape  # never enlarged


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 5)])
def test_resnet_takes_channels_and_classes(channels: int, classes: int) -> None:
    model = build_classifier("resnet18", channels, classes).eval()
    assert model(torch.zeros(2, channels, 32, 24)).shape == (2, classes)


def test_an_unknown_classifier_is_refused() -> None:
    with pytest.raises(UserError, match="Unknown classifier 'vgg'"):
        build_classifier("vgg", 1, 2)  # type: ignore[arg-type]
