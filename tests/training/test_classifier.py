from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from interrupting import interrupted
from tiny import same_weights
from torch import nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import build_classifier
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality
from mmgen.names import ClassifierName
from mmgen.training import classifier as module
from mmgen.training.batches import LabelledBatches
from mmgen.training.classifier import (
    LEARNING_RATES,
    ClassifierConfig,
    ClassifierTask,
    class_weights,
    predict,
    smoothed_loss,
    train_classifier,
)
from mmgen.training.engine import make_accelerator
from mmgen.training.loop import Position
from mmgen.training.run import Checkpoints, Run

SCAN = Modality("scan", (1, 4, 4), (2, 2), (100.0,), (50.0,))


def numbered(count: int = 10) -> Samples:
    """Sample i is the number i everywhere; labels alternate."""
    values = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 4, 4)).copy()
    return Samples(values, np.arange(count) % 2, ("a", "b"), np.arange(count))


def noisy(count: int = 64, seed: int = 0, signal: float = 60.0) -> Samples:
    """Noise whose mean depends on the label."""
    labels = np.arange(count) % 2
    values = np.random.default_rng(seed).normal(70, 40, (count, 1, 4, 4)) + signal * labels[:, None, None, None]
    return Samples(values.clip(0, 255).astype(np.uint8), labels, ("a", "b"), np.arange(count))


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


# -- reading


class Unread:
    """An array that notes how much of it is read at once."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.shape, self.dtype, self.read = values, values.shape, values.dtype, []

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> np.ndarray:
        self.read.append(len(self._values[index]))
        return self._values[index]


def test_samples_are_read_a_batch_at_a_time(accelerator: Accelerator) -> None:
    train = noisy()
    unread = Unread(train.values)
    config = ClassifierConfig(updates=5, batch_size=8)
    model = train_classifier(network(), SCAN, replace(train, values=unread), config, Run(accelerator))
    assert unread.read == [8] * 5
    expected = train_classifier(network(), SCAN, train, config, Run(accelerator))
    assert same_weights(model.state_dict(), expected.state_dict())
    predict(model, SCAN, replace(train, values=unread), accelerator, batch_size=10)
    assert max(unread.read) == 10


# -- loss


def test_the_first_loss_is_smoothed_cross_entropy(accelerator: Accelerator) -> None:
    train = numbered()
    task = ClassifierTask(network(), SCAN, ClassifierConfig(label_smoothing=0.1), Run(accelerator), train)
    batch = LabelledBatches(train, 4, 1, seed=0).batch(Position(0, 0, 0))
    with torch.no_grad():
        log = network().train()((batch["x"].float() - 100) / 50).log_softmax(-1)
    target = torch.full_like(log, 0.05).scatter(1, batch["label"][:, None], 0.95)
    loss = task.update(batch, Position(0, 0, 0))["loss/class"]
    assert float(loss) == pytest.approx(float(-(target * log).sum(-1).mean()), rel=1e-5)


def test_smoothing_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    loss = -(0.9 * np.log(0.5) + 0.1 * (np.log(0.5) + 2 * np.log(0.25)) / 3)
    assert float(smoothed_loss(logits, torch.tensor([0]), 0.1)) == pytest.approx(loss)
    assert float(smoothed_loss(logits, torch.tensor([0]), 0.0)) == pytest.approx(np.log(2))


def test_weights_make_classes_equal() -> None:
    labels = np.repeat([0, 1, 3], [60, 30, 10])
    weights = class_weights(labels, 4)
    assert weights[2] == 0
    sums = [float(weights[c]) * int((labels == c).sum()) for c in (0, 1, 3)]
    assert sums == pytest.approx([100 / 3] * 3, rel=1e-5)
    # Over the whole set the weighted loss is the mean of the classes' losses, also where batches have one class only.
    logits = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    loss = smoothed_loss(logits, torch.from_numpy(labels), 0.1, weights)
    alone = [smoothed_loss(logits[labels == c], torch.from_numpy(labels[labels == c]), 0.1) for c in (0, 1, 3)]
    torch.testing.assert_close(loss, torch.stack(alone).mean())
    one_class = smoothed_loss(logits[:4], torch.zeros(4, dtype=torch.long), 0.0, weights)
    torch.testing.assert_close(one_class, weights[0] * F.cross_entropy(logits[:4], torch.zeros(4, dtype=torch.long)))


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_balance_finds_the_rare_class(accelerator: Accelerator, balance: str) -> None:
    train = noisy(400, signal=25.0)
    keep = (train.labels == 0) | (np.arange(400) % 40 == 1)
    recall = {}
    for way in ("none", balance):
        config = ClassifierConfig(updates=120, lr=1e-2, balance=way)  # type: ignore[arg-type]
        model = train_classifier(network(), SCAN, train.select(keep), config, Run(accelerator))
        test = noisy(400, seed=1, signal=25.0)
        recall[way] = float((predict(model, SCAN, test, accelerator).argmax(1) == 1)[test.labels == 1].mean())
    assert recall[balance] > recall["none"] + 0.15


# -- training


def losses_of(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    losses: list[float] = []
    update = ClassifierTask.update

    def noted(self: ClassifierTask, batch: Any, position: Position) -> Any:
        scalars = update(self, batch, position)
        losses.append(float(scalars["loss/class"]))
        return scalars

    monkeypatch.setattr(ClassifierTask, "update", noted)
    return losses


def test_a_classifier_learns_and_does_the_same_again(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, train = losses_of(monkeypatch), noisy()
    config = ClassifierConfig(updates=60, batch_size=16, lr=1e-2, augmentation="radiograph")
    model, again, other = (
        train_classifier(network(), SCAN, train, config, Run(accelerator, seed=seed)) for seed in (0, 0, 1)
    )
    assert len(losses) == 180 and np.mean(losses[55:60]) < 0.75 * np.mean(losses[:5])
    assert (predict(model, SCAN, train, accelerator).argmax(1) == train.labels).mean() > 0.9
    assert same_weights(model.state_dict(), again.state_dict())
    assert not same_weights(model.state_dict(), other.state_dict())
    plain = train_classifier(network(), SCAN, train, replace(config, augmentation="none"), Run(accelerator))
    assert not same_weights(model.state_dict(), plain.state_dict())


SQUARE = Modality("image", (1, 32, 32), (8, 8), (110.0,), (60.0,))


def pictures(count: int, seed: int) -> Samples:
    """Noise with a bright vertical or horizontal bar somewhere: no mean tells them apart."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 2
    values = rng.normal(90, 25, (count, 1, 32, 32))
    for picture, label in zip(values, labels, strict=True):
        start = rng.integers(2, 22)
        bar = np.s_[:, start : start + 8, :] if label else np.s_[:, :, start : start + 8]
        picture[bar] += 110
    return Samples(values.clip(0, 255).astype(np.uint8), labels, ("vertical", "horizontal"), np.arange(count))


def encoder() -> nn.Module:
    """Random but not blind: the encoder of an untrained autoencoder."""
    torch.manual_seed(0)
    return CrossModalMAE([SQUARE], dim=32, depth=2, heads=2, decoder_dim=16, decoder_depth=1).to_timm("image")


@pytest.mark.parametrize(
    ("name", "updates"),
    [
        ("convnet", 25),
        ("vit_lora", 100),
        pytest.param("resnet18", 45, marks=pytest.mark.slow),
        pytest.param("densenet121", 20, marks=pytest.mark.slow),
    ],
)
def test_every_classifier_learns_a_planted_difference(
    name: ClassifierName, updates: int, accelerator: Accelerator
) -> None:
    torch.manual_seed(0)
    model = build_classifier(name, SQUARE.shape, 2, encoder() if name == "vit_lora" else None)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    config = ClassifierConfig(updates=updates, batch_size=16, lr=LEARNING_RATES[name])
    model = train_classifier(model, SQUARE, pictures(128, seed=0), config, Run(accelerator))
    test = pictures(64, seed=1)
    assert (predict(model, SQUARE, test, accelerator).argmax(1) == test.labels).mean() > 0.8
    if name == "vit_lora":
        after = model.state_dict()
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert changed == {key for key in before if "lora_" in key or "modules_to_save" in key}


def test_bf16_trains_every_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    losses = losses_of(monkeypatch)
    model = build_classifier("convnet", SQUARE.shape, 2)
    config = ClassifierConfig(updates=12, batch_size=16, augmentation="lesion")
    train_classifier(model, SQUARE, pictures(32, seed=0), config, Run(make_accelerator("bf16")))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert np.isfinite(losses).all() and all(p.dtype == torch.float32 for p in model.parameters())


# -- selection


class Scripted(ClassifierTask):
    """Validation scores by script; notes the weights that each belongs to."""

    scores: tuple[float, ...] = ()
    seen: list[dict[str, torch.Tensor]] = []  # noqa: RUF012

    def validate(self, model: nn.Module) -> dict[str, float]:
        Scripted.seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return {"score": self.scores[len(Scripted.seen) - 1]}


@pytest.mark.parametrize("best", [0, 4, 9])
@pytest.mark.parametrize("in_a_folder", [False, True])
def test_the_best_weights_are_kept(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_a_folder: bool, best: int
) -> None:
    Scripted.seen, scores = [], [1.0] * 10
    scores[best] = 0.5
    monkeypatch.setattr(Scripted, "scores", tuple(scores))
    monkeypatch.setattr(module, "ClassifierTask", Scripted)
    folder = tmp_path / "klassifikator Ü" if in_a_folder else None
    config = ClassifierConfig(updates=20, batch_size=8)
    model = train_classifier(network(), SCAN, noisy(), config, Run(accelerator, folder), noisy(16, seed=1))
    assert len(Scripted.seen) == 10
    assert same_weights(model.state_dict(), Scripted.seen[best])
    assert not same_weights(model.state_dict(), Scripted.seen[best - 1])


def test_of_a_network_that_learns_by_heart_better_weights_than_the_last_are_kept(accelerator: Accelerator) -> None:
    def flawed(count: int, seed: int, wrong: float) -> Samples:
        rng, labels = np.random.default_rng(seed), np.arange(count) % 2
        values = rng.normal(100, 50, (count, 1, 4, 4)) + 15 * (2 * labels - 1)[:, None, None, None]
        labels = np.where(rng.random(count) < wrong, 1 - labels, labels)
        return Samples(values.clip(0, 255).astype(np.uint8), labels, ("a", "b"), np.arange(count))

    def memory() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 2))

    train, held, test = flawed(64, 0, 0.25), flawed(100, 1, 0.25), flawed(400, 2, 0.0)
    config = ClassifierConfig(updates=400, lr=1e-2, schedule="constant", label_smoothing=0.0)
    loss = {}
    for name, validation in (("last", None), ("best", held)):
        probabilities = predict(
            train_classifier(memory(), SCAN, train, config, Run(accelerator), validation), SCAN, test, accelerator
        )
        loss[name] = -np.log(probabilities[np.arange(400), test.labels]).mean()
    assert loss["best"] < 0.8 * loss["last"]


def test_without_a_validation_part_the_last_weights_are_kept(accelerator: Accelerator, tmp_path: Path) -> None:
    config = ClassifierConfig(updates=7, batch_size=8)
    model = train_classifier(network(), SCAN, noisy(), config, Run(accelerator, tmp_path))
    assert same_weights(model.state_dict(), Checkpoints(tmp_path / "checkpoints").load()["model"])
    assert not Checkpoints(tmp_path / "checkpoints").best.exists()
    task = ClassifierTask(network(), SCAN, config, Run(accelerator), noisy())
    assert task.validate(task.model) == task.describe() == task.preview(task.model) == {}


def test_looking_does_not_change_the_training(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = losses_of(monkeypatch)
    config = ClassifierConfig(updates=20, batch_size=8, augmentation="lesion")
    for validation in (None, noisy(16, seed=1)):
        train_classifier(network(), SCAN, noisy(), config, Run(accelerator), validation)
    assert losses[:20] == losses[20:]


def test_validation_scores_by_hand(accelerator: Accelerator) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log(torch.tensor([[0.8, 0.2]])).expand(len(x), 2) + 0 * self.weight

    held = noisy(20).select(np.r_[0:20:2, 1, 3])  # ten of one class, two of the other
    task = ClassifierTask(Fixed(), SCAN, ClassifierConfig(), Run(accelerator), noisy(), held)
    scores = task.validate(task.model)
    assert scores == pytest.approx({"score": -(np.log(0.8) + np.log(0.2)) / 2, "balanced_accuracy": 0.5}, rel=1e-5)


def test_updates_that_cannot_be_shared_out_are_refused(accelerator: Accelerator) -> None:
    with pytest.raises(UserError, match="must be a multiple of 10, got 25"):
        train_classifier(network(), SCAN, noisy(), ClassifierConfig(updates=25), Run(accelerator), noisy())
    with pytest.raises(UserError, match="needs updates and a batch, got 0 and 32"):
        ClassifierConfig(updates=0)


# -- resuming


@pytest.mark.parametrize("stop", [1, 8, 13])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    accelerator: Accelerator, tmp_path: Path, stop: int
) -> None:
    config = ClassifierConfig(updates=20, batch_size=6, balance="sampling", augmentation="lesion")

    def train(folder: Path | None, resume: bool = False, samples: Samples | None = None) -> nn.Module:
        run = Run(accelerator, folder, resume)
        return train_classifier(network(), SCAN, samples or noisy(), config, run, noisy(16, seed=1))

    expected, in_memory = train(tmp_path / "whole"), train(None)
    assert same_weights(expected.state_dict(), in_memory.state_dict())
    with interrupted(ClassifierTask, stop, of=20):
        train(tmp_path / "stopped")
    model = train(tmp_path / "stopped", resume=True)
    assert same_weights(model.state_dict(), expected.state_dict())
    with pytest.raises(UserError, match="other settings or data"):
        train(tmp_path / "stopped", True, noisy(62))


# -- prediction


def test_probabilities_do_not_depend_on_the_batch(accelerator: Accelerator) -> None:
    model, samples = network().train(), noisy(11)
    whole, parts = (predict(model, SCAN, samples, accelerator, batch_size=size) for size in (128, 2))
    assert whole.shape == (11, 2) and not model.training
    np.testing.assert_allclose(whole.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    with torch.no_grad():
        expected = model((torch.from_numpy(samples.values).float() - 100) / 50).softmax(-1)
    np.testing.assert_allclose(whole, expected.numpy(), atol=1e-6)


# -- soft labels


def certain(samples: Samples, labels: np.ndarray | None = None) -> Samples:
    """Samples with probabilities of 1 for these labels, their own if there are none."""
    labels = samples.labels if labels is None else labels
    return replace(samples, probabilities=np.eye(2, dtype=np.float32)[labels])


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_certain_soft_labels_are_hard_ones(accelerator: Accelerator, balance: str) -> None:
    train = noisy(32).select(np.arange(24))
    config = ClassifierConfig(updates=4, batch_size=8, balance=balance)  # type: ignore[arg-type]
    hard = train_classifier(network(), SCAN, train, config, Run(accelerator))
    soft = train_classifier(network(), SCAN, certain(train), replace(config, labels="soft"), Run(accelerator))
    for one, other in zip(hard.state_dict().values(), soft.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_loss_of_soft_labels_by_hand() -> None:
    logits, target = torch.log(torch.tensor([[0.5, 0.25, 0.25]])), torch.tensor([[0.2, 0.7, 0.1]])
    loss = -(0.2 * np.log(0.5) + 0.8 * np.log(0.25))
    assert float(smoothed_loss(logits, target, 0.0)) == pytest.approx(loss)
    weights = torch.tensor([1.0, 2.0, 4.0])
    assert float(smoothed_loss(logits, target, 0.0, weights)) == pytest.approx(2.0 * loss)


def test_soft_labels_are_learnt_only_where_they_are_asked_for(accelerator: Accelerator) -> None:
    """Probabilities say the opposite of the labels."""
    train, test = noisy(), noisy(seed=1)
    opposite = certain(train, 1 - train.labels)
    config = ClassifierConfig(updates=60, lr=1e-2)
    right = {}
    for labels in ("hard", "soft"):
        model = train_classifier(network(), SCAN, opposite, replace(config, labels=labels), Run(accelerator))
        right[labels] = (predict(model, SCAN, test, accelerator).argmax(1) == test.labels).mean()
    assert right["hard"] > 0.8 and right["soft"] < 0.2
    model = train_classifier(network(), SCAN, train, replace(config, labels="soft"), Run(accelerator))
    assert (predict(model, SCAN, test, accelerator).argmax(1) == test.labels).mean() > 0.8  # there are none


def test_a_training_is_not_resumed_on_other_soft_labels(accelerator: Accelerator, tmp_path: Path) -> None:
    config = ClassifierConfig(updates=2, batch_size=8, labels="soft")
    train_classifier(network(), SCAN, certain(noisy()), config, Run(accelerator, tmp_path))
    again = Run(accelerator, tmp_path, resume=True)
    with pytest.raises(UserError, match="resume"):
        train_classifier(network(), SCAN, certain(noisy(), 1 - noisy().labels), config, again)
