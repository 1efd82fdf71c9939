"""MedSynth: condensation of a labelled image set into an attention-based generator (MedSynth paper)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from timm.models.vision_transformer import VisionTransformer

from mmgen.condensation.condenser import Condenser, Length, image_modality, loop_of, to_samples
from mmgen.condensation.mae import MAE, MAEMethodConfig
from mmgen.condensation.mae_prior import autoencoder, trained_prior
from mmgen.condensation.own_backbone import BackboneConfig, own_backbone
from mmgen.condensation.representatives import representatives, worth_choosing
from mmgen.condensation.teacher import check_backbone, pretrained_backbone, tuned_vit
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.attention_gan import AttentionGenerator, Critic
from mmgen.models.class_prior import ClassPrior
from mmgen.models.classifiers import ViTClassifier
from mmgen.models.drawn_prior import DrawnPrior
from mmgen.models.medsynth import MedSynthGenerator, RealImages
from mmgen.models.prior import Prior
from mmgen.models.teacher import Teacher
from mmgen.names import OWN_BACKBONE, AugmentationName, ChooseBy, InputPrior
from mmgen.training.gan import GAN, GANConfig, RestorationConfig, train_gan, warm_up
from mmgen.training.loop import LoopConfig
from mmgen.training.network_matching import NetworkMatchingConfig, match_generator

# Options that are fields of the settings, and of those of the GAN, and the fields of another name.
_OPTIONS = ("backbone", "backbone_weights", "input_prior", "prior_floor", "choose_from", "choose_by")
_GAN_OPTIONS = ("batch_size", "gan_weight", "mask_weight", "matching", "adam_betas")
_FIELDS = {"prior_floor": "floor", "adam_betas": "betas"}
_PHASE1, _PHASE2 = Length(150, "epochs"), Length(50, "epochs")


@dataclass(frozen=True)
class MedSynthConfig:
    """Sizes and lengths of a MedSynth fit.

    Attributes:
        width, blocks: of the generator.
        critic_width: of the critic.
        input_prior: images that the generator starts from, see :class:`MedSynthGenerator`.
        floor, directions: of the class prior.
        mae, pool: of what makes the draws that ``input_prior="mae"`` starts from, and how many of each class it is
            trained with; the augmentation is the one given here.
        backbone: :data:`mmgen.names.OWN_BACKBONE` or a timm model's name, NAME@FILE with the weights of a file.
        backbone_weights: file of that model's weights.
        own_backbone: size and pretraining of an own backbone.
        classifier_updates: optimiser steps of the ViT with LoRA that phase II matches against.
        augmentation: strategy of the changes made alike to real and synthetic images, and of the classifier's.
        gan: how generator and critic learn; the augmentation is the one given here.
        warmup: updates in which the generator learns to restore images before it meets the critic, see
            :mod:`mmgen.training.gan`; 0 for none, and none is done with real images as input.
        networks, network_updates: at the end of phase II draws are matched to real images in random networks, see
            :mod:`mmgen.training.network_matching`; 0 updates for none, and none is done with real images as input.
        phase1, phase2: lengths; 0 leaves a phase out.
        lr_phase2: learning rate in phase II.
        choose_from: draws of each class that a condensed set is chosen from, see :func:`worth_choosing`; with real
            images as input, as printed, all are drawn as they come.
        choose_by: "mean" looks at draws alone, "teacher" asks the tuned ViT, see :func:`representatives`.
    """

    width: int = 64
    blocks: int = 6
    critic_width: int = 64
    input_prior: InputPrior = "class"
    floor: int = 10
    directions: int = 8
    mae: MAEMethodConfig = field(default_factory=lambda: MAE.presets["small"])
    pool: int = 300
    backbone: str = OWN_BACKBONE
    backbone_weights: Path | None = None
    own_backbone: BackboneConfig = field(default_factory=BackboneConfig)
    classifier_updates: int = 300
    augmentation: AugmentationName = "none"
    gan: GANConfig = field(default_factory=GANConfig)
    warmup: int = 2000
    networks: NetworkMatchingConfig = field(default_factory=NetworkMatchingConfig)
    network_updates: int = 0
    phase1: Length = _PHASE1
    phase2: Length = _PHASE2
    lr_phase2: float = 1e-4
    choose_from: int = 300
    choose_by: ChooseBy = "mean"

    def __post_init__(self) -> None:
        if self.choose_from < 1:
            raise UserError(f"A condensed set is chosen from at least 1 draw of each class, not {self.choose_from}.")
        if min(self.phase1.count, self.phase2.count) < 0 or self.phase1.count + self.phase2.count < 1:
            raise UserError(
                f"The phases cannot have lengths of {self.phase1.count} and {self.phase2.count}; "
                "at least one of them must be trained."
            )
        check_backbone(self.backbone, self.backbone_weights)


# quick: some minutes on two cores for everything. small: some hundred images to some thousand without a GPU; narrow, of
# few blocks and in small batches, since on so few images the number of updates decides. paper: sections 3 and 4 of the
# MedSynth paper, which gives no widths, no length of phase II, no warm-up and no matching in networks.
PRESETS: dict[str, MedSynthConfig] = {
    "quick": MedSynthConfig(
        width=16,
        critic_width=16,
        own_backbone=BackboneConfig(4, 96, 3, 3, 48, 1, 3, updates=120, batch_size=32),
        classifier_updates=60,
        gan=GANConfig(batch_size=16, lr=3e-5, critic_lr=3e-4, critic_steps=2, ema_decay=0.95),
        warmup=150,
        networks=NetworkMatchingConfig(4, 8, width=16, lr=5e-4),
        network_updates=60,
        phase1=Length(40),
        phase2=Length(20),
        lr_phase2=3e-5,
        choose_from=48,
        mae=MAE.presets["quick"],
    ),
    "small": MedSynthConfig(
        width=24,
        blocks=2,
        critic_width=16,
        own_backbone=BackboneConfig(8, 192, 6, 6, 96, 2, 4, updates=400, batch_size=64),
        classifier_updates=150,
        gan=GANConfig(batch_size=16, lr=3e-5, critic_lr=3e-4, critic_steps=2, ema_decay=0.98),
        warmup=800,
        networks=NetworkMatchingConfig(6, 24, lr=5e-4),
        network_updates=400,
        phase1=Length(100),
        phase2=Length(60),
        lr_phase2=3e-5,
    ),
    "paper": MedSynthConfig(
        own_backbone=BackboneConfig(16, 384, 12, 6, 192, 4, 6, updates=40_000, batch_size=128),
        classifier_updates=3000,
        gan=GANConfig(betas=(0.9, 0.999), ema_decay=0.999),
        mae=MAE.presets["paper"],
    ),
}


class MedSynth(Condenser):
    """Fits a generator to labelled images and draws condensed sets from it.

        generator = MedSynth(config, Run(make_accelerator()), train).fit().generator

    :meth:`fit` runs :meth:`pretrain`, :meth:`tune`, :meth:`learn_prior`, :meth:`learn_distribution` (phase I) and
    :meth:`learn_task` (phase II), which may also be called one by one, in this order. For the arguments see
    :class:`Condenser`; the class prior counts ``subjects``.
    """

    method = "medsynth"
    presets = PRESETS
    options = (*_OPTIONS, *_GAN_OPTIONS, "epochs_phase1", "epochs_phase2", "skip_phase1")
    stages = ("backbone", "classifier", "prior/mae", "prior/classifier", "warmup", "phase1", "phase2", "networks")
    config: MedSynthConfig

    @classmethod
    def adapt(cls, settings: MedSynthConfig, **options: Any) -> MedSynthConfig:
        """Settings with these :attr:`options`; lengths of phases are given in passes over the data."""
        changes = {_FIELDS.get(name, name): options[name] for name in _OPTIONS if name in options}
        for phase in ("phase1", "phase2"):
            if (epochs := options.get(f"epochs_{phase}")) is not None:
                if epochs < 0:
                    raise UserError(f"--epochs-{phase} must be 0 or more, got {epochs}.")
                changes[phase] = Length(epochs, "epochs")
        if options.get("skip_phase1"):
            changes["phase1"] = Length(0)
        gan = {_FIELDS.get(name, name): options[name] for name in _GAN_OPTIONS if name in options}
        return replace(settings, gan=replace(settings.gan, **gan), **changes)

    def _begin(self) -> None:
        config, train = self.config, self.train
        channels, height, _ = train.values.shape[1:]
        self.modality = image_modality(self.modality.name, train, config.own_backbone.patch)
        labels = torch.from_numpy(train.labels)
        self.prior: Prior | RealImages
        if config.input_prior == "real":
            self.prior = RealImages(train.values, labels)
        elif config.input_prior == "mae":
            self.prior = DrawnPrior.build(self._autoencoder().model)  # not trained yet
        else:
            chunks = (torch.from_numpy(train.values[i : i + 256]) for i in range(0, len(train), 256))
            subjects = None if self.subjects is None else torch.from_numpy(self.subjects)
            self.prior = ClassPrior.fit(chunks, labels, train.label_names, config.floor, config.directions, subjects)
        self.prior.to(self.run.accelerator.device)
        torch.manual_seed(self.run.seed)
        self.gan = GAN(
            AttentionGenerator(height, channels, len(train.label_names), config.width, config.blocks),
            Critic(height, channels, len(train.label_names), config.critic_width),
        )
        self.backbone: VisionTransformer | None = None
        self.classifier: ViTClassifier | None = None
        self.generator = self._generator(self.gan)
        """The newest weights, ready to be saved."""
        self._before: MedSynthGenerator | None = None

    @property
    def model(self) -> MedSynthGenerator:
        """:attr:`generator`."""
        return self.generator

    def fit(self) -> Self:
        """All stages; a :attr:`backbone` that is there already is taken."""
        if self.backbone is None:
            self.pretrain()
        self.tune()
        self.learn_prior()
        self.learn_distribution()
        self.learn_task()
        return self

    def pretrain(self) -> None:
        """The backbone, a Vision Transformer without a classifier: a named one, with the weights that were given or
        those of the hub, or an own one pretrained on the images without their labels.

        Raises:
            UserError: weights that cannot be had or are not those of the model.
        """
        self.backbone = pretrained_backbone(self.config.backbone, self.config.backbone_weights)
        if self.backbone is None:
            further = self.train, self.validation, self.run.stage("backbone")
            self.backbone = own_backbone(self.config.own_backbone, self.modality, *further)

    def tune(self) -> None:
        """The classifier that phase II matches against: a backbone with LoRA, tuned on the real images."""
        further = self.config.augmentation, self.run.stage("classifier"), self.validation
        self.classifier = tuned_vit(self.backbone, self.modality, self.train, self.config.classifier_updates, *further)

    def learn_prior(self) -> None:
        """Fit the :class:`MAE` whose draws generation starts from, where the settings want one."""
        if self.config.input_prior == "mae":
            self.prior = trained_prior(self._autoencoder(), self.config.pool)
            self.generator = self._generator(self.gan)

    def learn_distribution(self) -> None:
        """Phase I: generator against critic, after a warm-up."""
        if self.config.warmup and self._real is None:
            length = loop_of(self.config.warmup)
            learning, loop = RestorationConfig(self.config.gan.batch_size), LoopConfig(length.epochs, length.steps)
            warm_up(self.gan.generator, self.prior, self.train, learning, loop, self.run.stage("warmup"))
            self.generator = self._generator(self.gan)
        if self.config.phase1.count:
            self._learn("phase1", self.config.phase1, self.config.gan.lr, None)

    def learn_task(self) -> None:
        """Phase II: also to be seen by the tuned classifier as real images are, and then by random networks."""
        if self.config.phase2.count:
            self._before = self.generator if self.config.phase1.count else None
            self._learn("phase2", self.config.phase2, self.config.lr_phase2, self.classifier)
        if self.config.network_updates and self._real is None:
            learning = replace(self.config.networks, augmentation=self.config.augmentation)
            loop, run = loop_of(self.config.network_updates, self.config.gan.ema_decay), self.run.stage("networks")
            generator = match_generator(self.gan.generator, self.prior, self.train, self.modality, learning, loop, run)
            self.generator = self._generator(GAN(generator, self.gan.critic))

    def chosen(self, images_per_class: int, seed: int = 0) -> Samples | None:
        """Representatives of many draws; with real images as input what is made of random ones of the training set."""
        return self._chosen(self.generator, images_per_class, seed)

    @property
    def teacher(self) -> Teacher | None:
        """The tuned ViT, where the settings choose by it."""
        by_it = self.config.choose_by == "teacher" and self.classifier is not None
        return Teacher(self.classifier, self.modality, self.train.label_names) if by_it else None

    @property
    def choose_from(self) -> int | None:
        """As in the settings; None with real images as input."""
        return None if self._real is not None else self.config.choose_from

    @property
    def sample_phase1(self) -> Callable[[int, int], Samples] | None:
        """:meth:`sample` as it was after phase I, where both phases have been trained."""
        if (before := self._before) is None:
            return None

        def sample(images_per_class: int, seed: int = 0) -> Samples:
            chosen = self._chosen(before, images_per_class, seed)
            return to_samples(before.sample(images_per_class, seed)) if chosen is None else chosen

        return sample

    def _chosen(self, generator: MedSynthGenerator, images_per_class: int, seed: int) -> Samples | None:
        if self._real is not None:
            return condense(generator, self._real, images_per_class, seed)
        pool = self.config.choose_from
        if not worth_choosing(images_per_class, pool):
            return None
        return representatives(generator, images_per_class, pool, seed, self.run.accelerator.device, self.teacher)

    @property
    def _real(self) -> RealImages | None:
        return self.prior if self.config.input_prior == "real" else None

    def _autoencoder(self) -> MAE:
        further = self.run, self.train, self.validation, self.modality.name
        return autoencoder(self.config.mae, self.config.augmentation, *further)

    def _learn(self, stage: str, length: Length, lr: float, matcher: ViTClassifier | None) -> None:
        learning = replace(self.config.gan, lr=lr, augmentation=self.config.augmentation)
        loop, run = length.loop(len(self.train), learning.batch_size, learning.ema_decay), self.run.stage(stage)
        trained = train_gan(self.gan, self.prior, self.train, self.modality, learning, loop, run, matcher)
        self.generator = self._generator(trained)

    def _generator(self, gan: GAN) -> MedSynthGenerator:
        """The shareable form of a copy of these weights."""
        prior = self.prior.kept() if self._real is None else None
        # In the order of memory that a loaded one has: the last bits of its images depend on it.
        generator = copy.deepcopy(gan.generator).to(memory_format=torch.contiguous_format)
        return MedSynthGenerator.build(generator, self.train.label_names, prior)


def condense(generator: MedSynthGenerator, real: RealImages, images_per_class: int, seed: int = 0) -> Samples:
    """A condensed set of a generator that starts from real images: of random ones, so many of each class."""
    labels = torch.arange(len(generator.class_names)).repeat_interleave(images_per_class)
    x = real.sample(labels, torch.Generator().manual_seed(seed))
    return to_samples(generator.condense(x, labels))
