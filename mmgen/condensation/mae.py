"""A denoising masked autoencoder as a method of condensation: it learns to make images of a class from noise, and of
many draws those are kept that a network trained on the real images takes for their label and that cover the class."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from mmgen.condensation.condenser import Condenser, Length, image_modality
from mmgen.condensation.representatives import representatives, worth_choosing
from mmgen.condensation.subset import FeatureConfig, trained_network
from mmgen.condensation.teacher import check_backbone, pretrained_backbone, tuned_vit
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.generative import Sampling
from mmgen.models.mae_generator import MAEGenerator
from mmgen.models.teacher import Teacher
from mmgen.names import OWN_BACKBONE, AugmentationName, ChooseBy
from mmgen.training.denoising import DenoisingConfig
from mmgen.training.loop import LoopConfig
from mmgen.training.mae import train_mae
from mmgen.training.network_matching import class_energy
from mmgen.training.prior_power import tell_priors

logger = logging.getLogger(__name__)

_FORM = ("dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads", "head_width")
_TRIED = 0x67756964  # added to the seed of the draws that a guidance is tried on, which are not those of any set
_COMPARED = 1000  # validation images that draws are compared with, at most
_GUIDANCES = (1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class MAEMethodConfig:
    """Sizes and lengths of a fit.

    Attributes:
        patch, dim, depth, heads, decoder_dim, decoder_depth, decoder_heads, head_width: of the autoencoder, see
            :class:`DenoisingMAE`.
        learning: how it learns; the augmentation is the one given here, and no batch is larger than the set.
        length: of its training.
        ema_share: length of the moving average of weights that is kept, see :class:`LoopConfig`.
        augmentation: changes that are allowed in this kind of picture.
        teacher: the ConvNet that chooses, trained on the training images.
        backbone, backbone_weights: a pretrained ViT as teacher instead, tuned with LoRA for as many updates.
        guidances: of which the best is kept.
        tried: draws of each class that each is tried on.
        steps: network passes an image.
        choose_from: draws of each class that a condensed set is chosen from, see :func:`worth_choosing`.
        choose_by: "teacher", or "mean" to look at draws alone, see :func:`representatives`.
        hand_on_teacher: the generator carries the ConvNet, so that whoever has it can choose and label draws too.
    """

    patch: int = 8
    dim: int = 192
    depth: int = 4
    heads: int = 4
    decoder_dim: int = 192
    decoder_depth: int = 4
    decoder_heads: int = 4
    head_width: int = 48
    learning: DenoisingConfig = field(default_factory=DenoisingConfig)
    length: Length = field(default_factory=lambda: Length(4000))
    ema_share: float = 0.05
    augmentation: AugmentationName = "none"
    teacher: FeatureConfig = field(default_factory=FeatureConfig)
    backbone: str = OWN_BACKBONE
    backbone_weights: Path | None = None
    guidances: tuple[float, ...] = _GUIDANCES
    tried: int = 48
    steps: int = Sampling.steps
    choose_from: int = 200
    choose_by: ChooseBy = "teacher"
    hand_on_teacher: bool = False

    def __post_init__(self) -> None:
        if self.choose_from < 1:
            raise UserError(f"A condensed set is chosen from at least 1 draw of each class, not {self.choose_from}.")
        check_backbone(self.backbone, self.backbone_weights)
        if self.hand_on_teacher and self.backbone != OWN_BACKBONE:
            raise UserError("A generator carries a teacher of its own kind only; leave out --backbone.")
        if self.hand_on_teacher and self.choose_by != "teacher":
            raise UserError("A teacher that a generator carries chooses its sets; leave out --choose-by.")


# A tenth of the updates are those of a masked autoencoder, for its encoder: what is wanted here is drawn from noise.
_LEARNING = DenoisingConfig(batch_size=32, lr=1.5e-3, plain_share=0.1)

PRESETS: dict[str, MAEMethodConfig] = {
    "quick": MAEMethodConfig(
        4, 96, 2, 3, 96, 2, 3, 16,
        replace(_LEARNING, batch_size=16, lr=1e-3),
        Length(300),
        teacher=FeatureConfig(width=16, updates=60),
        guidances=(1.0, 2.0),
        tried=16,
        choose_from=48,
    ),
    # As the preset of the cross-modal autoencoder, of which this is the half that makes images.
    "small": MAEMethodConfig(learning=_LEARNING, teacher=FeatureConfig(width=64, updates=600)),
    "paper": MAEMethodConfig(
        16, 768, 12, 12, 768, 12, 12, 64,
        replace(_LEARNING, batch_size=128, lr=1e-3),
        Length(400, "epochs"),
        teacher=FeatureConfig(width=128, updates=2000, batch_size=128),
        tried=100,
        choose_from=500,
    ),
}  # fmt: skip


class MAE(Condenser):
    """Fits a :class:`MAEGenerator` to labelled images and chooses condensed sets from its draws.

    :meth:`fit` trains the autoencoder, then the teacher, and takes the guidance whose draws come nearest to the
    validation images. From then on no real image is looked at. For the arguments see :class:`Condenser`;
    ``validation`` also ends the training before training images are remembered.

    Attributes:
        autoencoder: with the newest weights: those that are kept once it is trained.
        classifier: the network of the teacher; None before it is trained.
    """

    method = "mae"
    presets = PRESETS
    options = ("backbone", "backbone_weights", "choose_from", "choose_by", "hand_on_teacher")
    stages = ("mae", "classifier")
    config: MAEMethodConfig

    def _begin(self) -> None:
        config, name = self.config, self.modality.name
        self.modality = image_modality(name, self.train, config.patch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.run.seed)
            form = {key: getattr(config, key) for key in _FORM}
            self.autoencoder = DenoisingMAE([self.modality], **form, labels=self.train.label_names)
        tell_priors(self.autoencoder, {name: self.train})
        self.classifier: torch.nn.Module | None = None
        self._generator = MAEGenerator.build(self.autoencoder, Sampling(config.steps))

    @property
    def model(self) -> MAEGenerator:
        """The generator."""
        return self._generator

    @property
    def teacher(self) -> Teacher | None:
        """The trained teacher, where the settings choose by it."""
        by_it = self.config.choose_by == "teacher" and self.classifier is not None
        return Teacher(self.classifier, self.modality, self.train.label_names) if by_it else None

    @property
    def choose_from(self) -> int:
        """As in the settings."""
        return self.config.choose_from

    def fit(self) -> Self:
        """Autoencoder, teacher, guidance."""
        self._train_autoencoder()
        self._train_teacher()
        self._generator = self._with_best_guidance(Teacher(self.classifier, self.modality, self.train.label_names))
        if self.config.hand_on_teacher:
            self._generator = MAEGenerator.build(self.autoencoder, self._generator.sampling, self.classifier)
        return self

    def chosen(self, images_per_class: int, seed: int = 0) -> Samples | None:
        """Draws that the teacher takes for their label and that cover the class, or representatives by their mean."""
        pool = self.config.choose_from
        if not worth_choosing(images_per_class, pool):
            return None
        device = self.run.accelerator.device
        return representatives(self._generator, images_per_class, pool, seed, device, self.teacher)

    def _train_autoencoder(self) -> None:
        config, name = self.config, self.modality.name
        learning = replace(
            config.learning,
            batch_size=min(config.learning.batch_size, len(self.train)),
            augmentation={name: config.augmentation},
        )
        splits = {"train": {name: self.train}, "val": {} if self.validation is None else {name: self.validation}}
        epochs, updates = (1, config.length.count) if config.length.unit == "updates" else (config.length.count, None)
        loop = LoopConfig(epochs, schedule="trapezoid", warmup=0.02, ema_share=config.ema_share)
        self.autoencoder = train_mae(
            self.autoencoder, splits, learning, loop, self.run.stage("mae"), updates=updates
        ).cpu()
        self._generator = MAEGenerator.build(self.autoencoder, Sampling(config.steps))

    def _train_teacher(self) -> None:
        config, run = self.config, self.run.stage("classifier")
        backbone = pretrained_backbone(config.backbone, config.backbone_weights)
        if backbone is None:
            learning = replace(config.teacher, augmentation=config.augmentation)
            self.classifier = trained_network(self.train, self.modality, learning, run, self.validation)
            return
        further = config.teacher.updates, config.augmentation, run, self.validation
        self.classifier = tuned_vit(backbone, self.modality, self.train, *further)

    def _with_best_guidance(self, teacher: Teacher) -> MAEGenerator:
        """The generator with the guidance whose chosen draws have the least energy distance to the validation images of
        their class, in the teacher's features; with the usual one where there are too few of these."""
        held = None if self.validation is None else self.validation.at_most(_COMPARED)
        if held is None or np.bincount(held.labels).max() < 2:
            logger.info("Guidance stays %g: too few validation images.", self._generator.sampling.guidance)
            return self._generator
        _, real = teacher.judge(torch.from_numpy(np.asarray(held.values[:])))
        seed, device, distances = self.run.seed + _TRIED, self.run.accelerator.device, {}
        for guidance in self.config.guidances:
            generator, kept = self._generator.guided(guidance), -(-self.config.tried // 2)
            drawn = representatives(generator, kept, self.config.tried, seed, device, teacher)
            _, made = teacher.judge(torch.from_numpy(drawn.values))
            sides = (made, drawn.labels, real, held.labels)
            distances[guidance] = round(float(class_energy(*map(torch.from_numpy, sides))), 4)
        best = min(distances, key=distances.__getitem__)
        logger.info("Guidance %g: draws are nearest to the validation images, of %s.", best, distances)
        return self._generator.guided(best)
