"""Several losses, one forward pass: a gradient and an optimiser state for each (MMAE paper, section III-D)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class LossStepper:
    """Back-propagates named losses, each into the parameters it can reach, and steps an AdamW of its own.

    All gradients are taken before the first step, because a step changes weights that the next backward pass needs.
    With one entry this is ordinary training. A parameter's weight decay is divided by the number of losses that reach
    it, so that one update decays as much as it does with one optimiser.

    Args:
        reach: parameters of each loss, by name.
        lr, weight_decay, betas: of every AdamW; parameters with fewer than two dimensions are not decayed.
        clip_norm: largest norm of each loss's gradient, or None.
    """

    def __init__(
        self,
        reach: Mapping[str, Sequence[nn.Parameter]],
        lr: float,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.95),
        clip_norm: float | None = 1.0,
    ) -> None:
        self.reach = {name: list(parameters) for name, parameters in reach.items()}
        self.clip_norm = clip_norm
        reached_by = Counter(id(p) for parameters in self.reach.values() for p in parameters)
        self.optimizers = {
            name: _adamw(parameters, lr, [weight_decay / reached_by[id(p)] for p in parameters], betas)
            for name, parameters in self.reach.items()
        }
        self._gradients: dict[str, list[Tensor | None]] = {}

    def accumulate(self, losses: Mapping[str, Tensor], share: float = 1.0) -> None:
        """Add ``share`` times each loss's gradient to what the next :meth:`step` applies."""
        names = list(self.reach)
        for name in names:
            gradients = torch.autograd.grad(
                losses[name] * share, self.reach[name], retain_graph=name != names[-1], allow_unused=True
            )
            before = self._gradients.get(name)
            self._gradients[name] = (
                list(gradients) if before is None else [_add(a, b) for a, b in zip(before, gradients, strict=True)]
            )

    def minimise(self, loss: Tensor) -> Tensor:
        """:meth:`accumulate` and :meth:`step` where there is one loss; the norm of its gradient before clipping, ()."""
        (name,) = self.reach
        self.accumulate({name: loss})
        return self.step()[name]

    def step(self) -> dict[str, Tensor]:
        """Average gradients over processes, clip, step every optimiser; returns each loss's norm before clipping."""
        for name in self.reach:
            _average_over_processes([g for g in self._gradients[name] if g is not None])
        norms = {}
        for name, optimizer in self.optimizers.items():
            gradients = self._gradients.pop(name)
            norms[name], gradients = self._clip(gradients)
            for parameter, gradient in zip(self.reach[name], gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norms

    def _clip(self, gradients: Sequence[Tensor | None]) -> tuple[Tensor, list[Tensor | None]]:
        """Norm before, gradients after. Out of place: autograd may hand out one tensor for two parameters."""
        present = [g for g in gradients if g is not None]
        norm = nn.utils.get_total_norm(present)
        if self.clip_norm is None:
            return norm, list(gradients)
        clipped = iter(torch._foreach_mul(present, (self.clip_norm / (norm + 1e-6)).clamp(max=1.0)))
        return norm, [None if g is None else next(clipped) for g in gradients]


def _adamw(
    parameters: Sequence[nn.Parameter], lr: float, weight_decay: Sequence[float], betas: tuple[float, float]
) -> torch.optim.AdamW:
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter, decay in zip(parameters, weight_decay, strict=True):
        groups.setdefault(decay if parameter.ndim >= 2 else 0.0, []).append(parameter)
    listed = [{"params": members, "weight_decay": decay} for decay, members in groups.items()]
    return torch.optim.AdamW(listed, lr=lr, betas=betas, fused=True)


def _add(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def _average_over_processes(gradients: Sequence[Tensor]) -> None:
    """One flat all-reduce in place. Every process has the same set of gradients: it follows from the graph alone."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return
    flat = torch.cat([g.reshape(-1) for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    parts = flat.split([g.numel() for g in gradients])
    torch._foreach_copy_(list(gradients), [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])
