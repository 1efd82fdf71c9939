"""The training sets that utility compares: real, synthetic, both, and as many random real samples as synthetic ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from mmgen.data.manifest import label_key
from mmgen.data.samples import Samples
from mmgen.errors import UserError, first_few
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


def align_labels(samples: Samples, like: Samples) -> Samples:
    """The same samples with the label names of ``like``, in its order and spelling; names are compared as
    :func:`mmgen.data.manifest.label_key` does.

    Raises:
        UserError: a class of which only one of them has samples.
    """
    own, others = ({label_key(s.label_names[label]): label for label in np.unique(s.labels)} for s in (samples, like))
    for lacking, has, present in (("real", own, others), ("synthetic", others, own)):
        if missing := [key for key in has if key not in present]:
            source = samples if lacking == "real" else like
            names = first_few(source.label_names[has[key]] for key in missing)
            raise UserError(
                f"There are no {lacking} samples of {names}; give a class that has another name there the same one "
                "with --label-map OLD=NEW, or leave it out with --label-map OLD=."
            )
    places = {label_key(name): label for label, name in enumerate(like.label_names)}
    moved = np.array([places.get(label_key(name), -1) for name in samples.label_names])
    return replace(samples, labels=moved[samples.labels], label_names=like.label_names)


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
