"""Inversion of a generator: the latent from which it makes a given real image most exactly (IT-GAN, section 3.1)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ConvNet
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.modality import Modality
from mmgen.training.batches import labels_digest
from mmgen.training.engine import synchronise_parameters
from mmgen.training.gradients import LossStepper
from mmgen.training.loop import Loop, LoopConfig, Position, Task
from mmgen.training.run import Run


@dataclass(frozen=True)
class InversionConfig:
    """How latents are found.

    Attributes:
        updates: steps of Adam for every image.
        lr: of Adam, 0.1 as published.
        together: images that are inverted at a time; none has an influence on another.
    """

    updates: int = 500
    lr: float = 0.1
    together: int = 128

    def __post_init__(self) -> None:
        if min(self.updates, self.together) < 1:
            raise UserError(f"Inversion needs updates and images, got {self.updates} and {self.together}.")


class InversionTask(Task):
    """The squared error of an image's features and that of its pixels, both means, added up over images.

    Epoch g of the loop inverts group g, with an Adam of its own.

    Args:
        latents: what is learnt, "groups" of (B, noise); moved to the accelerator's device.
        generator: makes images of latents; moved there too, frozen.
        network: a classifier of such images, frozen, whose features are compared.
        modality: normalises images for the comparison.
        config: how to learn.
        run: its engine. Several processes do the same work.
    """

    def __init__(
        self,
        latents: nn.ModuleDict,
        generator: ConditionalGenerator,
        network: ConvNet,
        modality: Modality,
        config: InversionConfig,
        run: Run,
    ) -> None:
        self.accelerator = run.accelerator
        self.model = latents.to(self.accelerator.device)
        self.generator, self.network = (
            part.to(self.accelerator.device).eval().requires_grad_(False) for part in (generator, network)
        )
        self.modality = modality
        self._steppers = [
            LossStepper({str(group): [latent]}, config.lr, 0.0, (0.9, 0.999), clip_norm=None)
            for group, latent in enumerate(latents["groups"])
        ]
        self.optimizers = {str(group): stepper.optimizers[str(group)] for group, stepper in enumerate(self._steppers)}
        self._target = (-1, torch.empty(0), torch.empty(0))
        self._error = torch.empty(0)

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """One step of a group towards its images, raw (B, C, H, W), and their labels (B,)."""
        group = position.epoch
        if self._target[0] != group:
            real = self.modality.normalise(batch["x"])
            self._target = (group, real, self._features(real).detach())
        with self.accelerator.autocast():
            generated = self.generator(self.model["groups"][group], batch["label"])
        generated = self.modality.normalise((generated.float() + 1.0) * 127.5)
        pixels = (generated - self._target[1]).square().flatten(1).mean(1)
        features = (self._features(generated) - self._target[2]).square().mean(1)
        self._error = (pixels + features).detach()
        self._steppers[group].minimise((pixels + features).sum())
        return {"loss/pixels": pixels.detach().mean(), "loss/features": features.detach().mean()}

    def _features(self, x: Tensor) -> Tensor:
        with self.accelerator.autocast():
            return self.network.embed(x).float()

    def describe(self) -> dict[str, Any]:
        """The error that the last update of the group began with, mean over images."""
        return {"last_error": float(self._error.mean())}


class GroupedBatches:
    """Epoch g gives group g of the samples, in their order, at every step.

    Args:
        samples: what is in files is read once for each group.
        together: samples of a group; the last one may be smaller.
        steps: of an epoch.
    """

    def __init__(self, samples: Samples, together: int, steps: int) -> None:
        self.values, self.labels = samples.values, samples.labels
        self.batch_size = min(together, len(samples))
        self.steps_per_epoch = steps
        self._together = together
        self._read: tuple[int, dict[str, Tensor]] = (-1, {})

    def batch(self, position: Position) -> dict[str, Tensor]:
        """``x`` (B, C, H, W) in raw units and ``label`` (B,)."""
        if self._read[0] != position.epoch:
            start = position.epoch * self._together
            index = np.arange(start, min(start + self._together, len(self.labels)))
            batch = {"x": torch.from_numpy(self.values[index]), "label": torch.from_numpy(self.labels[index])}
            self._read = (position.epoch, batch)
        return self._read[1]


def invert(
    generator: ConditionalGenerator,
    network: ConvNet,
    samples: Samples,
    modality: Modality,
    config: InversionConfig,
    run: Run,
) -> Tensor:
    """A latent for every sample, (N, noise) on the CPU; a sample that is there twice starts from two draws.

    Generator and network go to the accelerator's device and are frozen. A run is resumed only with the same settings
    and labels; see :meth:`Loop.train` for what is raised.
    """
    drawn = torch.randn(len(samples), generator.noise, generator=torch.Generator().manual_seed(run.seed))
    latents = nn.ModuleDict({"groups": nn.ParameterList(part.clone() for part in drawn.split(config.together))})
    task = InversionTask(latents, generator, network, modality, config, run)
    loop = LoopConfig(math.ceil(len(samples) / config.together), config.updates, "constant", warmup=0.0)
    batches = GroupedBatches(samples, config.together, config.updates)
    identity = {
        "generator": generator.config,
        "learning": asdict(config),
        "labels": labels_digest(samples),
        "rows": hashlib.sha256(samples.rows.tobytes()).hexdigest(),
    }
    Loop(task, batches, loop, run, identity).train()
    synchronise_parameters(latents)  # all did the same work, but on some devices its last bits are not determined
    return torch.cat([part.detach().cpu() for part in latents["groups"]])
