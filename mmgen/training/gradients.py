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
        self.optimizers: dict[str, torch.optim.AdamW] = {}
        for name, parameters in self.reach.items():
            groups: dict[float, list[nn.Parameter]] = {}
            for p in parameters:
                groups.setdefault(weight_decay / reached_by[id(p)] if p.ndim >= 2 else 0.0, []).append(p)
            listed = [{"params": members, "weight_decay": decay} for decay, members in groups.items()]
            self.optimizers[name] = torch.optim.AdamW(listed, lr=lr, betas=betas, fused=True)
        self._gradients: dict[str, list[Tensor | None]] = {}

    def accumulate(self, losses: Mapping[str, Tensor], share: float = 1.0) -> None:
        """Add ``share`` times each loss's gradient to what the next :meth:`step` applies."""
        names = list(self.reach)
        for name in names:
            gradients = torch.autograd.grad(
                losses[name] * share, self.reach[name], retain_graph=name != names[-1], allow_unused=True
            )
            before = self._gradients.get(name, [None] * len(gradients))
            self._gradients[name] = [
                new if old is None else old if new is None else old + new
                for old, new in zip(before, gradients, strict=True)
            ]

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
            norms[name] = nn.utils.get_total_norm([g for g in gradients if g is not None])
            if self.clip_norm is not None:  # the step divides gradients while it reads them, which saves a copy of all
                optimizer.grad_scale = ((norms[name] + 1e-6) / self.clip_norm).clamp(min=1.0)
            taken = set[int]()
            for parameter, gradient in zip(self.reach[name], gradients, strict=True):
                if gradient is not None:
                    # It also changes them, but autograd may hand out one tensor, or parts of one, for two parameters;
                    # and on a CPU it takes their elements as they lie in memory, in the parameter's order or not.
                    memory = gradient.untyped_storage().data_ptr()
                    if gradient.stride() != parameter.stride() or memory in taken:
                        gradient = torch.empty_like(parameter).copy_(gradient)
                    taken.add(memory)
                parameter.grad = gradient
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norms


def _average_over_processes(gradients: Sequence[Tensor]) -> None:
    """One flat all-reduce in place. Every process has the same set of gradients: it follows from the graph alone."""
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        flat = torch.cat([g.reshape(-1) for g in gradients])
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        parts = flat.split([g.numel() for g in gradients])
        torch._foreach_copy_(list(gradients), [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])
