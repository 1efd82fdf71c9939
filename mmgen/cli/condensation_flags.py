"""Flags of what condenses a labelled image set: the commands, the recipes and the comparison of methods."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from mmgen.cli.data_flags import CachedDataFlags
from mmgen.data.images import ImageSettings
from mmgen.errors import UserError
from mmgen.names import (
    IMAGE,
    OWN_BACKBONE,
    AugmentationName,
    BudgetName,
    InputPrior,
    MatchingForm,
    MethodName,
    Precision,
)

if TYPE_CHECKING:
    from accelerate import Accelerator

    from mmgen.condensation.condenser import Condenser
    from mmgen.condensation.medsynth import MedSynthConfig
    from mmgen.data.loading import PairedData
    from mmgen.data.sources import Source
    from mmgen.presets import Scale

logger = logging.getLogger(__name__)

# Images that are looked at for colour, and the side that they are reduced to.
_LOOKED_AT, _LOOK = 32, 32


@dataclass(frozen=True, kw_only=True)
class ImageSetFlags(CachedDataFlags, ABC):
    """Base of what reads a labelled image set to make it smaller."""

    image_size: int | None = None
    """Side of the images in pixels, a multiple of 16 from 32 to 256; the preset's if absent."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for colour; as the images are if absent."""
    augmentation: AugmentationName | None = None
    """What may change in these pictures without another meaning: lesion, radiograph (never mirrored), none ...; if
    absent lesion for colour and radiograph for grey images."""
    backbone: str = OWN_BACKBONE
    """ViT that is tuned: mae pretrains one on the images, any other name is a timm model's (its weights come from the
    hub)."""
    backbone_weights: Path | None = None
    """File of that timm model's weights, instead of the hub."""
    seed: int = 0
    """Seed of everything."""
    mixed_precision: Precision = "auto"
    """bf16 where the hardware has it, no, or auto; critics compute in fp32 in any case."""

    @property
    @abstractmethod
    def size(self) -> BudgetName:
        """Name of the sizes and lengths of everything."""

    @property
    def scale(self) -> Scale:
        """What goes with these sizes beside the fit itself."""
        from mmgen.presets import SCALES

        return SCALES[self.size]

    @property
    def images(self) -> ImageSettings:
        """What image files are turned into."""
        from mmgen.models.images import check_images

        side = self.scale.image_size if self.image_size is None else self.image_size
        channels = self.channels or 3
        check_images(side, channels)
        return ImageSettings(side, channels)

    def fitted_to(self, path: Path) -> Self:
        """The same flags with the channels and augmentation of these images where none were given; says which."""
        from mmgen.data.sources import reading_of

        channels, augmentation = self.channels, self.augmentation
        if channels is None:
            (source,) = reading_of(self).sources({IMAGE: path}, {IMAGE: ImageSettings(_LOOK, 3)}).values()
            channels = 1 if are_grey(source) else 3
        if augmentation is None:
            augmentation = "radiograph" if channels == 1 else "lesion"
        if (channels, augmentation) != (self.channels, self.augmentation):
            logger.info("Images are taken for: --channels %d --augmentation %s", channels, augmentation)
        return replace(self, channels=channels, augmentation=augmentation)

    def refuse_unusable(self) -> None:
        """Raise UserError, before the data are read, for flags that no training can begin with."""
        self.images  # noqa: B018  # raises for sizes that are not offered
        if self.seed < 0:
            raise UserError(f"--seed must be 0 or more, got {self.seed}.")
        if self.backbone_weights is not None and not self.backbone_weights.is_file():
            raise UserError(f"There is no file {self.backbone_weights} of weights; correct --backbone-weights.")

    def read(self, path: Path, out: Path) -> PairedData:
        """The images of a folder, CSV or published data set, for output in ``out``."""
        from mmgen.data.loading import prepare
        from mmgen.data.sources import reading_of

        reading = reading_of(self, out, self.seed)
        return prepare(reading.sources({IMAGE: path}, {IMAGE: self.images}), reading)


def are_grey(source: Source) -> bool:
    """Whether none of some images, all over the set, has a colour; those that cannot be read are passed over."""
    from mmgen.data.decoding import DecodedFiles
    from mmgen.data.overview import read_matched
    from mmgen.data.sources import Reading

    manifest = read_matched({IMAGE: source}, Reading(skip_bad=True))[IMAGE]
    rows = np.unique(np.linspace(0, len(manifest) - 1, _LOOKED_AT).round().astype(int))
    files = DecodedFiles(manifest.files, [manifest.paths[row] for row in rows], source.settings, None)
    unreadable = files.fill(progress=False)
    readable = np.array([number for number in range(len(rows)) if number not in unreadable], dtype=np.int64)
    if not len(readable):
        return False
    values = files.read(readable, np.zeros_like(readable))
    return bool((values == values[:, :1]).all())


@dataclass(frozen=True, kw_only=True)
class CondensationFlags(ImageSetFlags):
    """Base of what condenses an image set, by MedSynth if no other method is chosen."""

    preset: BudgetName = "quick"
    """Sizes of model and images, and lengths of the trainings."""
    input_prior: InputPrior = "class"
    """What generation starts from: statistics of each class, which can be shared, or real images, as in the paper."""
    prior_floor: int = 10
    """Least images of a class, and least people whose statistics are stored as a class's own."""
    epochs_phase1: int | None = None
    """Passes over the data against the critic, if not the preset's length."""
    epochs_phase2: int | None = None
    """Passes over the data against critic and tuned ViT, if not the preset's length."""
    skip_phase1: bool = False
    """Train phase II alone, to see what phase I is worth."""
    batch_size: int | None = None
    """Images in one update over all processes, if not the preset's."""
    gan_weight: float | None = None
    """Weight lambda of the GAN's loss in phase II, if not the preset's."""
    mask_weight: float = 0.0
    """Weight of a penalty on the share of the input in the output."""
    matching: MatchingForm = "energy"
    """What phase II compares: energy (each class's distribution), log_softmax of pairs, or logits as printed."""
    choose_from: int | None = None
    """Draws of each class that a condensed set is chosen from, if not the preset's number; a set of more than
    half as many is not chosen, nor with 1."""
    adam_betas: tuple[float, float] | None = None
    """Betas of Adam for generator and critic, if not the preset's: 0 0.9 is usual, 0.9 0.999 the paper's."""

    @property
    def size(self) -> BudgetName:
        """The preset."""
        return self.preset

    @property
    def fit(self) -> MedSynthConfig:
        """MedSynth's preset with the flags that override it."""
        from mmgen.condensation.condenser import Length
        from mmgen.condensation.methods import preset

        for name in ("epochs_phase1", "epochs_phase2"):
            if (value := getattr(self, name)) is not None and value < 0:
                raise UserError(f"--{name.replace('_', '-')} must be 0 or more, got {value}.")
        base: MedSynthConfig = preset("medsynth", self.preset, 1, self.augmentation or "none", self.seed)
        gan = {"batch_size": self.batch_size, "gan_weight": self.gan_weight, "betas": self.adam_betas}
        given = {name: value for name, value in gan.items() if value is not None}
        phase1 = base.phase1 if self.epochs_phase1 is None else Length(self.epochs_phase1, "epochs")
        phase2 = base.phase2 if self.epochs_phase2 is None else Length(self.epochs_phase2, "epochs")
        return replace(
            base,
            input_prior=self.input_prior,
            floor=self.prior_floor,
            backbone=self.backbone,
            backbone_weights=self.backbone_weights,
            gan=replace(base.gan, mask_weight=self.mask_weight, matching=self.matching, **given),
            phase1=Length(0) if self.skip_phase1 else phase1,
            phase2=phase2,
            choose_from=base.choose_from if self.choose_from is None else self.choose_from,
        )

    def settings_of(self, method: MethodName, images_per_class: int) -> Any:
        """Settings of a method, of its own kind.

        Raises:
            UserError: flags that only MedSynth has were given for another method.
        """
        from mmgen.condensation.methods import preset

        if method == "medsynth":
            return self.fit
        own = {field.name: field.default for field in fields(CondensationFlags)}
        shared = {field.name for field in fields(ImageSetFlags)} - {"backbone", "backbone_weights"} | {"preset"}
        given = [name for name, default in own.items() if name not in shared and getattr(self, name) != default]
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UserError(f"{flags} are settings of MedSynth, not of {method}; leave them out.")
        return preset(method, self.preset, images_per_class, self.augmentation or "none", self.seed)

    def refuse_impossible(
        self, run: Path, resume: bool, method: MethodName = "medsynth", images_per_class: int = 1
    ) -> None:
        """Raise UserError, before the data are read, for flags that no training can begin with, or for no run in the
        folder ``run`` to resume."""
        from mmgen.condensation.methods import METHODS
        from mmgen.training.checkpoint import Checkpoints

        self.refuse_unusable()
        self.settings_of(method, images_per_class)
        begun = any(Checkpoints(run / stage / "checkpoints").resumable for stage in METHODS[method].stages)
        if resume and not begun:
            raise UserError(f"There is no checkpoint in {run}; start without --resume, or name the folder of the run.")
        if begun and not resume:
            logger.warning(
                "%s holds an earlier run, which this one replaces (--resume latest would go on with it).", run
            )

    def condenser(
        self,
        data: PairedData,
        accelerator: Accelerator,
        folder: Path | None,
        resume: bool = False,
        method: MethodName = "medsynth",
        images_per_class: int = 1,
    ) -> Condenser:
        """An untrained condenser of the training images."""
        from mmgen.condensation.methods import METHODS

        train, validation = data.splits["train"][IMAGE], data.splits["val"][IMAGE]
        people = train.subject_numbers()
        config = self.settings_of(method, images_per_class)
        return METHODS[method](config, accelerator, train, validation, people, folder, resume, IMAGE)
