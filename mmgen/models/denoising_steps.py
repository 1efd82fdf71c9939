"""Arithmetic of the denoising masked autoencoder: the solver and its steps, what is hidden, noise, errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE, Masked
from mmgen.models.seeds import torch_stream

NOISIEST, CLEAREST = -4.4, 4.2
"""Logarithms of signal to noise, log(t / (1 - t)), of the first step that sees anything and of the last one. What is
coarsest in an X-ray stands out from the noise at -2.6, what is finest at 2.7; where steps begin or end there, a third
of its power is lost."""
GUIDED = (0.1, 0.9)
"""Times between which samples are guided; before, guidance takes variety, after, the label is plain to see
(Kynkaanniemi et al. 2024)."""


def step_times(steps: int) -> list[float]:
    """Times at which the network is asked, from 0 on; evenly spaced in the logarithm of signal to noise."""
    if steps == 1:
        return [0.0]
    places = [0.5] if steps == 2 else [step / (steps - 2) for step in range(steps - 1)]
    return [0.0, *(1 / (1 + math.exp(-(NOISIEST + place * (CLEAREST - NOISIEST)))) for place in places)]


def guided_times(steps: int) -> int:
    """At how many of the times samples are guided, which takes a second network pass."""
    return sum(GUIDED[0] < time < GUIDED[1] for time in step_times(steps))


def integrate(z: Tensor, predict: Callable[[Tensor, float], Tensor], steps: int) -> Tensor:
    """Carry noise at time 0 to a clean sample at time 1.

    DPM-Solver++ (2M) of Lu et al. 2022: of second order, from the present prediction and the one before; the last step
    is the prediction itself.

    Args:
        z: standard normal, any shape.
        predict: the clean sample, from a noised one and its time.
        steps: how often it is asked.
    """
    times, before, longest = step_times(steps), z, math.inf
    for time, following in zip(times, [*times[1:], 1.0], strict=True):
        made = predict(z, time)
        if following == 1.0:
            return made
        length = _logarithm(following) - _logarithm(time)
        ahead = made if math.isinf(longest) else made + 0.5 * length / longest * (made - before)
        left = (1 - following) / (1 - time)
        z = left * z + (following - left * time) * ahead
        before, longest = made, length
    raise AssertionError("the last step ends at time 1")


def _logarithm(time: float) -> float:
    return math.log(time / (1 - time)) if time > 0 else -math.inf


def hidden_patches(hidden: Tensor | None, patches: Tensor) -> Masked:
    """The masks of hidden patches (B, N), as many in every sample; None hides nothing."""
    if hidden is None:
        hidden = torch.zeros(patches.shape[:2])
    if hidden.shape != patches.shape[:2] or len({int(count) for count in hidden.bool().sum(1)}) > 1:
        raise UserError(
            f"What is hidden is a tensor {tuple(patches.shape[:2])} with as many ones in every sample, got "
            f"{tuple(hidden.shape)}."
        )
    visible = int((~hidden[0].bool()).sum())
    shuffled = hidden.bool().to(patches.device).to(torch.uint8).argsort(dim=1, stable=True)
    return Masked(shuffled[:, :visible], shuffled.argsort(dim=1), hidden.bool().float().to(patches.device))


def mask_orders(
    patches: Mapping[str, Tensor], ratios: Mapping[str, float], given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Masking noise {name: (B, N)} where none is given. What is hidden whole needs no order, and uses up no chance."""
    draw = {name: torch.rand if 0 < ratio < 1 else torch.zeros for name, ratio in ratios.items()}
    return {name: given[name] if name in given else draw[name](x.shape[:2]) for name, x in patches.items()}


def mean_square(error: Tensor, weight: Tensor) -> Tensor:
    """(B, N, P) and weights (B, N, P) -> (B,)."""
    return (error**2 * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1e-8)


def fixed_normal(like: Tensor) -> Tensor:
    """Standard normal numbers of this shape, the same whenever they are asked for: what a masked autoencoder predicts
    depends little on them, and should be the same twice."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like.device)


def starting_noise(model: CrossModalMAE, count: int, seed: int) -> dict[str, Tensor]:
    """Standard normal {name: (count, N, P)} from which samples start, the same for the same seed."""
    stream = torch_stream(seed, 0x736D70)
    return {n: torch.randn(count, m.tokens, m.patch_size, generator=stream) for n, m in model.modalities.items()}
