"""How the classifiers of ``table1.py`` are trained: as long as it helps on all real images, then alike on every set;
and the teacher whose labels every set gets too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmgen.data.samples import Samples
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError, first_few
from mmgen.evaluation.plateau import lasting, reached
from mmgen.evaluation.teacher import TEACHER
from mmgen.evaluation.utility import UtilityConfig, labelled_by_teacher, trained_classifier
from mmgen.models.modality import Modality
from mmgen.training.run import Run


class Protocol:
    """Length of every classifier's training and the teacher, found once in a folder and kept there.

    Args:
        run: its folder gets ``plateau.json`` and the teacher's training.
        modality: of the images.
        train, validation: the training part, and real images that only choose lengths.
        how: everything else of the trainings.
        updates: for all classifiers; None: as :func:`lasting` finds.
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

            sides = self.train, self.validation
            scores = lasting(self.modality, *sides, how, self.run.accelerator, backbone)
            found[classifier] = {"updates": reached(scores), "validation_auc": scores}
            with new_file(self._path, sync=True) as file:
                file.write(json.dumps(found, indent=1).encode())
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
