from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from mmgen.training.network_matching import PoolMatcher, PoolMatchingConfig
from mmgen.training.run import Run

MODALITY, SAMPLES, LABELS = tiny_gan.MODALITY, tiny_gan.make_samples(), tiny_gan.LABELS
TINY = PoolMatchingConfig(batches=2, width=4, lr=0.05, augmentation="lesion")
STEPS, EPOCHS = 3, 2


def make_gan() -> ConditionalGAN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ConditionalGAN(
            ConditionalGenerator(32, 3, LABELS, "dim", 16, 4), ConditionalDiscriminator(32, 3, len(LABELS), 4, "none")
        )


def make_matcher(accelerator: Accelerator, config: PoolMatchingConfig = TINY, seed: int = 0) -> PoolMatcher:
    return PoolMatcher(config, MODALITY.shape, len(LABELS), Run(accelerator, seed=seed))


def batches_of(config: PoolMatchingConfig, size: int = 6) -> WholeBatches:
    return WholeBatches(SAMPLES, config.batches * size, STEPS, 0)


def learn(matcher: PoolMatcher, steps: list[tuple[int, int]]) -> list[float]:
    """The losses of updates at these places, (epoch, step)."""
    source = batches_of(matcher.config)

    def read(position: Position) -> Mapping[str, Tensor]:
        batch = source.batch(position)
        return {"x": MODALITY.normalise(batch["x"]), "label": batch["label"]}

    losses = []
    for epoch, step in steps:
        position = Position(epoch, step, epoch * STEPS + step)
        batch = read(position)
        losses.append(float(matcher.learn(batch["x"], batch["label"], position, read)))
    return losses


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def train(accelerator: Accelerator, config: PoolMatchingConfig = TINY, **run: Any) -> ConditionalGAN:
    learning = ConditionalGANConfig("wgan_gp", 6, 1e-3, 1e-3, (0.0, 0.9))
    loop = LoopConfig(EPOCHS, STEPS, "constant", warmup=0.0, ema_decay=0.5)
    matcher = make_matcher(accelerator, config)
    return train_conditional_gan(make_gan(), SAMPLES, MODALITY, learning, loop, Run(accelerator, **run), matcher)


# -- networks


def test_every_epoch_has_a_network_of_its_own_and_the_pool_is_used(accelerator: Accelerator) -> None:
    matcher = make_matcher(accelerator, replace(TINY, batches=1))
    kinds, firsts = set(), set()
    for epoch in range(12):
        learn(matcher, [(epoch, 0)])
        kinds.add(sum(p.numel() for p in matcher.network.parameters()) + 10 * len(str(matcher.network)))
        firsts.add(float(next(matcher.network.parameters()).detach().flatten()[0]))
    assert len(firsts) == 12 and len(kinds) >= 4


def test_a_network_learns_from_real_images_over_its_epoch(accelerator: Accelerator) -> None:
    matcher = make_matcher(accelerator, replace(TINY, batches=12, augmentation="none"))
    losses = learn(matcher, [(0, 0), (0, 1), (0, 2)])
    assert losses[-1] < 0.5 * losses[0]
    network = matcher.network
    learn(matcher, [(1, 0)])
    assert matcher.network is not network


def test_a_network_is_a_function_of_its_place(accelerator: Accelerator) -> None:
    """A run that is resumed within an epoch comes to the network that it would have had."""
    places = [(epoch, step) for epoch in range(2) for step in range(STEPS)]
    whole = make_matcher(accelerator)
    learn(whole, places)
    resumed = make_matcher(accelerator)
    learn(resumed, [(1, 2)])
    assert same_weights(state(resumed.network), state(whole.network))
    early = make_matcher(accelerator)
    learn(early, [(1, 1)])
    assert not same_weights(state(early.network), state(whole.network))
    other = make_matcher(accelerator, seed=1)
    learn(other, [(1, 2)])
    assert not same_weights(state(other.network), state(whole.network))


def test_the_callers_random_numbers_are_left_alone(accelerator: Accelerator) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    learn(make_matcher(accelerator), [(0, 0)])
    assert torch.equal(torch.rand(2), expected)


# -- the loss


def test_the_loss_reaches_the_made_images_and_not_the_network(accelerator: Accelerator) -> None:
    matcher = make_matcher(accelerator)
    learn(matcher, [(0, 0)])
    before = state(matcher.network)
    for parameter in matcher.network.parameters():
        parameter.grad = None
    real, made = torch.randn(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(0)).unbind()
    made.requires_grad_()
    loss = matcher.loss(real, made, torch.arange(6) % 3, torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(loss, made)
    assert loss > 0 and (gradient != 0).any()
    assert same_weights(state(matcher.network), before)
    assert all(parameter.grad is None for parameter in matcher.network.parameters())


def test_equal_images_match_under_the_same_change(accelerator: Accelerator) -> None:
    matcher, labels = make_matcher(accelerator), torch.arange(6) % 3
    learn(matcher, [(0, 0)])
    real = torch.randn(6, 3, 32, 32)
    for seed in range(6):
        assert matcher.loss(real, real.clone(), labels, torch.Generator().manual_seed(seed)) < 1e-9
    heavy = make_matcher(accelerator, replace(TINY, weight=1.0))
    learn(heavy, [(0, 0)])
    losses = [m.loss(real, -real, labels, torch.Generator().manual_seed(0)) for m in (matcher, heavy)]
    assert torch.allclose(losses[1], 100 * losses[0], rtol=1e-4)


def test_an_update_moves_the_generator_by_the_match_and_trains_the_network_on_real_images_alone(
    accelerator: Accelerator,
) -> None:
    networks, generators = [], []
    for weight in (0.0, 50.0):
        config = replace(TINY, weight=weight)
        learning = ConditionalGANConfig("wgan_gp", 6)
        source = WholeBatches(SAMPLES, 6 * (1 + config.batches), STEPS, 0)
        matcher = make_matcher(accelerator, config)
        task = ConditionalGANTask(make_gan(), learning, Run(accelerator), MODALITY, source, matcher)
        for step in range(2):
            position = Position(0, step, step)
            scalars = task.update(source.batch(position), position)
        assert {"loss/match", "loss/network", "loss/generator", "loss/discriminator"} <= scalars.keys()
        networks.append(state(matcher.network))
        generators.append(state(task.model.generator))
        trained = {id(p) for o in task.optimizers.values() for g in o.param_groups for p in g["params"]}
        assert not trained & {id(p) for p in matcher.network.parameters()}
    assert same_weights(*networks) and not same_weights(*generators)


# -- a training


@pytest.mark.parametrize("last", [3, 4])  # the first update of the second epoch, and one in its middle
def test_a_resumed_training_equals_an_uninterrupted_one(accelerator: Accelerator, last: int, tmp_path: Path) -> None:
    whole = state(train(accelerator))
    with interrupted(ConditionalGANTask, last, of=6):
        train(accelerator, folder=tmp_path)
    saved = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert saved["model"].keys() == make_gan().state_dict().keys()  # nothing of the network
    assert same_weights(state(train(accelerator, folder=tmp_path, resume=True)), whole)
    with pytest.raises(UserError, match="other settings or data"):
        train(accelerator, replace(TINY, weight=0.1), folder=tmp_path, resume=True)


def test_a_network_needs_batches() -> None:
    with pytest.raises(UserError, match="at least 1 batch before each step, got 0"):
        PoolMatchingConfig(batches=0)
