from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_gan_tiny as tiny_gan
from accelerate import Accelerator
from interrupting import interrupted
from tiny import same_weights
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.conditional_gan import ConditionalDiscriminator, ConditionalGenerator
from mmgen.training.batches import WholeBatches
from mmgen.training.conditional_gan import (
    ConditionalGAN,
    ConditionalGANConfig,
    ConditionalGANTask,
    train_conditional_gan,
)
from mmgen.training.loop import LoopConfig, Position
from mmgen.training.run import Run

MODALITY, SAMPLES, LABELS = tiny_gan.MODALITY, tiny_gan.make_samples(), tiny_gan.LABELS
LOSSES = ("bce", "wgan_gp")


def make_gan(loss: str = "bce", seed: int = 0, width: int = 4) -> ConditionalGAN:
    """With the same weights for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ConditionalGAN(
            ConditionalGenerator(32, 3, LABELS, "dcgan", 16, width),
            ConditionalDiscriminator(32, 3, len(LABELS), width, "batch" if loss == "bce" else "none"),
        )


def make_task(accelerator: Accelerator, loss: str, **options: Any) -> ConditionalGANTask:
    config = ConditionalGANConfig(loss, **{"batch_size": 6, **options})
    batches = WholeBatches(SAMPLES, config.batch_size, 99, 0)
    return ConditionalGANTask(make_gan(loss), config, Run(accelerator), MODALITY, batches)


def updates(task: ConditionalGANTask, count: int) -> Iterator[dict[str, Tensor]]:
    for update in range(count):
        position = Position(0, update, update)
        yield task.update(task.batches.batch(position), position)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def train(accelerator: Accelerator, loss: str = "bce", ema: float = 0.5, **options: Any) -> ConditionalGAN:
    learning = ConditionalGANConfig(loss, batch_size=6, **options.pop("learning", {}))
    loop = LoopConfig(3, 2, "constant", warmup=0.0, ema_decay=ema)
    return train_conditional_gan(make_gan(loss), SAMPLES, MODALITY, learning, loop, Run(accelerator, **options))


# -- one update


@pytest.mark.parametrize("loss", LOSSES)
def test_each_step_moves_one_of_the_two(accelerator: Accelerator, loss: str) -> None:
    for still, moving in (("discriminator", "generator"), ("generator", "discriminator")):
        task = make_task(accelerator, loss)
        for group in task.optimizers[still].param_groups:
            group["lr"] = 0.0
        before = {name: state(part) for name, part in task.model.named_children()}
        next(updates(task, 1))
        parameters = {name: dict(part.named_parameters()) for name, part in task.model.named_children()}
        assert all(torch.equal(value, before[still][key]) for key, value in parameters[still].items())
        assert not all(torch.equal(value, before[moving][key]) for key, value in parameters[moving].items())


@pytest.mark.parametrize("loss", LOSSES)
def test_the_discriminator_learns_to_tell_real_from_made_and_the_classes(accelerator: Accelerator, loss: str) -> None:
    task = make_task(accelerator, loss, lr=0.0, discriminator_lr=1e-3)
    logged = list(updates(task, 12))
    first, last = ({key: float(value) for key, value in scalars.items()} for scalars in (logged[0], logged[-1]))
    assert last["score_gap"] > first["score_gap"] + 0.5
    assert last["loss/discriminator_class"] < 0.7 * first["loss/discriminator_class"]
    assert last["loss/discriminator"] < first["loss/discriminator"]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_generator_learns_what_the_discriminator_likes(accelerator: Accelerator, loss: str) -> None:
    task = make_task(accelerator, loss, lr=2e-3, discriminator_lr=0.0)
    logged = list(updates(task, 12))
    assert float(logged[-1]["loss/generator"]) < float(logged[0]["loss/generator"])
    assert float(logged[-1]["loss/generator_class"]) < float(logged[0]["loss/generator_class"])


def test_the_class_weight_counts(accelerator: Accelerator) -> None:
    scalars = {weight: next(updates(make_task(accelerator, "bce", class_weight=weight), 1)) for weight in (0.0, 1.0)}
    assert float(scalars[0.0]["loss/generator_class"]) == 0 < float(scalars[1.0]["loss/generator_class"])


def test_every_process_gets_the_whole_batch_with_classes_in_turns() -> None:
    batches = WholeBatches(SAMPLES, 6, 9, 0)
    alone, among = (batches.batch(Position(0, 1, 1, *place)) for place in ((0, 1), (1, 2)))
    assert torch.equal(alone["x"], among["x"]) and torch.equal(alone["label"], among["label"])
    assert alone["label"].bincount().tolist() == [2, 2, 2]
    assert len(WholeBatches(SAMPLES, 60, 9, 0).batch(Position(0, 0, 0))["x"]) == 60  # more than there are


# -- a training


@pytest.mark.parametrize("loss", LOSSES)
def test_classes_get_the_colours_of_the_real_images(accelerator: Accelerator, loss: str) -> None:
    options, steps = {"bce": ((2e-3, 1e-3, (0.5, 0.99)), 100), "wgan_gp": ((2e-3, 2e-3, (0.0, 0.9)), 150)}[loss]
    gan = make_gan(loss, width=8)
    gan.generator.start_from(MODALITY.mean * 3)
    loop = LoopConfig(1, steps, "constant", warmup=0.0, ema_decay=0.9)
    learning = ConditionalGANConfig(loss, 12, *options)
    made = train_conditional_gan(gan, SAMPLES, MODALITY, learning, loop, Run(accelerator)).generator.sample(6)
    found = made.images.double().mean((2, 3)).numpy()
    distances = np.linalg.norm(found[:, None] - tiny_gan.COLOURS, axis=-1)
    assert (distances.argmin(1) == made.labels.numpy()).mean() > 0.8


def test_the_average_is_kept_with_statistics_of_its_own(accelerator: Accelerator) -> None:
    gan = make_gan()
    learning = ConditionalGANConfig(batch_size=6, lr=2e-2)
    loop = LoopConfig(1, 6, "constant", warmup=0.0, ema_decay=0.8)
    kept = train_conditional_gan(gan, SAMPLES, MODALITY, learning, loop, Run(accelerator)).generator
    assert not same_weights(dict(kept.named_parameters()), dict(gan.generator.named_parameters()))
    assert not kept.training
    found, last = kept.layers[1].running_var, gan.generator.layers[1].running_var
    assert not torch.allclose(found, last, rtol=0.2)
    # In evaluation mode images look as in training mode, where the batch's own statistics are used.
    noise, labels = torch.randn(256, 16, generator=torch.Generator().manual_seed(1)), torch.arange(256) % 3
    with torch.no_grad():
        plain = kept(noise, labels)
        stale = kept.layers[1].running_var.copy_(last) is not None and kept(noise, labels)
        own = kept.train()(noise, labels)
    assert (plain - own).abs().mean() < 0.2 * (stale - own).abs().mean()


def test_a_training_is_a_function_of_the_seed(accelerator: Accelerator) -> None:
    weights = [state(train(accelerator, seed=seed)) for seed in (0, 0, 1)]
    assert same_weights(weights[0], weights[1]) and not same_weights(weights[0], weights[2])


@pytest.mark.parametrize("loss", LOSSES)
def test_a_resumed_training_equals_an_uninterrupted_one(accelerator: Accelerator, loss: str, tmp_path: Path) -> None:
    whole = state(train(accelerator, loss))
    with interrupted(ConditionalGANTask, update=2, of=6):  # the first of two in its epoch
        train(accelerator, loss, folder=tmp_path)
    assert same_weights(state(train(accelerator, loss, folder=tmp_path, resume=True)), whole)
    assert same_weights(state(train(accelerator, loss, folder=tmp_path, resume=True)), whole)  # only read
    for other in ({"learning": {"class_weight": 0.5}}, {"seed": 1}):
        with pytest.raises(UserError, match="other settings or data"):
            train(accelerator, loss, folder=tmp_path, resume=True, **other)


def test_previews_show_every_class(accelerator: Accelerator, tmp_path: Path) -> None:
    train(accelerator, folder=tmp_path)
    assert list(tmp_path.glob("**/generated_0003.png"))
    picture = make_task(accelerator, "bce").preview(make_gan())["generated"]
    assert picture.shape == (3 * 32, 8 * 32, 3) and picture.dtype == np.uint8


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="at least 2, got 1"):
        ConditionalGANConfig(batch_size=1)
    with pytest.raises(UserError, match="bce or wgan_gp, not 'hinge'"):
        ConditionalGANConfig("hinge")
