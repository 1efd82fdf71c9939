"""The smallest trainings of MedSynth's generator, and a script that tests start in processes of its own.

``train_gan_tiny.py JSON`` carries out a list of trainings, each an object with ``out`` (file for the final weights,
from the first process) and the arguments of :func:`train`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mmgen.data.samples import Samples
from mmgen.models.attention_gan import AttentionGenerator, Critic
from mmgen.models.class_prior import ClassPrior
from mmgen.models.modality import Modality
from mmgen.training.engine import end_process_group, make_accelerator
from mmgen.training.gan import GAN, GANConfig, RestorationConfig, train_gan, warm_up
from mmgen.training.loop import LoopConfig
from mmgen.training.run import Run

MODALITY = Modality("image", (3, 32, 32), (8, 8), (120.0,), (70.0,), value_range=(0.0, 255.0))
LABELS = ("rot", "зелёный", "blau")
COLOURS = np.array([[210, 60, 50], [70, 190, 60], [50, 80, 200]])

Kind = Literal["warm-up", "phase I", "phase II"]


def make_samples(count: int = 24, noise: float = 8.0) -> Samples:
    """Constant colours, one for each class, with a little noise."""
    labels = np.arange(count) % len(LABELS)
    values = COLOURS[labels][..., None, None] + np.random.default_rng(0).normal(0, noise, (count, 3, 32, 32))
    return Samples(values.clip(0, 255).astype(np.uint8), labels, LABELS, np.arange(count))


def make_prior(samples: Samples) -> ClassPrior:
    return ClassPrior.fit(torch.from_numpy(samples.values), torch.from_numpy(samples.labels), LABELS, floor=4)


def make_gan(seed: int = 0) -> GAN:
    """With the same weights for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GAN(AttentionGenerator(32, 3, len(LABELS), 8, 1), Critic(32, 3, len(LABELS), 8))


def make_matcher() -> nn.Module:
    """A network that in training mode would not give the same twice, and would change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layers = (nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
        return nn.Sequential(*layers, nn.Linear(8 * 7 * 7, len(LABELS)))


def train(
    kind: Kind,
    accelerator: Accelerator,
    folder: Path | None = None,
    resume: bool = False,
    epochs: int = 2,
    steps: int = 3,
    seed: int = 0,
    samples: Samples | None = None,
    run_seed: int = 0,
    **options: Any,
) -> dict[str, Tensor]:
    """A whole training of new weights (of ``seed``): the last ones, and their moving average as ``kept.``.

    ``options`` are those of :class:`GANConfig` or :class:`RestorationConfig`.
    """
    samples = samples or make_samples()
    gan, prior, run = make_gan(seed), make_prior(samples), Run(accelerator, folder, resume, run_seed)
    loop = LoopConfig(epochs, steps, "constant", warmup=0.0, ema_decay=0.0 if kind == "warm-up" else 0.7)
    if kind == "warm-up":
        learning = RestorationConfig(**{"batch_size": 8, **options})
        warm_up(gan.generator, prior, samples, learning, loop, run)
        return gan.generator.state_dict()
    learning = GANConfig(**{"batch_size": 8, "lr": 1e-3, "critic_lr": 1e-3, **options})
    matcher = make_matcher() if kind == "phase II" else None
    kept = train_gan(gan, prior, samples, MODALITY, learning, loop, run, matcher)
    return gan.state_dict() | {f"kept.{key}": value for key, value in kept.state_dict().items()}


def main() -> None:
    accelerator = make_accelerator("no")
    for run in json.loads(sys.argv[1]):
        out = run.pop("out")
        weights = train(accelerator=accelerator, **run)
        if accelerator.is_main_process:
            torch.save(weights, out)
    end_process_group()  # a process that ends while another still talks to it may abort


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
