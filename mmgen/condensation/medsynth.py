"""MedSynth: condensation of a labelled image set into an attention-based generator (MedSynth paper)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mmgen.condensation.backbone import OWN, BackboneConfig, image_modality, make_backbone
from mmgen.data.samples import Samples
from mmgen.errors import UserError, first_few
from mmgen.models.attention_gan import AttentionGenerator, Critic, check_images
from mmgen.models.class_prior import ClassPrior
from mmgen.models.classifiers import build_classifier
from mmgen.models.lora import ViTClassifier
from mmgen.models.medsynth import InputPrior, LabelledImages, MedSynthGenerator
from mmgen.models.real_images import RealImages
from mmgen.training.augmentation import AugmentationName
from mmgen.training.checkpoint import Checkpoints
from mmgen.training.classifier import LEARNING_RATES, ClassifierConfig, train_classifier
from mmgen.training.gan import GAN, GANConfig, train_gan
from mmgen.training.loop import LoopConfig
from mmgen.training.restoration import RestorationConfig, warm_up

if TYPE_CHECKING:
    from accelerate import Accelerator

STAGES = ("backbone", "classifier", "warmup", "phase1", "phase2")
"""Trainings of one fit, in order, each in a folder of that name."""


class Length(NamedTuple):
    """How long a training is: so many optimiser steps, or passes over the data."""

    count: int
    unit: Literal["updates", "epochs"] = "updates"

    def in_loop(self, samples: int, batch_size: int, rows: int = 20) -> tuple[int, int]:
        """(epochs, steps in each) for a loop, which logs once an epoch; updates are cut into about ``rows`` parts."""
        if self.unit == "epochs":
            return self.count, math.ceil(samples / batch_size)
        epochs = min(rows, self.count)
        return epochs, math.ceil(self.count / max(epochs, 1))


_PHASE1, _PHASE2 = Length(150, "epochs"), Length(50, "epochs")


@dataclass(frozen=True)
class MedSynthConfig:
    """Sizes and lengths of a MedSynth fit.

    Attributes:
        width, blocks: of the generator.
        critic_width: of the critic.
        input_prior: what the generator starts from, see :class:`MedSynthGenerator`.
        floor, directions: of the class prior.
        backbone: :data:`mmgen.condensation.backbone.OWN` or a timm model's name.
        backbone_weights: file of that model's weights.
        own_backbone: size and pretraining of an own backbone.
        classifier_updates: optimiser steps of the ViT with LoRA that phase II matches against.
        gan: how generator and critic learn; its augmentation is also the classifier's.
        warmup: updates in which the generator learns to restore images before it meets the critic, see
            :mod:`mmgen.training.restoration`; 0 for none, and none is done with real images as input.
        phase1, phase2: lengths; 0 leaves a phase out.
        lr_phase2: learning rate in phase II.
        seed: of everything.
    """

    width: int = 64
    blocks: int = 6
    critic_width: int = 64
    input_prior: InputPrior = "class"
    floor: int = 10
    directions: int = 8
    backbone: str = OWN
    backbone_weights: Path | None = None
    own_backbone: BackboneConfig = field(default_factory=BackboneConfig)
    classifier_updates: int = 300
    gan: GANConfig = field(default_factory=GANConfig)
    warmup: int = 2000
    phase1: Length = _PHASE1
    phase2: Length = _PHASE2
    lr_phase2: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.phase1.count, self.phase2.count) < 0 or self.phase1.count + self.phase2.count < 1:
            raise UserError(
                f"The phases cannot have lengths of {self.phase1.count} and {self.phase2.count}; "
                "at least one of them must be trained."
            )


class MedSynth:
    """Fits a generator to labelled images and draws condensed sets from it.

        generator = MedSynth(config, accelerator).fit(train).generator

    :meth:`fit` runs :meth:`pretrain`, :meth:`tune`, :meth:`learn_distribution` (phase I) and :meth:`learn_task`
    (phase II), which may also be called one by one, in this order.

    Args:
        config: sizes and lengths.
        accelerator: engine of this process.
        train: labelled images; at least two classes.
        validation: images that choose the classifier's weights; None: the last ones are kept.
        people: (N,) whose image each of ``train`` is, for the class prior; None counts every image as another person's.
        folder: where the stages keep logs, previews and checkpoints; None writes nothing.
        resume: go on with what is in ``folder``.

    Raises:
        UserError: images, classes or settings that do not fit.
    """

    def __init__(
        self,
        config: MedSynthConfig,
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
            raise UserError(f"MedSynth needs at least two labels; the data have {list(train.label_names)} alone.")
        absent = [label for index, label in enumerate(train.label_names) if not (train.labels == index).any()]
        if absent:
            raise UserError(f"There is no training image of {first_few(absent)}; add some or leave the label out.")
        self.config, self.accelerator, self.folder, self.resume = config, accelerator, folder, resume
        self.train = train
        self.validation = validation if validation is not None and len(validation) else None
        self.modality = image_modality(name, train, config.own_backbone.patch)
        labels = torch.from_numpy(train.labels)
        self.prior: ClassPrior | RealImages
        if config.input_prior == "real":
            self.prior = RealImages(train.values, labels)
        else:
            chunks = (torch.from_numpy(train.values[i : i + 256]) for i in range(0, len(train), 256))
            who = None if people is None else torch.from_numpy(people)
            self.prior = ClassPrior.fit(chunks, labels, train.label_names, config.floor, config.directions, who)
        self.prior.to(accelerator.device)
        torch.manual_seed(config.seed)
        self.gan = GAN(
            AttentionGenerator(height, channels, len(train.label_names), config.width, config.blocks),
            Critic(height, channels, len(train.label_names), config.critic_width),
        )
        self.backbone: VisionTransformer | None = None
        self.classifier: ViTClassifier | None = None
        self.generator = self._generator(self.gan)
        """The newest weights, ready to be saved."""
        self._before: MedSynthGenerator | None = None

    def fit(self) -> MedSynth:
        """All stages."""
        self.pretrain()
        self.tune()
        self.learn_distribution()
        self.learn_task()
        return self

    def pretrain(self) -> None:
        """The backbone: loaded, or an own one pretrained on the images without their labels."""
        config = self.config
        self.backbone = make_backbone(
            config.backbone,
            config.backbone_weights,
            self.modality,
            self.train,
            self.validation,
            config.own_backbone,
            self.accelerator,
            *self._stage("backbone"),
            config.seed,
        )

    def tune(self) -> None:
        """The classifier that phase II matches against: a backbone with LoRA, tuned on the real images."""
        config = self.config
        learning = ClassifierConfig(
            updates=config.classifier_updates,
            lr=LEARNING_RATES["vit_lora"],
            balance="sampling",
            augmentation=config.gan.augmentation,
            seed=config.seed,
        )
        torch.manual_seed(config.seed)
        model = build_classifier("vit_lora", self.train.values.shape[1:], len(self.train.label_names), self.backbone)
        model = train_classifier(
            model, self.modality, self.train, learning, self.accelerator, self.validation, *self._stage("classifier")
        )
        self.classifier = model.merged()

    def learn_distribution(self) -> None:
        """Phase I: generator against critic, after a warm-up."""
        if self.config.warmup and isinstance(self.prior, ClassPrior):
            self._warm_up()
        if self.config.phase1.count:
            self._learn("phase1", self.config.phase1, self.config.gan, None)

    def learn_task(self) -> None:
        """Phase II: also to be seen by the tuned classifier as real images are."""
        if self.config.phase2.count:
            self._before = self.generator if self.config.phase1.count else None
            self._learn(
                "phase2", self.config.phase2, replace(self.config.gan, lr=self.config.lr_phase2), self.classifier
            )

    def sample(self, images_per_class: int, seed: int = 0) -> Samples:
        """A condensed set. With real images as input it starts from random ones of the training set."""
        return sample(
            self.generator, images_per_class, seed, None if self.prior is self.generator.prior else self.prior
        )

    def _warm_up(self) -> None:
        config = self.config
        epochs, steps = Length(config.warmup).in_loop(len(self.train), config.gan.batch_size)
        warm_up(
            self.gan.generator,
            self.prior,
            self.train,
            RestorationConfig(config.gan.batch_size, seed=config.seed),
            LoopConfig(epochs, seed=config.seed),
            steps,
            self.accelerator,
            *self._stage("warmup"),
        )
        self.generator = self._generator(self.gan)

    @property
    def sample_phase1(self) -> Callable[[int, int], Samples] | None:
        """:meth:`sample` as it was after phase I, where both phases have been trained."""
        if self._before is None:
            return None
        return partial(sample, self._before, real=self._real)

    @property
    def _real(self) -> RealImages | None:
        return self.prior if isinstance(self.prior, RealImages) else None

    def _learn(self, stage: str, length: Length, learning: GANConfig, matcher: ViTClassifier | None) -> None:
        epochs, steps = length.in_loop(len(self.train), learning.batch_size)
        loop = LoopConfig(epochs, "constant", warmup=0.0, ema_decay=learning.ema_decay, seed=self.config.seed)
        trained = train_gan(
            self.gan,
            self.prior,
            self.train,
            self.modality,
            learning,
            loop,
            steps,
            self.accelerator,
            matcher,
            *self._stage(stage),
        )
        self.generator = self._generator(trained)

    def _generator(self, gan: GAN) -> MedSynthGenerator:
        """The shareable form of a copy of these weights."""
        prior = self.prior if isinstance(self.prior, ClassPrior) else None
        return MedSynthGenerator.build(copy.deepcopy(gan.generator), self.train.label_names, prior)

    def _stage(self, name: str) -> tuple[Path | None, bool]:
        """Folder of a stage, and whether to go on with what is there: a stage that had not begun starts."""
        if self.folder is None:
            return None, False
        folder = self.folder / name
        return folder, self.resume and (folder / "checkpoints").is_dir()


def set_stages_aside(folder: Path) -> None:
    """Rename what an earlier run left of every stage, so that it is not taken for this one's."""
    for stage in STAGES:
        Checkpoints(folder / stage / "checkpoints").set_aside()


def sample(
    generator: MedSynthGenerator, images_per_class: int, seed: int = 0, real: RealImages | None = None
) -> Samples:
    """A condensed set from a generator; one that starts from real images needs ``real``."""
    if real is None:
        return to_samples(generator.sample(images_per_class, seed))
    labels = torch.arange(len(generator.class_names)).repeat_interleave(images_per_class)
    x = real.sample(labels, torch.Generator().manual_seed(seed))
    return to_samples(generator.condense(x, labels))


def to_samples(made: LabelledImages) -> Samples:
    """Images of a generator as samples, numbered in their order."""
    rows: Tensor = torch.arange(len(made.labels))
    return Samples(made.images.numpy(), made.labels.numpy(), made.class_names, rows.numpy())


PresetName = Literal["demo", "small", "paper"]

# demo: some minutes on two cores for everything. small: some hundred images to some thousand without a GPU; narrow and
# in small batches, since on so few images the number of updates decides. paper: sections 3 and 4 of the MedSynth paper,
# which gives no widths, no length of phase II and no warm-up.
PRESETS: dict[PresetName, MedSynthConfig] = {
    "demo": MedSynthConfig(
        width=16,
        critic_width=16,
        own_backbone=BackboneConfig(4, 96, 3, 3, 48, 1, 3, updates=120, batch_size=32),
        classifier_updates=60,
        gan=GANConfig(batch_size=16, lr=3e-5, critic_lr=3e-4, critic_steps=2, ema_decay=0.95),
        warmup=150,
        phase1=Length(40),
        phase2=Length(20),
        lr_phase2=3e-5,
    ),
    "small": MedSynthConfig(
        width=32,
        critic_width=16,
        own_backbone=BackboneConfig(8, 192, 6, 6, 96, 2, 4, updates=400, batch_size=64),
        classifier_updates=150,
        gan=GANConfig(batch_size=16, lr=3e-5, critic_lr=3e-4, critic_steps=2, ema_decay=0.98),
        warmup=300,
        phase1=Length(120),
        phase2=Length(80),
        lr_phase2=3e-5,
    ),
    "paper": MedSynthConfig(
        own_backbone=BackboneConfig(16, 384, 12, 6, 192, 4, 6, updates=40_000, batch_size=128),
        classifier_updates=3000,
        gan=GANConfig(betas=(0.9, 0.999), ema_decay=0.999),
    ),
}


def preset(name: PresetName, augmentation: AugmentationName, seed: int = 0) -> MedSynthConfig:
    """The settings of a preset for this kind of picture."""
    chosen = PRESETS[name]
    return replace(chosen, gan=replace(chosen.gan, augmentation=augmentation, seed=seed), seed=seed)
