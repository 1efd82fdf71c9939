"""Condensation of a labelled image set, from flags: what the MedSynth recipes and ``mmgen condense`` have in common."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from mmgen.condensation.backbone import OWN
from mmgen.condensation.medsynth import STAGES, Length, MedSynth, MedSynthConfig, PresetName, preset, sample
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import label_key
from mmgen.data.mel import one_thread
from mmgen.data.overview import Source
from mmgen.data.prepare import PairedData, Preparation, prepare
from mmgen.data.samples import Samples, people_in
from mmgen.data.settings import Settings
from mmgen.data.writing.writer import SyntheticSample
from mmgen.errors import UserError, first_few
from mmgen.evaluation.utility import UtilityConfig
from mmgen.flags import CachedDataFlags
from mmgen.generate import read_sources
from mmgen.hub import model_digest
from mmgen.models.attention_gan import check_images
from mmgen.models.medsynth import InputPrior, MedSynthGenerator
from mmgen.models.real_images import RealImages
from mmgen.output import OutputOptions, write_samples
from mmgen.training.augmentation import AugmentationName
from mmgen.training.engine import Precision
from mmgen.training.gan import MatchingForm

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

IMAGE = "image"
"""Name of the one modality."""


@dataclass(frozen=True)
class Scale:
    """What goes with a preset beside the fit itself.

    Attributes:
        image_size: side of the images in pixels.
        images_per_class: sizes of the condensed sets.
        utility: how the measuring classifiers are trained.
    """

    image_size: int
    images_per_class: tuple[int, ...]
    utility: UtilityConfig


SCALES: dict[PresetName, Scale] = {
    "demo": Scale(32, (10,), UtilityConfig(updates=20, seeds=1, max_side=32, balance="sampling")),
    # Measured at 32 pixels, as data-set condensation usually is: it makes three seeds of four networks affordable.
    "small": Scale(64, (10, 50), UtilityConfig(updates=100, max_side=32, balance="sampling")),
    "paper": Scale(224, (50, 100), UtilityConfig(updates=2000, max_side=224, balance="sampling")),
}


@dataclass(frozen=True, kw_only=True)
class CondensationFlags(CachedDataFlags):
    """Base of what condenses an image set."""

    preset: PresetName = "demo"
    """Sizes of model and images, and lengths of the trainings."""
    image_size: int | None = None
    """Side of the images in pixels, a multiple of 16 from 32 to 256; the preset's if absent."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    augmentation: AugmentationName = "lesion"
    """What may change in these pictures without another meaning: lesion, radiograph (never mirrored), none ..."""
    input_prior: InputPrior = "class"
    """What generation starts from: statistics of each class, which can be shared, or real images, as in the paper."""
    prior_floor: int = 10
    """Least images of a class, and least people whose statistics are stored as a class's own."""
    backbone: str = OWN
    """ViT that is tuned for phase II: mae pretrains one on the images, any other name is a timm model's (its weights
    come from the hub)."""
    backbone_weights: Path | None = None
    """File of that timm model's weights, instead of the hub."""
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
    adam_betas: tuple[float, float] | None = None
    """Betas of Adam for generator and critic, if not the preset's: 0 0.9 is usual, 0.9 0.999 the paper's."""
    seed: int = 0
    """Seed of everything."""
    mixed_precision: Precision = "auto"
    """bf16 where the hardware has it, no, or auto; the critic computes in fp32 in any case."""

    @property
    def scale(self) -> Scale:
        """What goes with the preset."""
        return SCALES[self.preset]

    @property
    def images(self) -> ImageSettings:
        """What image files are turned into."""
        size = self.scale.image_size if self.image_size is None else self.image_size
        check_images(size, self.channels)
        return ImageSettings(size, self.channels)

    @property
    def fit(self) -> MedSynthConfig:
        """The preset with the flags that override it."""
        for name in ("epochs_phase1", "epochs_phase2"):
            if (value := getattr(self, name)) is not None and value < 0:
                raise UserError(f"--{name.replace('_', '-')} must be 0 or more, got {value}.")
        if self.backbone_weights is not None and not self.backbone_weights.is_file():
            raise UserError(f"There is no file {self.backbone_weights} of weights; correct --backbone-weights.")
        base = preset(self.preset, self.augmentation, self.seed)
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
        )

    def refuse_impossible(self, run: Path, resume: bool) -> None:
        """Raise UserError, before the data are read, for flags that no training can begin with, or for no run in the
        folder ``run`` to resume."""
        self.images, self.fit  # noqa: B018  # both raise for settings that are not offered
        if self.seed < 0:
            raise UserError(f"--seed must be 0 or more, got {self.seed}.")
        begun = any((run / stage / "checkpoints").is_dir() for stage in STAGES)
        if resume and not begun:
            raise UserError(f"There is no checkpoint in {run}; start without --resume, or name the folder of the run.")
        if begun and not resume:
            logger.warning(
                "%s holds an earlier run, which this one replaces (--resume latest would go on with it).", run
            )

    def read(self, path: Path, out: Path) -> PairedData:
        """The images of a folder, CSV or published data set, for output in ``out``."""
        return prepare({IMAGE: self.source(path, self.images)}, self.preparation(out, self.seed))

    def condenser(
        self, data: PairedData, accelerator: Accelerator, folder: Path | None, resume: bool = False
    ) -> MedSynth:
        """An untrained MedSynth on the training images."""
        train, manifest = data.splits["train"][IMAGE], data.manifests[IMAGE]
        people = people_in(train, manifest)
        return MedSynth(self.fit, accelerator, train, data.splits["val"][IMAGE], people, folder, resume, IMAGE)


def training_bytes(data: PairedData) -> int:
    """Size of the training images' files."""
    manifest = data.manifests[IMAGE].of_split("train")
    return sum(manifest.files.size(path) for path in manifest.paths)


def subjects_in_training(data: PairedData) -> int | None:
    """Number of people in the training images, None where unknown."""
    subjects = data.manifests[IMAGE].of_split("train").subjects
    return None if subjects is None else len(set(subjects))


def from_real_images(
    generator: MedSynthGenerator,
    path: Path,
    images_per_class: int,
    seed: int,
    source: Callable[[Path, Settings], Source] = Source,
    how: Preparation | None = None,
    split: str | None = "train",
) -> Samples:
    """A condensed set of a generator that starts from real images, of random ones of these files; classes are matched
    by name, see :func:`mmgen.generate.read_sources`.

    Raises:
        UserError: a class without images, or files that cannot be read.
    """
    real = read_sources(generator, {IMAGE: path}, source, how, split)[IMAGE]
    own = {label_key(name): label for label, name in enumerate(generator.class_names)}
    classes = np.array([own[label_key(name)] for name in real.label_names])
    labels = classes[real.labels]
    without = [name for label, name in enumerate(generator.class_names) if label not in labels]
    if without:
        raise UserError(f"{path} has no images of {first_few(without)} to start from; add some of every class.")
    with one_thread():
        return sample(generator, images_per_class, seed, RealImages(real.values, torch.from_numpy(labels)))


def size_lines(data: PairedData, classes: int, images_per_class: Sequence[int]) -> dict[str, str]:
    """Sizes of the training images and ratios of condensed sets to them, for a model card."""
    images = len(data.splits["train"][IMAGE])
    lines = {"training images": f"{images}, {training_bytes(data) / 1e6:.1f} MB"}
    for count in images_per_class:
        lines[f"condensation ratio at {count} images a class"] = f"{100 * count * classes / images:.1f} %"
    return lines


def write_condensed(
    generator: MedSynthGenerator,
    images_per_class: int,
    seed: int,
    folder: Path,
    how: OutputOptions | None = None,
    model_name: str = "",
    made: Samples | None = None,
) -> Path:
    """Write a condensed set as a data set.

    Args:
        model_name: what to call the generator in the metadata; a digest of its weights if empty.
        made: the set, where it was made from real images; otherwise the generator draws it.

    Raises:
        UserError: no positive number of images, a negative seed, or see :func:`mmgen.output.write_samples`.
    """
    from mmgen import __version__

    if images_per_class < 1 or seed < 0:
        raise UserError(f"At least 1 image a class is made, from a seed of 0 or more, not {images_per_class}, {seed}.")
    labels = generator.class_names
    channels, size, _ = generator.shape
    model_name = model_name or model_digest(generator)
    copies = generator.prior is None

    def make(batches: Sequence[range], device: torch.device) -> Iterator[SyntheticSample]:
        for index, image in _images(generator.to(device), batches, images_per_class, seed, made):
            yield SyntheticSample(index, {IMAGE: image}, {})

    def describe(index: int) -> dict[str, Any]:
        row = {"label": labels[index // images_per_class], "index": index, "seed": seed, "model": model_name}
        return row | {"may_hold_real_pixels": copies}

    about: Mapping[str, Any] = {
        "generator": {"library": f"mmgen {__version__}", "method": "medsynth", "model": model_name},
        "seed": seed,
        "per_class": images_per_class,
        "input_prior": generator.input_prior,
        "copies_real_data": copies,
    }
    run = {
        "seed": seed,
        "images per class": images_per_class,
        "labels": list(labels),
        "model": model_digest(generator),
        "model name": model_name,
        "real images": None if made is None else hashlib.sha256(made.values[:].tobytes()).hexdigest()[:12],
        "versions": f"mmgen {__version__}, torch {torch.__version__}",
    }
    settings = {IMAGE: ImageSettings(size, channels)}
    return write_samples(folder, settings, labels, images_per_class, make, describe, about, run, how or OutputOptions())


def _images(
    generator: MedSynthGenerator, batches: Sequence[range], per_class: int, seed: int, made: Samples | None
) -> Iterator[tuple[int, Any]]:
    """(index, uint8 (C, H, W)) of all indices, which count class after class."""
    for batch in batches:
        if made is not None:
            yield from zip(batch, made.values[batch.start : batch.stop], strict=True)
            continue
        start = batch.start
        while start < batch.stop:  # a batch may reach into the next class
            label, first = divmod(start, per_class)
            last = min(per_class, first + batch.stop - start)
            with one_thread():  # the last bits depend on the number of threads, which differs between processes
                images = torch.cat(list(generator.batches(label, range(first, last), seed))).numpy()
            yield from zip(range(start, start + len(images)), images, strict=True)
            start += len(images)
