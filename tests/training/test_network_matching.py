from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_gan_tiny as tiny_gan
from accelerate import Accelerator
from interrupting import interrupted
from tiny import same_weights
from torch import Tensor

from mmgen.errors import UserError
from mmgen.training.batches import LabelledBatches
from mmgen.training.loop import LoopConfig, Position
from mmgen.training.network_matching import (
    NetworkMatchingConfig,
    NetworkMatchingTask,
    class_energy,
    energy,
    match_generator,
)
from mmgen.training.run import Run

SAMPLES = tiny_gan.make_samples(noise=30.0)
CONFIG = NetworkMatchingConfig(4, 6, width=8, lr=3e-3)


def make_task(accelerator: Accelerator, config: NetworkMatchingConfig = CONFIG) -> NetworkMatchingTask:
    return NetworkMatchingTask(
        tiny_gan.make_gan().generator, tiny_gan.make_prior(SAMPLES), config, Run(accelerator), tiny_gan.MODALITY
    )


def losses(task: NetworkMatchingTask, count: int) -> list[float]:
    batches = LabelledBatches(SAMPLES, 3 * task.config.real_per_class, 99, 0, balanced=True, shared=True)
    positions = [Position(0, update, update) for update in range(count)]
    return [float(task.update(batches.batch(position), position)["loss/energy"]) for position in positions]


def test_draws_come_nearer_to_real_images(accelerator: Accelerator) -> None:
    task = make_task(accelerator)
    before = {key: value.clone() for key, value in task._network.named_parameters()}
    found = losses(task, 40)
    assert np.mean(found[-5:]) < 0.6 * np.mean(found[:5])
    # The networks are drawn, not learnt.
    assert not any(parameter.requires_grad for parameter in task._network.parameters())
    assert any(not torch.equal(value, before[key]) for key, value in task._network.named_parameters())


def test_draws_and_networks_are_others_in_every_update_and_process(accelerator: Accelerator) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    batch = LabelledBatches(SAMPLES, 18, 99, 0, balanced=True, shared=True).batch(Position(0, 0, 0))
    places = [Position(0, 0, 0), Position(0, 0, 0), Position(0, 1, 1), Position(0, 0, 0, 1, 2)]
    for position in places:
        task = make_task(accelerator)
        hook = task.model.register_forward_pre_hook(
            lambda _, inputs, task=task: seen.append((inputs[0], task._network.blocks[0][0].weight.clone()))
        )
        task.update(batch, position)
        hook.remove()
    (x, network), again, later, beside = seen
    assert torch.equal(x, again[0]) and torch.equal(network, again[1])
    assert not torch.equal(x, later[0]) and not torch.equal(network, later[1])
    # Another process has other draws in the same network.
    assert not torch.equal(x, beside[0]) and torch.equal(network, beside[1])


def test_an_interrupted_training_ends_equal_and_keeps_a_moving_average(
    accelerator: Accelerator, tmp_path: Path
) -> None:
    def train(folder: Path | None, resume: bool = False, config: Any = CONFIG) -> tuple[Any, Any]:
        generator, loop = tiny_gan.make_gan().generator, LoopConfig(2, 2, "constant", warmup=0.0, ema_decay=0.5)
        prior = tiny_gan.make_prior(SAMPLES)
        matching = (SAMPLES, tiny_gan.MODALITY, config, loop, Run(accelerator, folder, resume))
        return match_generator(generator, prior, *matching), generator

    whole, last = train(None)
    assert not whole.training and not same_weights(whole.state_dict(), last.state_dict())
    with interrupted(NetworkMatchingTask, update=1, of=4):
        train(tmp_path)
    for _ in range(2):  # a finished training is only read
        resumed, _ = train(tmp_path, resume=True)
        assert same_weights(whole.state_dict(), resumed.state_dict())
    with pytest.raises(UserError, match="other settings or data"):
        train(tmp_path, resume=True, config=replace(CONFIG, lr=1e-3))


@pytest.mark.parametrize("wrong", [{"synthetic_per_class": 1}, {"real_per_class": 1}, {"width": 0}])
def test_settings_that_cannot_be_matched_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="2 images of each class"):
        NetworkMatchingConfig(**wrong)


# -- energy distance


def test_known_answer_with_classes_of_other_sizes_on_each_side() -> None:
    a = torch.tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0], [7.0, 7.0]])
    b = torch.tensor([[0.0, 1.0], [5.0, 5.0], [0.0, 0.0], [6.0, 8.0]])
    labels_a, labels_b = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 0, 0])

    def mean_distance(x: torch.Tensor, y: torch.Tensor, pairs: int) -> float:
        return sum(float((p - q).norm()) for p in x for q in y) / pairs

    first_a, first_b = a[:2], b[[0, 2, 3]]
    expected = 2 * mean_distance(first_a, first_b, 6)
    expected -= mean_distance(first_a, first_a, 2) + mean_distance(first_b, first_b, 6)
    # Class 1 has one row on each side and class 2 none on the other: neither counts.
    assert float(class_energy(a, labels_a, b, labels_b)) == pytest.approx(expected, rel=1e-5)
    assert float(class_energy(b, labels_b, a, labels_a)) == pytest.approx(expected, rel=1e-5)
    assert float(class_energy(a[2:], labels_a[2:], b, labels_b)) == 0.0


def test_it_is_least_for_the_same_distribution_of_each_class() -> None:
    chance = torch.Generator().manual_seed(0)
    labels, real_labels = torch.arange(2).repeat_interleave(6), torch.arange(2).repeat_interleave(10)
    centres = torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0]])

    def mean(spread: float, order: tuple[int, int] = (0, 1)) -> float:
        total = 0.0
        for _ in range(200):
            made = centres[list(order)][labels] + spread * torch.randn(12, 3, generator=chance)
            real = centres[real_labels] + torch.randn(20, 3, generator=chance)
            total += float(class_energy(made, labels, real, real_labels))
        return total / 200

    same, narrow, wide, swapped = mean(1.0), mean(0.2), mean(2.0), mean(1.0, (1, 0))
    assert abs(same) < 0.1 and min(narrow, wide) > 0.2 and swapped > 3.0


def test_points_that_meet_have_a_gradient() -> None:
    made = torch.zeros(3, 2, requires_grad=True)
    class_energy(made, torch.zeros(3, dtype=torch.long), torch.zeros(2, 2), torch.zeros(2, dtype=torch.long)).backward()
    assert made.grad.isfinite().all()


def test_class_by_class_it_is_the_same() -> None:
    chance = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, count, 5, generator=chance) for count in (2, 4))
    labels = (torch.arange(3).repeat_interleave(count) for count in (2, 4))
    expected = class_energy(a.flatten(0, 1), next(labels), b.flatten(0, 1), next(labels))
    assert float(energy(a, b)) == pytest.approx(float(expected), rel=1e-5)
