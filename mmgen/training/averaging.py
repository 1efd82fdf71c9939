"""A moving average of a network's weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class WeightAverage(AveragedModel):
    """Keeps a copy of a network whose parameters are an average over the training; its buffers are the newest.

    Unlike :class:`AveragedModel` it takes a few operations for all parameters together and never waits for the device.

    Args:
        model: what is averaged.
        decay: of an exponential average; 0: ``share`` counts.
        share: length of the average as a share of the updates so far.
    """

    def __init__(self, model: nn.Module, decay: float, share: float) -> None:
        super().__init__(model)
        self.decay, self.share = decay, share

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights of the same network after one more update."""
        averages, weights, count = list(self.module.parameters()), list(model.parameters()), int(self.n_averaged)
        if count == 0:
            torch._foreach_copy_(averages, weights)
        else:
            new = 1.0 - self.decay if self.decay else min(1.0, 1.0 / (self.share * (count + 1)))
            torch._foreach_lerp_(averages, weights, new)
        if buffers := list(self.module.buffers()):
            torch._foreach_copy_(buffers, list(model.buffers()))
        self.n_averaged += 1
