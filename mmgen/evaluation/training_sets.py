"""The training sets that utility compares: real, synthetic, both, and as many random real samples as synthetic ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mmgen.data.labels import align_labels
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.utility import UtilityConfig, reduced


def four_sets(
    real: Samples, synthetic: Samples, config: UtilityConfig, seed: int = 0
) -> dict[str, Samples | list[Samples]]:
    """Training sets for :func:`mmgen.evaluation.utility.utility`, reduced to the classifiers' size.

    "real" (train on real, test on real), "synthetic" (train on synthetic, test on real), "real+synthetic", and
    "random_subset": of every class as many real samples as the synthetic set has, or all where there are fewer, drawn
    anew for each of the ``config.seeds`` seeds from ``seed`` on.

    Labels of the synthetic set are matched by name and get the order and spelling of the real ones.

    Raises:
        UserError: a class that one side lacks, or samples of different shapes.
    """
    synthetic = align_labels(synthetic, real)
    if real.values.shape[1:] != synthetic.values.shape[1:]:
        raise UserError(
            f"Real samples have the shape {tuple(real.values.shape[1:])}, synthetic ones "
            f"{tuple(synthetic.values.shape[1:])}; read both with the settings of the model that made the latter."
        )
    real, synthetic = reduced(real, config.max_side), reduced(synthetic, config.max_side)
    per_class = np.bincount(synthetic.labels, minlength=len(real.label_names))
    return {
        "real": real,
        "synthetic": synthetic,
        "real+synthetic": _joined(real, synthetic),
        "random_subset": [random_subset(real, per_class, seed + number) for number in range(config.seeds)],
    }


def random_subset(samples: Samples, per_class: ArrayLike, seed: int) -> Samples:
    """Random samples, in their order: so many of each class (one number, or one a class), or all where there are
    fewer."""
    rng = np.random.default_rng(seed)
    counts = np.broadcast_to(per_class, len(samples.label_names))
    chosen = [rng.permutation(np.flatnonzero(samples.labels == label))[:count] for label, count in enumerate(counts)]
    return samples.select(np.sort(np.concatenate(chosen)))


def _joined(real: Samples, synthetic: Samples) -> Samples:
    values = np.concatenate([real.values[:], synthetic.values[:].astype(real.values.dtype)])
    labels = np.concatenate([real.labels, synthetic.labels])
    # A synthetic file is none of the real ones, whatever its number is.
    rows = np.concatenate([real.rows, synthetic.rows + real.rows.max() + 1])
    return Samples(values, labels, real.label_names, rows)
