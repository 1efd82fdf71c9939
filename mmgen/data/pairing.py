"""Modal decoupling (MMAE paper, section III-B): any sample of one modality with any same-label sample of the others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmgen.errors import UserError


class ModalDecouplingSampler:
    """Fresh same-label partners every epoch, a function of (seed, epoch) alone.

    Every epoch visits every sample of every modality at least once: class c contributes max_k n_c^k tuples, and
    modalities with fewer samples go round again in a new order. The epoch is filled up to whole batches from its own
    beginning, so that shapes are static.

    Args:
        labels: (n_k,) class indices of each modality's samples, K >= 1 modalities.
        batch_size: tuples in one global batch, over all processes.
        seed: seed of all epochs.

    Raises:
        UserError: a class that a modality lacks, or no samples.
    """

    def __init__(self, labels: Mapping[str, np.ndarray], batch_size: int, seed: int) -> None:
        classes = {name: set(np.unique(values).tolist()) for name, values in labels.items()}
        every = set().union(*classes.values())
        lacking = {name: sorted(every - present) for name, present in classes.items() if every - present}
        if lacking or not every:
            raise UserError(
                f"Every label needs samples in every modality; labels without any, by modality: {lacking or 'all'}."
            )
        if batch_size < 1:
            raise UserError(f"The batch size must be positive, got {batch_size}.")
        self.batch_size = batch_size
        self.seed = seed
        self._members = [{name: np.flatnonzero(values == c) for name, values in labels.items()} for c in sorted(every)]
        self.tuples = sum(max(len(members) for members in by_name.values()) for by_name in self._members)
        self.steps_per_epoch = -(-self.tuples // batch_size)
        self._cached: tuple[int, dict[str, np.ndarray]] | None = None

    def epoch(self, epoch: int) -> dict[str, np.ndarray]:
        """Sample indices of an epoch, {name: (steps_per_epoch * batch_size,)}; equal positions are partners."""
        if self._cached is None or self._cached[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            parts: dict[str, list[np.ndarray]] = {name: [] for name in self._members[0]}
            for by_name in self._members:
                most = max(len(members) for members in by_name.values())
                for name, members in by_name.items():
                    rounds = [rng.permutation(members) for _ in range(-(-most // len(members)))]
                    parts[name].append(np.concatenate(rounds)[:most])
            order = np.resize(rng.permutation(self.tuples), self.steps_per_epoch * self.batch_size)
            self._cached = epoch, {name: np.concatenate(part)[order] for name, part in parts.items()}
        return self._cached[1]

    def batch(self, epoch: int, step: int, rank: int = 0, world: int = 1) -> dict[str, np.ndarray]:
        """This process's share of one global batch: {name: (batch_size / world,)}, disjoint between ranks.

        Raises:
            UserError: ``world`` does not divide the batch size.
        """
        if self.batch_size % world:
            raise UserError(
                f"The batch size ({self.batch_size}) must be a multiple of the number of processes ({world})."
            )
        share = self.batch_size // world
        start = step * self.batch_size + rank * share
        return {name: indices[start : start + share] for name, indices in self.epoch(epoch).items()}
