"""Sizes and training lengths that belong together, by name, and what they make of the data at hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import torch

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.loading import are_grey
from mmgen.data.samples import Samples, channel_statistics
from mmgen.data.settings import Settings, kind_of, settings_to_dict
from mmgen.data.sources import Source
from mmgen.evaluation.utility import UtilityConfig
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.images import check_images
from mmgen.models.mae_layers import FusionQuery
from mmgen.models.modality import Modality
from mmgen.names import AugmentationName, BudgetName, DecoderName
from mmgen.training.denoising import DenoisingConfig
from mmgen.training.loop import LoopConfig
from mmgen.training.mae import MAEConfig
from mmgen.training.prior_power import tell_priors

logger = logging.getLogger(__name__)
Flags = TypeVar("Flags", bound=Any)


@dataclass(frozen=True)
class Preset:
    """A size of cross-modal masked autoencoder and the training that suits it.

    In "base" and "paper" both modalities have the same number of tokens, which ``fusion_query="other"`` needs. Of
    denoising decoders alone are ``head_width``, the channels of their convolutions, and ``ema_share``, the length of
    the moving average of weights as a share of the training.
    """

    image: ImageSettings
    image_patch: int
    audio_patch: int
    audio_padded: int
    dim: int
    depth: int
    heads: int
    decoder_dim: int
    decoder_depth: int
    decoder_heads: int
    epochs: int
    batch_size: int
    fusion_query: FusionQuery = "own"
    betas: tuple[float, float] = (0.9, 0.95)
    lr: float = 1e-3
    decoder: DecoderName = "denoise"
    head_width: int = 32
    ema_share: float = 0.05
    audio: AudioSettings = field(default_factory=AudioSettings)
    utility: UtilityConfig = field(default_factory=UtilityConfig)

    @property
    def settings(self) -> dict[str, Settings]:
        """How the files of each modality are decoded."""
        return {"image": self.image, "audio": self.audio}


PresetName = Literal["tiny", "small", "base", "paper"]

_TINY_UTILITY = UtilityConfig(updates=30, max_side=48)
_BASE = Preset(ImageSettings(224, 1), 16, 8, 112, 768, 12, 12, 768, 12, 12, epochs=400, batch_size=128, head_width=64)

PRESETS: dict[PresetName, Preset] = {
    "tiny": replace(
        Preset(ImageSettings(64, 1), 8, 16, 112, 128, 2, 4, 128, 2, 4, epochs=22, batch_size=16, head_width=16),
        utility=_TINY_UTILITY,
    ),
    # At 112 px and patches of 14 the same time gave less: each token has three times as many numbers to say.
    "small": Preset(
        ImageSettings(64, 1), 8, 16, 112, 192, 4, 4, 192, 4, 4, epochs=140, batch_size=32, lr=1.5e-3, head_width=48
    ),
    "base": _BASE,
    # Section IV-A: batch 128, AdamW at 1e-3 with default betas, 20 epochs; the paper gives no model size, so it is that
    # of base with light decoders.
    "paper": replace(
        _BASE,
        decoder="mse",
        decoder_dim=512,
        decoder_depth=4,
        decoder_heads=16,
        epochs=20,
        fusion_query="other",
        betas=(0.9, 0.999),
    ),
}


def default_preset(has_data: bool) -> PresetName:
    """The preset where none is named: what shows in minutes how it goes, or what says something about data."""
    return "small" if has_data else "tiny"


def build_mae(
    preset: Preset,
    settings: Mapping[str, Settings],
    train: Mapping[str, Samples],
    fusion_query: FusionQuery | None = None,
    seed: int = 0,
) -> CrossModalMAE:
    """A fresh model for these training samples; normalisation comes from them and is kept in the model.

    ``settings`` says how each modality was decoded; images get the preset's image patch, sounds its audio patch.
    Weights are drawn from ``seed``, which also becomes torch's seed.
    """
    torch.manual_seed(seed)
    modalities = []
    for name, form in settings.items():
        values = train[name].at_most().values
        mean, std = channel_statistics(values)
        if kind_of(form).is_picture:
            patch, padded, limits = preset.image_patch, None, (0.0, 255.0)
        else:
            # The loudest training value leaves no room for rare clips; 13 dB above it (3 in the logarithm of power) is
            # a bound that only faults reach.
            loudest = max(float(values[i : i + 1024].max()) for i in range(0, len(values), 1024)) + 3.0
            patch, padded, limits = preset.audio_patch, (preset.audio_padded,) * 2, (form.log_floor, loudest)
        modalities.append(Modality(name, form.shape, (patch, patch), mean, std, padded, limits))
    names = ("dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads")
    form: dict[str, Any] = {name: getattr(preset, name) for name in names}
    form |= {"fusion_query": fusion_query or preset.fusion_query, "labels": next(iter(train.values())).label_names}
    form |= {"preprocessing": {name: settings_to_dict(values) for name, values in settings.items()}}
    if preset.decoder == "denoise":
        model = DenoisingMAE(modalities, **form, head_width=preset.head_width)
        tell_priors(model, train)
        return model
    return CrossModalMAE(modalities, **form)


def mae_config(preset: Preset, settings: Mapping[str, Settings], alone: bool = False, **given: Any) -> MAEConfig:
    """How a model of a preset learns; ``given`` are fields of :class:`MAEConfig` that have other values.

    ``alone``: a model of one modality for comparison, which learns what a masked autoencoder learns and nothing else.
    """
    given = {"batch_size": preset.batch_size, "lr": preset.lr, "betas": preset.betas} | given
    if preset.decoder == "mse":
        return MAEConfig(**given)
    changed: dict[str, AugmentationName] = {name: _augmentation(form) for name, form in settings.items()}
    return DenoisingConfig(**({"plain_share": 1.0} if alone else {}) | given, augmentation=changed)


def mae_loop(preset: Preset, ema_decay: float = 0.0) -> LoopConfig:
    """How long a model of a preset is trained, with what rates, and which average of its weights is kept."""
    if preset.decoder == "mse":
        return LoopConfig(preset.epochs, ema_decay=ema_decay)
    share = 0.0 if ema_decay else preset.ema_share
    return LoopConfig(preset.epochs, schedule="trapezoid", warmup=0.02, ema_decay=ema_decay, ema_share=share)


def _augmentation(form: Settings) -> AugmentationName:
    """What changes a sample without making another kind of it: X-rays and scans are grey and never mirrored."""
    if not kind_of(form).is_picture:
        return "spectrogram"
    return "radiograph" if form.channels == 1 else "lesion"


@dataclass(frozen=True)
class Scale:
    """Sizes that go with a preset beside the fit itself.

    Attributes:
        image_size: side of the images in pixels.
        images_per_class: sizes of the condensed sets.
        utility: how the measuring classifiers are trained.
    """

    image_size: int
    images_per_class: tuple[int, ...]
    utility: UtilityConfig


SCALES: dict[BudgetName, Scale] = {
    "quick": Scale(32, (10,), UtilityConfig(updates=20, seeds=1, max_side=32, balance="sampling")),
    # Measured at 32 pixels, as data-set condensation usually is: it makes three seeds of four networks affordable.
    "small": Scale(64, (10, 50), UtilityConfig(updates=100, max_side=32, balance="sampling")),
    "paper": Scale(224, (50, 100), UtilityConfig(updates=2000, max_side=224, balance="sampling")),
}


def image_settings(budget: BudgetName, side: int | None = None, channels: int | None = None) -> ImageSettings:
    """Form of the images to condense: the budget's side and three channels where nothing else is given.

    Raises:
        UserError: a side or a number of channels that no generator makes.
    """
    size, channels = SCALES[budget].image_size if side is None else side, channels or 3
    check_images(size, channels)
    return ImageSettings(size, channels)


def fitted_to(flags: Flags, source: Source) -> Flags:
    """The same flags with ``channels`` and ``augmentation`` of these images where none were given; says which."""
    given: tuple[int | None, AugmentationName | None] = (flags.channels, flags.augmentation)
    channels = flags.channels or (1 if are_grey(source) else 3)
    augmentation = flags.augmentation or ("radiograph" if channels == 1 else "lesion")
    if (channels, augmentation) != given:
        logger.info("Images are taken for: --channels %d --augmentation %s", channels, augmentation)
    return replace(flags, channels=channels, augmentation=augmentation)
