"""How long classifiers are trained that are compared with each other: as long as it helps on real data."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from timm.models.vision_transformer import VisionTransformer

from mmgen.data.samples import Samples
from mmgen.evaluation.utility import UtilityConfig, train_and_test
from mmgen.models.modality import Modality

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

LONGEST = 240.0
"""Seconds that a training may take; a classifier that needs more is trained for as many updates as take no longer, and
on a slow machine these may be fewer."""
_GAIN = 0.005  # of validation AUC; what a doubling adds less than is chance
_SEEDS = 2


def lasting(
    modality: Modality,
    train: Samples,
    validation: Samples,
    config: UtilityConfig,
    accelerator: Accelerator,
    backbone: VisionTransformer | None = None,
) -> dict[int, float]:
    """Validation AUC by number of updates, of trainings on real data alone; see :func:`reached` for the one to take.

    Args:
        train, validation: two parts of the real training data.
        config: of the classifier; the first training has its number of updates.

    Raises:
        UserError: a label that one part lacks, see :func:`train_and_predict`.
    """

    def score(updates: int) -> float:
        longer = replace(config, updates=updates)
        runs = [train_and_test(modality, train, validation, longer, accelerator, s, backbone) for s in range(_SEEDS)]
        return float(np.mean([one["auc"] for one in runs]))

    logger.info("Finding how long %s learns from real data ...", config.classifier)
    scores = plateau(score, config.updates)
    logger.info("%s is trained for %d updates.", config.classifier, reached(scores))
    return scores


def plateau(score: Callable[[int], float], start: int, longest: float = LONGEST) -> dict[int, float]:
    """Scores of trainings of ``start`` updates and of twice as many as before, until a doubling helps no more; the
    number to take is the one before the last, or the last if time ended the search.

    Args:
        score: of a training of so many updates, higher is better.
        longest: seconds; no doubling is tried that would take more by what the one before took.
    """
    scores, updates, seconds = dict[int, float](), start, 0.0
    while not scores or 2 * seconds <= longest:
        begun = time.perf_counter()
        scores[updates] = score(updates)
        seconds = (time.perf_counter() - begun) / _SEEDS
        if reached(scores) != updates:
            break
        updates *= 2
    return scores


def reached(scores: Mapping[int, float]) -> int:
    """The number of updates after which twice as many gained nothing, or the most that was tried."""
    *_, last = tried = sorted(scores)
    if len(tried) > 1 and scores[last] - scores[tried[-2]] <= _GAIN:
        return tried[-2]
    return last
