"""Utility without a fixed test set: k-fold cross-validation over the real data."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from timm.models.vision_transformer import VisionTransformer

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.training_sets import four_sets
from mmgen.evaluation.utility import Outcome, UtilityConfig, add_recovery, as_draws, measure_all, reduced, summary
from mmgen.models.modality import Modality

if TYPE_CHECKING:
    from accelerate import Accelerator


def utility_by_folds(
    modality: Modality,
    real: Samples,
    synthetic: Samples,
    people: np.ndarray | None,
    config: UtilityConfig,
    accelerator: Accelerator,
    backbone: VisionTransformer | None = None,
) -> dict[str, dict[str, Any]]:
    """The four training sets, each tested on every one of ``config.folds`` parts of the real data.

    For each part, "real" and "random_subset" are taken from the other parts; "synthetic" is the whole synthetic set.
    **The synthetic rows are optimistic** unless the generator was trained on other people: it has seen the other parts
    and the tested one too. A fixed test set that no model has seen is the better measure and the usual one.

    Args:
        people: (N,) whose sample each real one is, see :meth:`.Samples.subject_numbers`; None: every file is a
            person of its own. A person is in one part only.

    Returns:
        As :func:`mmgen.evaluation.utility.utility`, with "folds". Mean, deviation and interval are over folds, of each
        of which the mean of ``config.seeds`` trainings counts; folds share training data, so the interval is rather
        too short. "n_train" is the mean over folds, "n_test" the number of all real samples, each of which is tested
        once a seed.

    Raises:
        UserError: fewer than two folds, a label of fewer people than folds, or see :func:`four_sets`.
    """
    real, synthetic = reduced(real, config.max_side), reduced(synthetic, config.max_side)
    part = fold_of(real, people, config.folds)
    found: defaultdict[str, list[list[Outcome]]] = defaultdict(list)
    sizes: defaultdict[str, list[int]] = defaultdict(list)
    for fold in range(config.folds):
        draws = as_draws(four_sets(real.select(part != fold), synthetic, config), config.max_side)
        title = f"{config.classifier} on {modality.name}, part {fold + 1} of {config.folds}"
        tested = measure_all(modality, draws, real.select(part == fold), config, accelerator, backbone, title)
        for name, of_seeds in tested.items():
            found[name].append(of_seeds)
            sizes[name].append(len(draws[name][0]))
    entries = {
        name: {
            **summary(runs, real.label_names),
            "folds": config.folds,
            "seeds": config.seeds,
            "n_train": round(float(np.mean(sizes[name]))),
            "n_test": len(real),
            "updates": config.updates,
            "max_side": min(config.max_side, max(modality.shape[1:])),
        }
        for name, runs in found.items()
    }
    add_recovery(entries)
    return entries


def fold_of(samples: Samples, people: np.ndarray | None, folds: int, seed: int = 0) -> np.ndarray:
    """(N,) which of ``folds`` parts each sample is in: people are dealt out label by label, in a random order.

    Args:
        people: (N,) see :func:`utility_by_folds`; None: segments of one file stay together. Somebody who has samples of
            several labels is dealt out with the first.

    Raises:
        UserError: fewer than two folds, or a part that would have no sample of a label.
    """
    if folds < 2:
        raise UserError(f"Cross-validation needs at least 2 folds, got {folds}.")
    _, first, person = np.unique(samples.rows if people is None else people, return_index=True, return_inverse=True)
    rng, part, dealt = np.random.default_rng(seed), np.zeros(len(first), dtype=np.int64), 0
    for label in np.unique(samples.labels):
        members = rng.permutation(np.flatnonzero(samples.labels[first] == label))
        # The next label goes on where this one ended, so that parts are of equal size.
        part[members] = (dealt + np.arange(len(members))) % folds
        dealt += len(members)
    chosen = part[person]
    for label in np.unique(samples.labels):
        present = len(np.unique(chosen[samples.labels == label]))
        if present < folds:
            raise UserError(
                f"The label '{samples.label_names[label]}' is in {present} of {folds} folds only, because few people "
                "have it; take fewer folds."
            )
    return chosen
