from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import train_gan_tiny as tiny_gan
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny import same_weights
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.images import to_unit_range
from mmgen.training import gan as module
from mmgen.training.batches import LabelledBatches
from mmgen.training.gan import RestorationConfig, RestorationTask
from mmgen.training.loop import Position
from mmgen.training.run import Run

SAMPLES = tiny_gan.make_samples()


def make_task(accelerator: Accelerator, seed: int = 0, run_seed: int = 0, **options: Any) -> RestorationTask:
    config = RestorationConfig(**{"batch_size": 6, **options})
    run = Run(accelerator, seed=run_seed)
    return RestorationTask(tiny_gan.make_gan(seed).generator, tiny_gan.make_prior(SAMPLES), config, run)


def updates(task: RestorationTask, count: int) -> list[dict[str, Tensor]]:
    batches = LabelledBatches(SAMPLES, 6, 99, 0, balanced=True, shared=True)
    positions = [Position(0, update, update) for update in range(count)]
    return [task.update(batches.batch(position), position) for position in positions]


def test_the_first_loss_is_the_mean_error_of_what_is_generated_from_a_concealed_image(accelerator: Accelerator) -> None:
    task = make_task(accelerator, seed=1)
    batch = LabelledBatches(SAMPLES, 6, 99, 0, True, shared=True).batch(Position(0, 0, 0))
    real = to_unit_range(batch["x"])
    x = task.prior.conceal(real, batch["label"], torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = tiny_gan.make_gan(1).generator(x, batch["label"])
    (scalars,) = updates(task, 1)
    assert float(scalars["loss/restoration"]) == pytest.approx(float((made.g - real).abs().mean()), rel=1e-5)
    assert abs(float((made.s - real).abs().mean()) - float(scalars["loss/restoration"])) > 1e-3  # s is another


def test_the_loss_falls_and_the_mask_is_left_alone(accelerator: Accelerator) -> None:
    task = make_task(accelerator, lr=5e-3)
    before = {key: value.clone() for key, value in task.model.named_parameters()}
    losses = [float(scalars["loss/restoration"]) for scalars in updates(task, 30)]
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])
    changed = {key for key, value in task.model.named_parameters() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if not key.startswith("to_mask")}


def test_noise_is_another_in_every_update_and_for_every_seed(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    for seed in (0, 0, 1):
        task = make_task(accelerator, run_seed=seed)
        task.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        batch = LabelledBatches(SAMPLES, 6, 99, 0, True, shared=True).batch(Position(0, 0, 0))
        for update in (0, 1):
            task.update(batch, Position(0, update, update))
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[4])


def test_shares_of_the_noise_are_one_draw(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = LabelledBatches(SAMPLES, 6, 99, 0, True, shared=True).batch(Position(0, 0, 0))
    seen: list[Tensor] = []

    def concealed(position: Position, share: slice) -> Tensor:
        task = make_task(accelerator)
        task.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        task.update({name: value[share] for name, value in batch.items()}, position)
        return seen[-1]

    whole = concealed(Position(0, 0, 0), slice(0, 6))
    gathered = {torch.float32: to_unit_range(batch["x"]), torch.int64: batch["label"]}
    monkeypatch.setattr(module, "from_all", lambda share: gathered[share.dtype])
    parts = [concealed(Position(0, 0, 0, rank, 3), slice(2 * rank, 2 * rank + 2)) for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)


def test_bf16_is_finite_and_keeps_float32_weights() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    task = make_task(Accelerator(cpu=True, mixed_precision="bf16"))
    kinds = set()
    task.model.encoder[0].register_forward_hook(lambda _, __, out: kinds.add(out.dtype))
    for scalars in updates(task, 3):
        assert all(value.dtype == torch.float32 and value.isfinite() for value in scalars.values())
    AcceleratorState._reset_state(reset_partial_state=True)
    assert kinds == {torch.bfloat16} and all(p.dtype == torch.float32 for p in task.model.parameters())


def test_it_trains_in_place_and_does_the_same_again(accelerator: Accelerator) -> None:
    weights = [tiny_gan.train("warm-up", accelerator) for _ in range(2)]
    assert same_weights(*weights)
    assert not same_weights(weights[0], tiny_gan.make_gan().generator.state_dict())


def test_previews_are_two_rows_a_class(accelerator: Accelerator) -> None:
    task = make_task(accelerator)
    pictures = task.preview(task.model.eval())
    assert {name: (x.shape, x.dtype) for name, x in pictures.items()} == {"generated": ((6 * 32, 4 * 32, 3), np.uint8)}
    assert task.validate(task.model) == task.describe() == {}


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    two = SimpleNamespace(num_processes=2, device=torch.device("cpu"))
    with pytest.raises(UserError, match=r"^The batch size \(5\) must be a multiple of the processes \(2\)\.$"):
        make_task(two, batch_size=5)  # type: ignore[arg-type]
