"""Training batches from samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mmgen.data.pairing import ModalDecouplingSampler
from mmgen.data.samples import Samples
from mmgen.models.seeds import numpy_stream
from mmgen.training.loop import Position

# No name of a modality, which are identifiers.
LABEL = "(label)"


class PairedBatches:
    """Same-label tuples of all modalities with their label, as the sampler of modal decoupling draws them.

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
        """This process's share: {name: (B / world, C, H, W)} in raw units, and ``LABEL``, (B / world,)."""
        indices = self.sampler.batch(position.epoch, position.step, position.rank, position.world)
        batch = {name: torch.from_numpy(self.samples[name].values[index]) for name, index in indices.items()}
        name, index = next(iter(indices.items()))
        return batch | {LABEL: torch.from_numpy(self.samples[name].labels[index])}


class LabelledBatches:
    """Batches of ``x`` (B, C, H, W) in raw units and ``label`` (B,), as one endless stream of rounds; of samples with
    soft labels also ``probabilities`` (B, K).

    No sample is seen again before all have been seen, and what an update gets depends on seed and update alone.

    Args:
        samples: training samples; what has to be read from files is read when it is needed.
        batch_size: samples in one update; at most all samples, unless they are shared out.
        steps: updates in one epoch of the loop.
        seed: of the order.
        balanced: a round has every class equally often, in turns, and smaller classes come again.
        shared: each process gets its share of a batch instead of the whole.
        parts: a batch consists of so many parts, each of which is shared out by itself.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        steps: int,
        seed: int,
        balanced: bool = False,
        shared: bool = False,
        parts: int = 1,
    ) -> None:
        self.values, self.labels, self.probabilities = samples.values, samples.labels, samples.probabilities
        self.batch_size = batch_size if shared else min(batch_size, len(samples))
        self.shared, self.parts = shared, parts
        self.steps_per_epoch = steps
        self.seed = seed
        self._members = [np.flatnonzero(samples.labels == c) for c in np.unique(samples.labels)] if balanced else None
        self._round_size = len(samples)
        if self._members is not None:
            self._round_size = len(self._members) * max(map(len, self._members))
        self._rounds: dict[int, np.ndarray] = {}

    def batch(self, position: Position) -> dict[str, Tensor]:
        """The batch of an update, or this process's share of it."""
        places = position.update * self.batch_size + np.arange(self.batch_size)
        if self.shared:
            places = places.reshape(self.parts, position.world, -1)[:, position.rank].ravel()
        index = np.array([self._round(place // self._round_size)[place % self._round_size] for place in places])
        soft = {} if self.probabilities is None else {"probabilities": torch.from_numpy(self.probabilities[index])}
        return {"x": torch.from_numpy(self.values[index]), "label": torch.from_numpy(self.labels[index]), **soft}

    def _round(self, number: int) -> np.ndarray:
        if number not in self._rounds:
            rng = numpy_stream(self.seed, number)
            if self._members is None:
                order = rng.permutation(self._round_size)
            else:
                most = max(map(len, self._members))
                columns = [repeated(rng, members, most) for members in self._members]
                order = rng.permuted(np.stack(columns, 1), axis=1).ravel()
            kept = {n: earlier for n, earlier in self._rounds.items() if n == number - 1}  # a batch may straddle two
            self._rounds = kept | {number: order}
        return self._rounds[number]


def repeated(rng: np.random.Generator, members: np.ndarray, count: int) -> np.ndarray:
    """``count`` random ones of members (n,), each of which comes again only after all others."""
    return np.concatenate([rng.permutation(members) for _ in range(-(-count // len(members)))])[:count]


class WholeBatches(LabelledBatches):
    """The whole batch, with every class equally often, for every process: all do the same work."""

    def __init__(self, samples: Samples, batch_size: int, steps: int, seed: int) -> None:
        super().__init__(samples, batch_size, steps, seed, balanced=True, shared=True)

    def batch(self, position: Position) -> dict[str, Tensor]:
        """The batch of an update."""
        return super().batch(replace(position, rank=0, world=1))


def labels_digest(samples: Samples) -> str:
    """A digest of the labels, by which a resumed training knows that its samples are the same."""
    soft = b"" if samples.probabilities is None else samples.probabilities.tobytes()
    return hashlib.sha256(samples.labels.tobytes() + soft).hexdigest()
