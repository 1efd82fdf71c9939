"""Losses of the Wasserstein GAN: known answers, gradients and precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmgen.models.attention_gan import AttentionGenerator, Critic, Critique
from mmgen.models.gan_losses import critic_loss, generator_loss, gradient_penalty

CLASSES = 3


def make_generator(size: int = 32, channels: int = 1, seed: int = 0, blocks: int = 2) -> AttentionGenerator:
    torch.manual_seed(seed)
    return AttentionGenerator(size, channels, CLASSES, width=8, blocks=blocks)


def make_critic(size: int = 32, channels: int = 1, seed: int = 0) -> Critic:
    torch.manual_seed(seed)
    return Critic(size, channels, CLASSES, width=4)


def images(count: int = 3, size: int = 32, channels: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def labels(count: int = 3) -> Tensor:
    return torch.arange(count) % CLASSES


def linear_critic(weight: Tensor):
    """F(z) = <weight, z>, whose slope is the weight everywhere."""
    return lambda z: Critique((z * weight).sum(dim=(1, 2, 3)), torch.zeros(len(z), CLASSES))


@pytest.mark.parametrize("norm", [0.0, 1.0, 3.0])
def test_the_penalty_of_a_known_slope(norm):
    weight = images(1, seed=3)[0]
    weight = (weight / weight.norm() * norm).requires_grad_()
    penalty = gradient_penalty(linear_critic(weight), images(), images(seed=1), torch.rand(3))
    torch.testing.assert_close(penalty, torch.tensor((norm - 1) ** 2))
    penalty.backward()
    assert weight.grad.isfinite().all()  # at norm 0 too


def test_the_penalty_looks_between_real_and_fake_with_one_draw_an_image():
    real, fake, epsilon = images(), images(seed=1), torch.tensor([1.0, 0.0, 0.25])
    seen = []

    def critic(z: Tensor) -> Critique:
        seen.append(z.detach())
        return Critique(z.square().sum(dim=(1, 2, 3)) / 2, torch.zeros(len(z), CLASSES))

    penalty = gradient_penalty(critic, real, fake, epsilon)
    z = torch.stack([real[0], fake[1], 0.25 * real[2] + 0.75 * fake[2]])
    torch.testing.assert_close(seen[0], z)
    torch.testing.assert_close(penalty, (z.flatten(1).norm(dim=1) - 1).square().mean())  # the slope of |z|^2 / 2 is z


@pytest.mark.parametrize("same", [False, True])
def test_the_penalty_is_finite_in_float32_under_bf16_autocast(same):
    critic, real, epsilon = make_critic(), images(), torch.rand(3)
    fake = real if same else images(seed=1)
    expected = gradient_penalty(critic, real, fake, epsilon)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = gradient_penalty(critic, real.bfloat16(), fake.bfloat16(), epsilon)
        exact = gradient_penalty(critic, real, fake, epsilon)
    assert penalty.dtype == torch.float32 and penalty.isfinite()
    assert torch.equal(exact, expected)
    torch.testing.assert_close(penalty, expected, rtol=0.05, atol=0.01)


def test_the_penalty_of_any_critic_is_computed_in_float32():
    layer = nn.Conv2d(1, 1, 5)

    def critic(z: Tensor) -> Critique:
        return Critique(layer(z).square().mean(dim=(1, 2, 3)), torch.zeros(len(z), CLASSES))

    real, fake, epsilon = images(), images(seed=1), torch.rand(3)
    exact = gradient_penalty(critic, real, fake, epsilon)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gradient_penalty(critic, real, fake, epsilon), exact)


def test_the_penalty_teaches_the_critic_and_not_the_images():
    critic, real, fake = make_critic(), images().requires_grad_(), images(seed=1).requires_grad_()
    gradient_penalty(critic, real, fake, torch.rand(3)).backward()
    assert real.grad is None and fake.grad is None
    for layer in critic.features:
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.grad.abs().max() > 0 and layer.weight.grad.isfinite().all()
    assert critic.score.weight.grad.abs().max() > 0


def test_losses_of_known_scores():
    real, fake = torch.tensor([3.0, 5.0]), torch.tensor([1.0, 2.0])
    assert critic_loss(real, fake, torch.tensor(0.25)) == 1.5 - 4.0 + 2.5
    assert critic_loss(real, fake, torch.tensor(0.25), penalty_weight=0.0) == -2.5
    assert generator_loss(fake) == -1.5


def test_the_critic_learns_to_prefer_real_and_the_generator_to_be_preferred():
    critic, generator = make_critic(), make_generator(blocks=1)
    x, real = images(), images(seed=1) * 0.1 + 0.8
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    for step in range(15):
        with torch.no_grad():
            fake = generator(x, labels()).s
        epsilon = torch.rand(3, generator=torch.Generator().manual_seed(step))
        penalty = gradient_penalty(critic, real, fake, epsilon)
        loss = critic_loss(critic(real).score, critic(fake).score, penalty)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before = critic(fake).score.mean()
    assert critic(real).score.mean() > before
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3)
    for _ in range(5):
        loss = generator_loss(critic(generator(x, labels()).s).score)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert critic(generator(x, labels()).s).score.mean() > before
