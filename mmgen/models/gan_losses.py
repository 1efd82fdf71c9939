"""Losses of the Wasserstein GAN with gradient penalty (Gulrajani et al. 2017; MedSynth paper, section 3.1).

The paper's equations 2 and 3 are misprinted: equation 2 mixes what the two players minimise, and z in equation 3 is no
point between real and synthetic. The losses here are those of WGAN-GP, which the paper cites.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmgen.models.attention_gan import Critique


def gradient_penalty(critic: Callable[[Tensor], Critique], real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """How far the critic's slope is from 1 between real and synthetic images: mean of (||grad_z F(z)||_2 - 1)^2, ().

    z = e * x + (1 - e) * s (equation 3 without its misprint). Gradients of the result reach the critic's weights, not
    the images. Computed in float32 under autocast too.

    Args:
        critic: gives a :class:`Critique`; scores of a batch must not depend on each other.
        real, fake: images x and s, (B, C, H, W).
        epsilon: (B,), uniform in [0, 1], one draw an image.
    """
    with torch.autocast(real.device.type, enabled=False):
        e = epsilon.to(real.device, torch.float32).view(-1, 1, 1, 1)
        z = (e * real.float() + (1.0 - e) * fake.float()).detach().requires_grad_()
        (slope,) = torch.autograd.grad(critic(z).score.sum(), z, create_graph=True)
        norm = (slope.square().sum(dim=(1, 2, 3)) + 1e-12).sqrt()  # at zero the root has no derivative
        return (norm - 1.0).square().mean()


def critic_loss(real: Tensor, fake: Tensor, penalty: Tensor, penalty_weight: float = 10.0) -> Tensor:
    """E[F(s)] - E[F(x)] + lambda_GP * penalty, which the critic minimises (its part of equation 2).

    Args:
        real, fake: scores F(x) and F(s), (B,).
        penalty: of :func:`gradient_penalty`.
        penalty_weight: lambda_GP.
    """
    return fake.mean() - real.mean() + penalty_weight * penalty


def generator_loss(fake: Tensor) -> Tensor:
    """-E[F(s)], which the generator minimises (its part of equation 2); ``fake`` are scores F(s), (B,)."""
    return -fake.mean()
