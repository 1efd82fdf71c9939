"""Training batches from samples."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmgen.data.pairing import ModalDecouplingSampler
from mmgen.data.samples import Samples
from mmgen.training.loop import Position


class PairedBatches:
    """Same-label tuples of all modalities, as the sampler of modal decoupling draws them.

    Args:
        samples: training samples by modality; what is in files is read when a batch is asked for.
        batch_size: tuples in one update, over all processes.
        seed: seed of the pairing.
    """

    def __init__(self, samples: Mapping[str, Samples], batch_size: int, seed: int) -> None:
        self.samples = dict(samples)
        self.sampler = ModalDecouplingSampler({name: s.labels for name, s in samples.items()}, batch_size, seed)
        self.batch_size = batch_size
        self.steps_per_epoch = self.sampler.steps_per_epoch

    def batch(self, position: Position) -> dict[str, Tensor]:
        """This process's share: {name: (B / world, C, H, W)} in raw units."""
        indices = self.sampler.batch(position.epoch, position.step, position.rank, position.world)
        return {name: torch.from_numpy(self.samples[name].values[index]) for name, index in indices.items()}
