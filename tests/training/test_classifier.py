from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny import same_weights
from torch import nn

from mmgen.training.classifier import ClassifierConfig, ClassifierTask, LabelledBatches, predict
from mmgen.training.loop import Loop, LoopConfig, Position


def batches(count: int = 10, batch_size: int = 4, updates: int = 9, seed: int = 0) -> LabelledBatches:
    """Sample i is the number i everywhere."""
    x = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    return LabelledBatches(x, np.arange(count) % 2, batch_size, updates, seed)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


def drawn(source: LabelledBatches, **options: int) -> list[list[int]]:
    positions = [Position(0, step, step, **options) for step in range(source.steps_per_epoch)]
    return [source.batch(position)["x"][:, 0, 0, 0].int().tolist() for position in positions]


def test_no_sample_comes_again_before_all_have_come() -> None:
    source = batches(count=12, batch_size=4, updates=9)
    order = [index for batch in drawn(source) for index in batch]
    rounds = [tuple(order[start : start + 12]) for start in (0, 12, 24)]
    assert all(sorted(each) == list(range(12)) for each in rounds)
    assert len(set(rounds)) == 3


@pytest.mark.parametrize("count", [1, 3, 4, 5, 10, 100])
def test_length_and_batches_do_not_depend_on_the_number_of_samples(count: int) -> None:
    source = batches(count, batch_size=4, updates=6)
    assert source.steps_per_epoch == 6
    assert [len(batch) for batch in drawn(source)] == [min(4, count)] * 6
    seen = {index for batch in drawn(source) for index in batch}
    assert len(seen) >= min(count, 6 * 4)


def test_labels_stay_with_their_samples() -> None:
    source = batches()
    for step in range(9):
        batch = source.batch(Position(0, step, step))
        assert torch.equal(batch["x"][:, 0, 0, 0].long() % 2, batch["label"])


def test_batches_are_a_function_of_seed_and_update_alone() -> None:
    assert drawn(batches()) == drawn(batches())
    assert drawn(batches(seed=1)) != drawn(batches())
    # The measuring classifier is trained by one process of many, on whole batches.
    assert drawn(batches(), rank=1, world=2) == drawn(batches())


def learn(accelerator: Accelerator, seed: int = 0, updates: int = 60) -> tuple[nn.Module, list[float]]:
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(64) % 2
    x = torch.randn(64, 1, 4, 4, generator=generator) + 2.0 * torch.from_numpy(labels).view(-1, 1, 1, 1)
    task = ClassifierTask(network(), ClassifierConfig(lr=1e-2), accelerator)
    losses: list[float] = []
    update = task.update
    task.update = lambda batch, position: (  # type: ignore[method-assign]
        scalars := update(batch, position),
        losses.append(float(scalars["loss/class"])),
    )[0]
    Loop(task, LabelledBatches(x, labels, 16, updates, seed), LoopConfig(1, seed=seed), accelerator).run()
    right = predict(task.model, x, accelerator).argmax(1) == labels
    assert right.mean() > 0.9
    return task.model, losses


def test_a_classifier_learns_and_does_the_same_again(accelerator: Accelerator) -> None:
    model, losses = learn(accelerator)
    assert len(losses) == 60 and np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    again, _ = learn(accelerator)
    assert same_weights(model.state_dict(), again.state_dict())
    other, _ = learn(accelerator, seed=1)
    assert not same_weights(model.state_dict(), other.state_dict())


def test_the_first_loss_is_smoothed_cross_entropy(accelerator: Accelerator) -> None:
    task = ClassifierTask(network(), ClassifierConfig(label_smoothing=0.1), accelerator)
    batch = batches().batch(Position(0, 0, 0))
    with torch.no_grad():
        log = task.model(batch["x"]).log_softmax(-1)
    target = torch.full_like(log, 0.05).scatter(1, batch["label"][:, None], 0.95)
    loss = task.update(batch, Position(0, 0, 0))["loss/class"]
    assert float(loss) == pytest.approx(float(-(target * log).sum(-1).mean()), rel=1e-5)


def test_nothing_is_selected_or_shown(accelerator: Accelerator) -> None:
    task = ClassifierTask(network(), ClassifierConfig(), accelerator)
    assert task.validate(task.model) == task.describe() == task.preview(task.model) == {}


def test_probabilities_do_not_depend_on_the_batch(accelerator: Accelerator) -> None:
    model = network().train()
    x = torch.randn(11, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    whole, parts = predict(model, x, accelerator), predict(model, x, accelerator, batch_size=2)
    assert whole.shape == (11, 2) and not model.training
    np.testing.assert_allclose(whole.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(whole, parts, atol=1e-6)
