"""What MedSynth's trainings and its sampling cost, by image size: images/s and peak memory.

Every size runs in a process of its own, so that its peak memory is its own. Within it precisions and kinds of attention
take turns, and medians are reported. The critic and its penalty compute in fp32 in all variants.

    python benchmarks/gan_step.py --out benchmarks/results/gan_step_cpu.json
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import DeviceName, Engine, device_of, precisions, seconds_of, write
from timm.models.vision_transformer import VisionTransformer

from mmgen.cli.config import parse_config
from mmgen.models.attention_gan import AttentionGenerator, Critic, PooledAttention
from mmgen.models.class_prior import ClassPrior
from mmgen.models.classifiers import build_classifier
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.models.modality import Modality
from mmgen.training import engine
from mmgen.training.gan import GAN, GANConfig, GANTask
from mmgen.training.loop import Position
from mmgen.training.run import Run

CLASSES = ("a", "b", "c", "d")


@dataclass(frozen=True)
class GANBenchmark:
    """Flags of this benchmark."""

    out: Path | None = None
    device: DeviceName = "auto"
    sizes: tuple[int, ...] = (64, 128, 224)
    """Sides of the images in pixels."""
    channels: int = 3
    batch_size: int = 8
    width: int = 64
    """Of generator and critic; 64 is the paper preset's."""
    critic_steps: int = 1
    rounds: int = 3
    """Measured repetitions of everything, after one that warms up."""


def main() -> None:
    config = parse_config(GANBenchmark)
    fresh = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for size in config.sizes:
        with fresh.Pool(1) as pool:
            measured = pool.apply(measure, (config, size))
        rows.extend(measured)
        for row in measured:
            print(json.dumps(row), flush=True)
    write(config.out, rows)


def measure(config: GANBenchmark, size: int) -> list[dict[str, Any]]:
    """Rows of one image size."""
    device = device_of(config.device)
    rng = np.random.default_rng(0)
    count = 10 * len(CLASSES)
    images = torch.from_numpy(rng.integers(0, 256, (count, config.channels, size, size), dtype=np.uint8))
    prior = ClassPrior.fit(images, torch.arange(count) % len(CLASSES), CLASSES).to(device)
    drawn = rng.integers(0, count, config.critic_steps * config.batch_size)
    batch = {"x": images[drawn].to(device), "label": torch.from_numpy(drawn % len(CLASSES)).to(device)}
    jobs: dict[tuple[str, str, str], Callable[[int], Any]] = {}
    for precision in precisions():
        for phase in ("phase I", "phase II"):
            task = make_task(config, size, prior, precision, phase == "phase II")
            jobs[phase, precision, "pooled"] = lambda i, task=task: task.update(batch, Position(0, i, i))
    labels = torch.zeros(config.batch_size, dtype=torch.long)
    for attention in ("pooled", "full"):
        generator = MedSynthGenerator.build(make_generator(config, size, attention).to(device), CLASSES, prior)
        jobs["sampling", "no", attention] = lambda i, generator=generator: draw(generator, prior, labels, i)
    seconds = {name: [seconds_of(job, i, device) for i in range(config.rounds + 1)][1:] for name, job in jobs.items()}
    head = {"image_size": size, "batch_size": config.batch_size}
    rows = [
        head
        | dict(zip(("what", "generator_precision", "attention"), name, strict=True))
        | {"images_per_s": config.batch_size / statistics.median(times), "seconds": statistics.median(times)}
        for name, times in seconds.items()
    ]
    return [*rows, head | {"what": "peak memory of all", "mb": engine.peak_memory_mb(device)}]


def make_task(config: GANBenchmark, size: int, prior: ClassPrior, precision: str, matched: bool) -> GANTask:
    """A fresh task; phase II is matched against a ViT-S/16."""
    torch.manual_seed(0)
    critic = Critic(size, config.channels, len(CLASSES), config.width)
    modality = Modality("image", (config.channels, size, size), (16, 16), (127.5,), (64.0,), value_range=(0.0, 255.0))
    matcher = None
    if matched:
        vit = VisionTransformer(img_size=size, patch_size=16, embed_dim=384, depth=12, num_heads=6, num_classes=0)
        matcher = build_classifier("vit_lora", (config.channels, size, size), len(CLASSES), vit).merged()
    learning = GANConfig(config.batch_size, critic_steps=config.critic_steps, augmentation="lesion")
    gan = GAN(make_generator(config, size, "pooled"), critic)
    return GANTask(gan, prior, learning, Run(Engine(precision, device_of(config.device))), modality, matcher)


def make_generator(config: GANBenchmark, size: int, attention: str) -> AttentionGenerator:
    """A generator whose attention asks all of the map at a reduced size, or at its own."""
    generator = AttentionGenerator(size, config.channels, len(CLASSES), config.width)
    if attention == "full":
        for module in generator.modules():
            if isinstance(module, PooledAttention):
                module.reduce = 1
    return generator


def draw(generator: MedSynthGenerator, prior: ClassPrior, labels: torch.Tensor, seed: int) -> None:
    """One batch, as :meth:`MedSynthGenerator.batches` makes it."""
    with torch.no_grad():
        x = prior.sample(labels, torch.Generator().manual_seed(seed))
        generator.generator(x, labels.to(x.device)).s.cpu()


if __name__ == "__main__":
    main()
