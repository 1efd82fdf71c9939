"""The interface of all methods of condensation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from mmgen.data.samples import Samples, channel_statistics
from mmgen.errors import UserError, first_few
from mmgen.models.condensed import CondensedModel, LabelledImages
from mmgen.models.images import check_images
from mmgen.models.modality import Modality
from mmgen.models.teacher import Teacher
from mmgen.training.loop import LoopConfig
from mmgen.training.run import Run


class Length(NamedTuple):
    """How long a training is: so many optimiser steps, or passes over the data."""

    count: int
    unit: Literal["updates", "epochs"] = "updates"

    def loop(self, samples: int, batch_size: int, ema_decay: float = 0.0) -> LoopConfig:
        """A loop of this length at a constant learning rate, which logs once an epoch; see :func:`loop_of`."""
        if self.unit == "updates":
            return loop_of(self.count, ema_decay)
        return LoopConfig(self.count, math.ceil(samples / batch_size), "constant", warmup=0.0, ema_decay=ema_decay)


def loop_of(updates: int, ema_decay: float = 0.0) -> LoopConfig:
    """About 20 epochs of so many updates in all, and fewer than an epoch more, at a constant learning rate."""
    steps = max(math.ceil(updates / 20), 1)
    return LoopConfig(math.ceil(updates / steps), steps, "constant", warmup=0.0, ema_decay=ema_decay)


class Condenser(ABC):
    """Condenses one labelled image set.

        condenser = DM(config, Run(make_accelerator()), train).fit()
        condenser.sample(10, seed=0)
        condenser.save(folder)  # load_model(folder) gives condenser.model again

    Images are read when they are needed, so that the set need not fit into memory.

    Args:
        config: sizes and lengths, of the method's own kind.
        run: its folder gets one of each stage; its seed is that of everything.
        train: labelled square images, uint8; at least two classes.
        validation: images that choose the weights of networks trained on real images; None: the last ones are kept.
        subjects: (N,) whose image each of ``train`` is; None counts every image as another subject's.
        name: of the modality.

    Attributes:
        method: name of the method.
        presets: its settings by budget.
        options: names of the settings that are of this method alone, see :meth:`adapt`.
        stages: names of the trainings of one fit, in order, each in a folder of that name.
        fits_one_size: whether a fit is for one number of images a class, ``config.images_per_class``.

    Raises:
        UserError: images, classes or settings that do not fit.
    """

    method: ClassVar[str]
    presets: ClassVar[Mapping[str, Any]]
    options: ClassVar[tuple[str, ...]] = ()
    stages: ClassVar[tuple[str, ...]]
    fits_one_size: ClassVar[bool] = False

    def __init__(
        self,
        config: Any,
        run: Run,
        train: Samples,
        validation: Samples | None = None,
        subjects: np.ndarray | None = None,
        name: str = "image",
    ) -> None:
        channels, height, width = train.values.shape[1:]
        check_images(max(height, width), channels)
        if len(train.label_names) < 2:
            raise UserError(f"Condensation needs at least two labels; the data have {list(train.label_names)} alone.")
        absent = [label for index, label in enumerate(train.label_names) if not (train.labels == index).any()]
        if absent:
            raise UserError(f"There is no training image of {first_few(absent)}; add some or leave the label out.")
        self.config, self.run, self.train, self.subjects = config, run, train, subjects
        self.validation = validation if validation is not None and len(validation) else None
        self.modality = image_modality(name, train)
        self._begin()

    @classmethod
    def adapt(cls, settings: Any, **options: Any) -> Any:
        """Settings with these of the method's own :attr:`options`."""
        return replace(settings, **options)

    def _begin(self) -> None:  # noqa: B027  # not every method has something to make
        """Make everything that is there before the first stage."""

    @property
    @abstractmethod
    def model(self) -> CondensedModel:
        """The model that is kept; finished after :meth:`fit`. It shares no weights with what is trained."""

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
    def teacher(self) -> Teacher | None:
        """The network trained on the training images that :meth:`chosen` asks; None where it asks none."""
        return None

    @property
    def choose_from(self) -> int | None:
        """Draws of each class that :meth:`chosen` chooses from; None where it does not choose."""
        return None

    def save(self, folder: Path) -> None:
        """Write the model; :func:`mmgen.artifacts.models.load_model` reads it."""
        self.model.save_pretrained(folder)


def image_modality(name: str, train: Samples, patch: int = 1) -> Modality:
    """A modality of pictures like these, normalised by their mean and deviation."""
    mean, std = channel_statistics(train.at_most().values)
    return Modality(name, train.values.shape[1:], (patch, patch), mean, std, value_range=(0.0, 255.0))


def to_samples(images: LabelledImages) -> Samples:
    """Images of a model as samples, numbered in their order."""
    return Samples(images.images.numpy(), images.labels.numpy(), images.class_names, np.arange(len(images.labels)))
