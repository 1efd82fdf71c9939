"""A masked autoencoder whose draws MedSynth's generator starts from, and the pool of them that it is trained with."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mmgen.condensation.mae import MAE, MAEMethodConfig
from mmgen.data.progress import progress_bar
from mmgen.data.samples import Samples
from mmgen.models.condensed import BATCH
from mmgen.models.drawn_prior import DrawnPrior
from mmgen.models.mae_generator import MAEGenerator
from mmgen.models.memory import refuse_beyond_memory
from mmgen.names import AugmentationName
from mmgen.training.run import Run

# Which no condensed set is drawn with.
_SEED = 0x706F6F6C


def autoencoder(
    config: MAEMethodConfig,
    augmentation: AugmentationName,
    run: Run,
    train: Samples,
    validation: Samples | None,
    name: str,
) -> MAE:
    """The method ``mae`` on MedSynth's images, in the folder ``prior`` of its run."""
    # No stage of this name, which would have to be resumable itself: its stages are.
    inside = run if run.folder is None else replace(run, folder=run.folder / "prior")
    return MAE(replace(config, augmentation=augmentation), inside, train, validation, name=name)


def trained_prior(method: MAE, pool: int) -> DrawnPrior:
    """The prior of a fit, with so many draws of each class to train with.

    Raises:
        UserError: more than memory holds.
    """
    drawing = method.fit().model.to(method.run.accelerator.device)
    return DrawnPrior.build(drawing, draw_pool(drawing, pool))


def draw_pool(generator: MAEGenerator, size: int) -> Tensor:
    """So many images of each class, uint8 (K, size, C, H, W), the same every time.

    Raises:
        UserError: more than memory holds.
    """
    classes, batches = len(generator.class_names), -(-size // BATCH)
    refuse_beyond_memory(2 * classes * batches * BATCH, torch.Size(generator.shape).numel())
    places = [(label, batch) for label in range(classes) for batch in range(batches)]
    drawn = [generator.make_batch(*place, _SEED) for place in progress_bar(places, len(places), "drawing")]
    return torch.stack(drawn).view(classes, batches * BATCH, *drawn[0].shape[1:])[:, :size]
