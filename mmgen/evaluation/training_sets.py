"""The training sets that utility compares, and the parts that real data are cut into for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from mmgen.data.labels import align_labels
from mmgen.data.samples import Samples
from mmgen.errors import UserError

# Fewer of a label than this are no basis to choose weights by.
LEAST_HELD_OUT = 4


def four_sets(
    real: Samples, synthetic: Samples, max_side: int, draws: int, seed: int = 0
) -> dict[str, Samples | list[Samples]]:
    """Training sets for :func:`mmgen.evaluation.utility.utility`, reduced to ``max_side``.

    "real" (train on real, test on real), "synthetic" (train on synthetic, test on real), "real+synthetic", and
    "random_subset": of every class as many real samples as the synthetic set has, or all where there are fewer, drawn
    anew for each of the ``draws`` seeds from ``seed`` on.

    Labels of the synthetic set are matched by name and get the order and spelling of the real ones. Where it has soft
    labels, the real samples in "real+synthetic" are certain of theirs.

    Raises:
        UserError: a class that one side lacks, or samples of different shapes.
    """
    synthetic = align_labels(synthetic, real)
    if real.values.shape[1:] != synthetic.values.shape[1:]:
        raise UserError(
            f"Real samples have the shape {tuple(real.values.shape[1:])}, synthetic ones "
            f"{tuple(synthetic.values.shape[1:])}; read both with the settings of the model that made the latter."
        )
    real, synthetic = reduced(real, max_side), reduced(synthetic, max_side)
    per_class = np.bincount(synthetic.labels, minlength=len(real.label_names))
    return {
        "real": real,
        "synthetic": synthetic,
        "real+synthetic": Samples(
            np.concatenate([real.values[:], synthetic.values[:].astype(real.values.dtype)]),
            np.concatenate([real.labels, synthetic.labels]),
            real.label_names,
            # A synthetic file is none of the real ones, whatever its number is.
            np.concatenate([real.rows, synthetic.rows + real.rows.max() + 1]),
            probabilities=None
            if synthetic.probabilities is None
            else np.concatenate([_certain(real), synthetic.probabilities]),
        ),
        "random_subset": [random_subset(real, per_class, seed + number) for number in range(draws)],
    }


def _certain(samples: Samples) -> np.ndarray:
    """(N, classes) float32: 1 for the label of each sample."""
    return np.eye(len(samples.label_names), dtype=np.float32)[samples.labels]


def random_subset(samples: Samples, per_class: ArrayLike, seed: int) -> Samples:
    """Random samples, in their order: so many of each class (one number, or one a class), or all where there are
    fewer."""
    rng = np.random.default_rng(seed)
    counts = np.broadcast_to(per_class, len(samples.label_names))
    chosen = [rng.permutation(np.flatnonzero(samples.labels == label))[:count] for label, count in enumerate(counts)]
    return samples.select(np.sort(np.concatenate(chosen)))


def as_draws(training_sets: Mapping[str, Samples | Sequence[Samples]], max_side: int) -> dict[str, list[Samples]]:
    """Every training set as a list of its draws, reduced to ``max_side``."""
    return {
        name: [reduced(drawn, max_side) for drawn in ([sets] if isinstance(sets, Samples) else sets)]
        for name, sets in training_sets.items()
    }


def reduced(samples: Samples, max_side: int) -> Samples:
    """Samples of which no side is longer than ``max_side``, in their own dtype; the same object if none is."""
    factor = max_side / max(samples.values.shape[2:])
    if factor >= 1:
        return samples
    parts = []
    for start in range(0, len(samples), 256):
        x = torch.from_numpy(samples.values[start : start + 256])
        small = F.interpolate(
            x.float(), scale_factor=factor, mode="bilinear", antialias=True, recompute_scale_factor=True
        )
        # Averages of bytes are bytes; float16 needs no rounding.
        parts.append((small if x.is_floating_point() else small.round()).to(x.dtype))
    return replace(samples, values=torch.cat(parts).numpy())


def hold_out(samples: Samples, share: float, seed: int) -> tuple[Samples, Samples | None]:
    """Training and validation part: ``share`` of every label's files, with all their segments.

    The second is None, and the first everything, where a label would give fewer than :data:`LEAST_HELD_OUT` files.
    """
    rng, taken = np.random.default_rng(seed), []
    for label in np.unique(samples.labels):
        files = np.unique(samples.rows[samples.labels == label])
        count = round(share * len(files))
        if count < LEAST_HELD_OUT:
            return samples, None
        taken.append(rng.choice(files, count, replace=False))
    held = np.isin(samples.rows, np.concatenate(taken))
    return samples.select(~held), samples.select(held)


def fold_of(samples: Samples, subjects: np.ndarray | None, folds: int, seed: int = 0) -> np.ndarray:
    """(N,) which of ``folds`` parts each sample is in: subjects are dealt out label by label, in a random order.

    Args:
        subjects: (N,) whose sample each is; None: segments of one file stay together. Somebody who has samples of
            several labels is dealt out with the first.

    Raises:
        UserError: fewer than two folds, or a part that would have no sample of a label.
    """
    if folds < 2:
        raise UserError(f"Cross-validation needs at least 2 folds, got {folds}.")
    _, first, subject = np.unique(
        samples.rows if subjects is None else subjects, return_index=True, return_inverse=True
    )
    rng, part, dealt = np.random.default_rng(seed), np.zeros(len(first), dtype=np.int64), 0
    for label in np.unique(samples.labels):
        members = rng.permutation(np.flatnonzero(samples.labels[first] == label))
        # The next label goes on where this one ended, so that parts are of equal size.
        part[members] = (dealt + np.arange(len(members))) % folds
        dealt += len(members)
    chosen = part[subject]
    for label in np.unique(samples.labels):
        present = len(np.unique(chosen[samples.labels == label]))
        if present < folds:
            raise UserError(
                f"The label '{samples.label_names[label]}' is in {present} of {folds} folds only, because few people "
                "have it; take fewer folds."
            )
    return chosen
