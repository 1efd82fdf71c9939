"""A teacher: a classifier trained on real images, whose probabilities are the soft labels of a condensed set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from timm.models.vision_transformer import VisionTransformer

from mmgen.data.samples import Samples
from mmgen.evaluation.utility import UtilityConfig, labelled_by_teacher, trained_classifier
from mmgen.models.modality import Modality
from mmgen.names import BudgetName
from mmgen.training.run import Run

TEACHER = "teacher"
"""Name of the training in the folder of a run."""

# Classes equally often, so that probabilities of a condensed set, which has them so, are not those of a rare class.
TEACHERS: Mapping[BudgetName, UtilityConfig] = {
    "quick": UtilityConfig("convnet", updates=60, max_side=32, balance="sampling", validation_share=0.1),
    "small": UtilityConfig("convnet", updates=400, max_side=64, balance="sampling", validation_share=0.1),
    "paper": UtilityConfig("resnet18", updates=5000, max_side=224, balance="sampling", validation_share=0.1),
}
"""How teachers are trained, by budget; a tenth of the training part, where that is large enough, is held out of it to
choose the weights."""


def soft_labels(
    modality: Modality,
    train: Samples,
    images: Samples,
    config: UtilityConfig,
    run: Run,
    backbone: VisionTransformer | None = None,
) -> np.ndarray:
    """Probabilities (N, classes) float32 that a classifier trained on ``train`` gives ``images``.

    Whatever is not in ``train`` (validation and test parts) has no influence on them. They do say something of the
    training images: whoever shares them shares answers of the teacher.

    Args:
        modality: normalises samples of both sets.
        train: the training part of real data.
        images: those to be labelled, with the class names of ``train``.
        config: how the teacher is trained; of :data:`TEACHERS`, or another.
        run: engine, folder and seed of the teacher's training.
        backbone: a pretrained ViT that is tuned with LoRA instead of the configuration's network.
    """
    config = config if backbone is None else config.of_classifier("vit_lora", modality)
    teacher = trained_classifier(modality, train, config, run, backbone)
    (labelled,) = labelled_by_teacher(teacher, modality, [images], config, run.accelerator)
    return labelled.probabilities
