"""The smallest MedSynth that has every part, and images for it, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny import QUICK_ATTACKS

from mmgen import presets
from mmgen.assessment import auditing
from mmgen.condensation import medsynth
from mmgen.condensation.condenser import Length
from mmgen.condensation.medsynth import MedSynthConfig
from mmgen.condensation.own_backbone import BackboneConfig
from mmgen.data.samples import Samples
from mmgen.evaluation.utility import UtilityConfig
from mmgen.generation.plan import make_plan
from mmgen.generation.writing import OutputOptions, write_dataset
from mmgen.models.attention_gan import AttentionGenerator
from mmgen.models.class_prior import ClassPrior
from mmgen.models.condensed import CondensedModel
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.training.gan import GANConfig
from mmgen.training.network_matching import NetworkMatchingConfig

TINY = MedSynthConfig(
    width=8,
    blocks=1,
    critic_width=8,
    floor=4,
    own_backbone=BackboneConfig(8, 12, 1, 1, 12, 1, 1, updates=2, batch_size=4),
    classifier_updates=10,  # ten looks at the validation images
    gan=GANConfig(batch_size=4, lr=1e-3, critic_lr=1e-3, ema_decay=0.5),
    warmup=2,
    networks=NetworkMatchingConfig(2, 2, width=4),
    network_updates=2,
    phase1=Length(2),
    phase2=Length(2),
    lr_phase2=1e-3,
    choose_from=8,
)
SCALE = presets.Scale(32, (2,), UtilityConfig(updates=1, seeds=1, max_side=32, balance="sampling"))
LABELS = ("gesund", "меланома")


def use_tiny(patch: Any) -> None:
    """Make the preset "quick" the tiny one, and its attacks quick, by a pytest.MonkeyPatch."""
    patch.setitem(medsynth.PRESETS, "quick", TINY)
    patch.setitem(presets.SCALES, "quick", SCALE)
    patch.setattr(auditing, "FAST", QUICK_ATTACKS)


def tiny_samples(counts: tuple[int, ...] = (6, 8), channels: int = 3, size: int = 32, seed: int = 0) -> Samples:
    """So many images of each class: a shade of its own with noise."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    shades = 60 + 120 * labels[:, None, None, None] / max(len(counts) - 1, 1)
    values = (shades + rng.normal(0, 30, (len(labels), channels, size, size))).clip(0, 255).astype(np.uint8)
    names = (*LABELS, *(f"class {number}" for number in range(2, len(counts))))[: len(counts)]
    return Samples(values, labels, names, np.arange(len(labels)))


def small_generator(real: bool = False, channels: int = 3, seed: int = 0, floor: int = 4) -> MedSynthGenerator:
    """An untrained generator of 32 pixels, with the same weights for the same seed."""
    samples = tiny_samples(channels=channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = AttentionGenerator(32, channels, len(LABELS), 8, 1)
    images, labels = torch.from_numpy(samples.values), torch.from_numpy(samples.labels)
    prior = None if real else ClassPrior.fit(images, labels, LABELS, floor)
    return MedSynthGenerator.build(generator, LABELS, prior)


def write_condensed(
    model: CondensedModel, images_per_class: int, seed: int, folder: Path, output: OutputOptions | None = None
) -> Path:
    """Write the first images of each class as a data set."""
    return write_dataset(model, make_plan(model, per_class=images_per_class, seed=seed), folder, output)
