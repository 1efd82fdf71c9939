"""Training batches."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from mmgen.data.decoding import DecodedArray
from mmgen.data.pairing import ModalDecouplingSampler
from mmgen.data.samples import Samples
from mmgen.training.loop import Position


class PairedBatches:
    """Same-label tuples of all modalities, as the sampler of modal decoupling draws them.

    What has to be read from files is read one batch ahead, while the model learns from the last.

    Args:
        samples: training samples by modality.
        batch_size: tuples in one update, over all processes.
        seed: seed of the pairing.
    """

    def __init__(self, samples: Mapping[str, Samples], batch_size: int, seed: int) -> None:
        self.samples = dict(samples)
        self.sampler = ModalDecouplingSampler({name: s.labels for name, s in samples.items()}, batch_size, seed)
        self.batch_size = batch_size
        self.steps_per_epoch = self.sampler.steps_per_epoch
        unread = any(isinstance(s.values, DecodedArray) for s in samples.values())
        self._reader = ThreadPoolExecutor(1) if unread else None
        self._ahead: tuple[Position, Future[dict[str, Tensor]]] | None = None

    def batch(self, position: Position) -> dict[str, Tensor]:
        """This process's share: {name: (B / world, C, H, W)} in raw units."""
        if self._reader is None:
            return self._read(position)
        if self._ahead is not None and self._ahead[0] == position:
            values = self._ahead[1].result()
        else:
            values = self._read(position)
        following = self._following(position)
        self._ahead = following, self._reader.submit(self._read, following)
        return values

    def _read(self, position: Position) -> dict[str, Tensor]:
        indices = self.sampler.batch(position.epoch, position.step, position.rank, position.world)
        return {name: torch.from_numpy(self.samples[name].values[index]) for name, index in indices.items()}

    def _following(self, position: Position) -> Position:
        epoch, step = position.epoch, position.step + 1
        if step == self.steps_per_epoch:
            epoch, step = epoch + 1, 0
        return replace(position, epoch=epoch, step=step, update=position.update + 1)
