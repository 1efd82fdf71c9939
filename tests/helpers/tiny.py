"""The smallest model, data and training that have every part, for tests and the scripts that tests start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from mmgen.data.samples import Samples
from mmgen.evaluation.privacy.attack import Effort
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.mae_generator import MAEGenerator
from mmgen.models.modality import Modality
from mmgen.names import DecoderName
from mmgen.training.batches import PairedBatches
from mmgen.training.denoising import DenoisingConfig
from mmgen.training.loop import Batches, Loop, LoopConfig
from mmgen.training.mae import MAEConfig, MAETask
from mmgen.training.run import Run

IMAGE = Modality("image", (1, 16, 16), (4, 8), (100.0,), (50.0,), value_range=(0.0, 255.0))  # 4 x 2 tokens
AUDIO = Modality("audio", (1, 10, 14), (5, 4), (-5.0,), (2.0,), value_range=(-11.5, 4.0))  # 2 x 4 tokens, padded
BREATH = Modality("breath", (1, 6, 9), (3, 3), (-3.0,), (2.0,))  # 2 x 3 tokens
MODALITIES = {modality.name: modality for modality in (IMAGE, AUDIO, BREATH)}
LABELS = ("covid", "healthy")
# Attacks that learn nothing, in a moment.
QUICK_ATTACKS = Effort(
    updates=2, draws=1, resamples=50, planted=1, innocent=20, gan={"side": 8, "width": 1}, drawn=20, student=2
)
_PER_CLASS = {"image": (7, 5), "audio": (4, 9), "breath": (6, 3)}


def make_model(
    names: Sequence[str] = ("image", "audio"), seed: int = 0, decoder: DecoderName = "mse", **options: Any
) -> CrossModalMAE:
    """A model of 16 dimensions and 2 layers, with the same weights for the same seed."""
    kind, options = (CrossModalMAE, options) if decoder == "mse" else (DenoisingMAE, {"head_width": 4, **options})
    sizes = {"dim": 16, "depth": 2, "heads": 2, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind([MODALITIES[name] for name in names], **{**sizes, "labels": LABELS, **options})


def make_inputs(names: Sequence[str] = ("image", "audio"), batch: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Random inputs in raw units, float32, inside the modality's value range."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {}
    for name in names:
        noise = torch.randn(batch, *MODALITIES[name].shape, generator=generator)
        inputs[name] = MODALITIES[name].denormalise(noise)
    return inputs


def make_samples(names: Sequence[str] = ("image", "audio"), seed: int = 0) -> dict[str, Samples]:
    """Unequal numbers of samples by modality and class; a class is a pattern with noise on it."""
    samples = {}
    for position, name in enumerate(names):
        modality = MODALITIES[name]
        rng = np.random.default_rng([7, position])  # the patterns do not depend on the seed
        patterns = rng.normal(size=(len(LABELS), *modality.shape))
        labels = np.repeat(np.arange(len(LABELS)), _PER_CLASS[name])
        noise = np.random.default_rng([seed, position]).normal(size=(len(labels), *modality.shape))
        values = patterns[labels] + 0.3 * noise
        values = values * modality.std[0] + modality.mean[0]
        values = values.clip(0, 255).astype(np.uint8) if name == "image" else values.astype(np.float16)
        samples[name] = Samples(values, labels, LABELS, np.arange(len(labels)))
    return samples


def make_task(
    accelerator: Accelerator,
    batch_size: int = 4,
    names: Sequence[str] = ("image", "audio"),
    validate: bool = False,
    model: Mapping[str, Any] | None = None,
    seed: int = 0,
    **options: Any,
) -> MAETask:
    """A task on a fresh tiny model; ``options`` are those of :class:`MAEConfig`, or of :class:`DenoisingConfig` for a
    model with that decoder."""
    sides = (make_samples(names), make_samples(names, seed=1)) if validate else ()
    made = make_model(names, **(model or {}))
    config = (DenoisingConfig if isinstance(made, DenoisingMAE) else MAEConfig)(batch_size, **options)
    return config.task(made, Run(accelerator, seed=seed), *sides)


def make_loop(
    accelerator: Accelerator,
    folder: Path | None = None,
    resume: bool = False,
    batch_size: int = 4,
    loop: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    wrap: Any = None,
) -> Loop:
    """A whole training of 4 epochs of 4 updates; ``wrap`` may put something around the batches."""
    batches: Batches = PairedBatches(make_samples(), batch_size, seed=0)
    config = LoopConfig(**{"epochs": 4, "log_every": 1, **(loop or {})})
    made = make_task(accelerator, batch_size, **(task or {}))
    run = Run(accelerator, folder, resume)
    return Loop(made, batches if wrap is None else wrap(batches), config, run, {"data": "tiny"})


def same_weights(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether two state dicts are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def without_key_biases(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the keys' biases set to zero.

    A bias of all keys shifts a query's logits alike and has no effect, so its gradient is rounding error, which Adam
    scales up to whole steps: it is noise, the one thing that two ways to sum a batch need not agree on.
    """
    kept = {key: value.clone() for key, value in state.items()}
    for key, value in kept.items():
        if key.endswith("qkv.bias"):
            value[len(value) // 3 : -(len(value) // 3)] = 0.0
        elif key.endswith("key_value.bias"):
            value[: len(value) // 2] = 0.0
    return kept


def assert_same_training(a: Mapping[str, Tensor], b: Mapping[str, Tensor], tolerance: float = 1e-5) -> None:
    """All weights agree to the tolerance, absolutely; see :func:`without_key_biases`."""
    assert a.keys() == b.keys()
    a, b = without_key_biases(a), without_key_biases(b)
    off = {key: float((a[key] - b[key]).abs().max()) for key in a}
    assert max(off.values()) <= tolerance, {key: value for key, value in off.items() if value > tolerance}


def tiny_drawing(class_names: Sequence[str] = LABELS) -> MAEGenerator:
    """An untrained generator of images of 32 px in colour, with a teacher."""
    sizes = {"dim": 12, "depth": 1, "heads": 1, "decoder_dim": 12, "decoder_depth": 1, "decoder_heads": 1}
    picture = Modality("image", (3, 32, 32), (8, 8), (128.0,), (60.0,), value_range=(0.0, 255.0))
    form = {"modalities": [picture.to_dict()], "head_width": 4, **sizes}
    return MAEGenerator(32, 3, class_names, form, steps=2, teacher_width=4).eval()
