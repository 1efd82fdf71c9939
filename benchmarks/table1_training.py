"""How the classifiers of ``table1.py`` are trained: as long as it helps on all real images, then alike on every set;
and the teacher whose labels every set gets too."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmgen.data.samples import Samples
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError, first_few
from mmgen.evaluation.teacher import TEACHER
from mmgen.evaluation.utility import UtilityConfig, labelled_by_teacher, train_and_test, trained_classifier
from mmgen.models.modality import Modality
from mmgen.training.run import Run

logger = logging.getLogger("mmgen")

LONGEST = 240.0
"""Seconds that a training may take; a classifier that needs more is trained for as many updates as take no longer."""
_GAIN = 0.005  # of validation AUC; what a doubling adds less than is chance
_SEEDS = 2


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


def reached(scores: dict[int, float]) -> int:
    """The number of updates after which twice as many gained nothing, or the most that was tried."""
    *_, last = tried = sorted(scores)
    if len(tried) > 1 and scores[last] - scores[tried[-2]] <= _GAIN:
        return tried[-2]
    return last


class Protocol:
    """Length of every classifier's training and the teacher, found once in a folder and kept there.

    Args:
        run: its folder gets ``plateau.json`` and the teacher's training.
        modality: of the images.
        train, validation: the training part, and real images that only choose lengths.
        how: everything else of the trainings.
        updates: for all classifiers; None: as :func:`plateau` finds.
    """

    def __init__(
        self,
        run: Run,
        modality: Modality,
        train: Samples,
        validation: Samples,
        how: UtilityConfig,
        updates: int | None = None,
    ) -> None:
        self.run, self.modality, self.train, self.validation = run, modality, train, validation
        self.how, self.updates = how, updates
        self._path = cast(Path, run.folder) / "plateau.json"
        self._teacher: nn.Module | None = None

    def of(self, classifier: str, backbone: VisionTransformer | None) -> UtilityConfig:
        """How a classifier is trained on every set."""
        how = replace(self.how, classifier=classifier)
        if self.updates is not None:
            return replace(how, updates=self.updates)
        found = json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}
        if classifier not in found:
            absent = set(range(len(self.train.label_names))) - set(np.unique(self.validation.labels).tolist())
            if absent:
                lacking = first_few([self.train.label_names[label] for label in sorted(absent)])
                raise UserError(f"No validation image of {lacking} says how long to train; give --updates.")

            def score(updates: int) -> float:
                longer, sides = replace(how, updates=updates), (self.train, self.validation)
                engine = self.run.accelerator
                runs = [train_and_test(self.modality, *sides, longer, engine, s, backbone) for s in range(_SEEDS)]
                return float(np.mean([one["auc"] for one in runs]))

            logger.info("Finding how long %s learns from all real images ...", classifier)
            scores = plateau(score, how.updates)
            found[classifier] = {"updates": reached(scores), "validation_auc": scores}
            with new_file(self._path, sync=True) as file:
                file.write(json.dumps(found, indent=1).encode())
            logger.info("%s is trained for %d updates.", classifier, reached(scores))
        return replace(how, updates=found[classifier]["updates"])

    def labelled(self, samples: Samples, config: UtilityConfig, backbone: VisionTransformer | None) -> Samples:
        """Samples with the soft labels of the teacher, which is trained on the training part alone.

        Args:
            config: of the teacher.
        """
        if self._teacher is None:
            stage = self.run.stage(TEACHER)
            self._teacher = trained_classifier(self.modality, self.train, config, stage, backbone)
        return labelled_by_teacher(self._teacher, self.modality, [samples], config, self.run.accelerator)[0]
