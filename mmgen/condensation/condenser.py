"""What every method of condensation has in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch

from mmgen.data.samples import Samples, channel_statistics
from mmgen.errors import UserError, first_few
from mmgen.models.condensed import CondensedModel, LabelledImages
from mmgen.models.images import check_images
from mmgen.models.modality import Modality
from mmgen.training.checkpoint import Checkpoints

if TYPE_CHECKING:
    from accelerate import Accelerator


class Length(NamedTuple):
    """How long a training is: so many optimiser steps, or passes over the data."""

    count: int
    unit: Literal["updates", "epochs"] = "updates"

    def in_loop(self, samples: int, batch_size: int, rows: int = 20) -> tuple[int, int]:
        """(epochs, steps in each) for a loop, which logs once an epoch; updates are cut into about ``rows`` parts."""
        if self.unit == "epochs":
            return self.count, math.ceil(samples / batch_size)
        return in_epochs(self.count, rows)


def in_epochs(updates: int, rows: int = 20) -> tuple[int, int]:
    """(epochs, steps in each) of about ``rows`` epochs, for so many updates and fewer than an epoch more."""
    steps = max(math.ceil(updates / rows), 1)
    return math.ceil(updates / steps), steps


class Condenser(ABC):
    """Condenses one labelled image set.

        condenser = DM(config, accelerator, train).fit()
        condenser.sample(10, seed=0)
        condenser.save(folder)  # load_model(folder) gives condenser.model again

    Images are read when they are needed, so that the set need not fit into memory.

    Args:
        config: sizes and lengths, of the method's own kind.
        accelerator: engine of this process.
        train: labelled square images, uint8; at least two classes.
        validation: images that choose the weights of networks trained on real images; None: the last ones are kept.
        people: (N,) whose image each of ``train`` is; None counts every image as another person's.
        folder: where the stages keep logs, previews and checkpoints; None writes nothing.
        resume: go on with what is in ``folder``.
        name: of the modality.

    Attributes:
        method: name of the method.
        stages: names of the trainings of one fit, in order, each in a folder of that name.
        fits_one_size: whether a fit is for one number of images a class, ``config.images_per_class``.

    Raises:
        UserError: images, classes or settings that do not fit.
    """

    method: ClassVar[str]
    stages: ClassVar[tuple[str, ...]]
    fits_one_size: ClassVar[bool] = False

    def __init__(
        self,
        config: Any,
        accelerator: Accelerator,
        train: Samples,
        validation: Samples | None = None,
        people: np.ndarray | None = None,
        folder: Path | None = None,
        resume: bool = False,
        name: str = "image",
    ) -> None:
        channels, height, width = train.values.shape[1:]
        check_images(max(height, width), channels)
        if len(train.label_names) < 2:
            raise UserError(f"Condensation needs at least two labels; the data have {list(train.label_names)} alone.")
        absent = [label for index, label in enumerate(train.label_names) if not (train.labels == index).any()]
        if absent:
            raise UserError(f"There is no training image of {first_few(absent)}; add some or leave the label out.")
        self.config, self.accelerator, self.folder, self.resume = config, accelerator, folder, resume
        self.train, self.people = train, people
        self.validation = validation if validation is not None and len(validation) else None
        self.modality = image_modality(name, train)
        self._begin()

    def _begin(self) -> None:  # noqa: B027  # not every method has something to make
        """What a method makes before its first stage."""

    @property
    @abstractmethod
    def model(self) -> CondensedModel:
        """What is kept; finished after :meth:`fit`. It shares no weights with what is trained."""

    @abstractmethod
    def fit(self) -> Self:
        """All stages."""

    def sample(self, images_per_class: int, seed: int = 0) -> Samples:
        """A condensed set, of as many images of each class."""
        chosen = self.chosen(images_per_class, seed)
        return to_samples(self.model.sample(images_per_class, seed)) if chosen is None else chosen

    def chosen(self, images_per_class: int, seed: int = 0) -> Samples | None:
        """The condensed set where it is another than the first images of :attr:`model`; None where it is those."""
        return None

    @property
    def choose_from(self) -> int | None:
        """Draws of each class that :meth:`chosen` chooses from; None where it does not choose."""
        return None

    def save(self, folder: Path) -> None:
        """Write the model; :func:`mmgen.artifacts.models.load_model` reads it."""
        self.model.save_pretrained(folder)

    def _stage(self, name: str) -> tuple[Path | None, bool]:
        """Folder of a stage, and whether to go on with what is there: a stage that had not begun starts."""
        if self.folder is None:
            return None, False
        folder = self.folder / name
        return folder, self.resume and Checkpoints(folder / "checkpoints").resumable


def image_modality(name: str, train: Samples, patch: int = 1) -> Modality:
    """A modality of pictures like these, normalised by their mean and deviation."""
    mean, std = channel_statistics(train.at_most().values)
    return Modality(name, train.values.shape[1:], (patch, patch), mean, std, value_range=(0.0, 255.0))


def to_samples(made: LabelledImages) -> Samples:
    """Images of a model as samples, numbered in their order."""
    return Samples(made.images.numpy(), made.labels.numpy(), made.class_names, torch.arange(len(made.labels)).numpy())


def set_stages_aside(folder: Path, stages: tuple[str, ...]) -> None:
    """Rename what an earlier run left of every stage, so that it is not taken for this one's."""
    for stage in stages:
        Checkpoints(folder / stage / "checkpoints").set_aside()
