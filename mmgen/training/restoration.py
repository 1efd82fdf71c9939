"""A generator's warm-up: to restore real images from what a class prior keeps of them.

An untrained generator turns the draws of a prior into coloured noise, and against a critic it takes tens of thousands
of updates to unlearn that. Restoring needs some hundred, and leaves images that look like their class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.attention_gan import AttentionGenerator
from mmgen.models.class_prior import ClassPrior
from mmgen.models.images import to_unit_range
from mmgen.training.batches import LabelledBatches
from mmgen.training.engine import from_all, synchronise_parameters
from mmgen.training.gradients import LossStepper
from mmgen.training.loop import Loop, LoopConfig, Position, Task
from mmgen.training.preview import draws_grid

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class RestorationConfig:
    """How the warm-up learns.

    Attributes:
        batch_size: images in one update over all processes.
        lr, betas: of Adam.
        seed: of noise and order.
    """

    batch_size: int = 32
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    seed: int = 0


class RestorationTask(Task):
    """Mean absolute error of g, the generated image, against the real image; the mask is left alone.

    Args:
        generator: already holds its initial weights; it is moved to the accelerator's device.
        prior: conceals the images.
        config: how to learn.
        accelerator: engine of this process.

    Raises:
        UserError: the batch cannot be shared out evenly.
    """

    def __init__(
        self, generator: AttentionGenerator, prior: ClassPrior, config: RestorationConfig, accelerator: Accelerator
    ) -> None:
        if config.batch_size % accelerator.num_processes:
            raise UserError(
                f"The batch size ({config.batch_size}) must be a multiple of the processes "
                f"({accelerator.num_processes})."
            )
        self.model = generator.to(accelerator.device, memory_format=torch.channels_last)
        self.prior, self.config, self.accelerator = prior, config, accelerator
        synchronise_parameters(generator)
        self._stepper = LossStepper({"restoration": list(generator.parameters())}, config.lr, 0.0, config.betas)
        self.optimizers = self._stepper.optimizers

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """One step on raw (B, C, H, W) images and (B,) labels."""
        chance = torch.Generator().manual_seed(self.config.seed * 1_000_003 + position.update)
        real, labels = to_unit_range(batch["x"]), batch["label"]
        share = slice(position.rank * len(labels), (position.rank + 1) * len(labels))
        # All conceal the whole batch, so that any number of processes draws the same noise.
        x = self.prior.conceal(from_all(real), from_all(labels), chance)[share]
        with self.accelerator.autocast():
            made = self.model(x, labels)
        loss = (made.g - real).abs().mean()
        norm = self._stepper.minimise(loss)
        return {"loss/restoration": loss.detach(), "gradient_norm/generator": norm}

    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """x, a, g and s of two draws of every class."""
        return {"generated": draws_grid(model, self.prior, self.config.seed)}


def warm_up(
    generator: AttentionGenerator,
    prior: ClassPrior,
    train: Samples,
    config: RestorationConfig,
    loop: LoopConfig,
    steps: int,
    accelerator: Accelerator,
    folder: Path | None = None,
    resume: bool = False,
) -> None:
    """Train a generator in place for ``loop.epochs`` of ``steps`` updates; see :class:`Loop` for the rest."""
    batches = LabelledBatches(train, config.batch_size, steps, config.seed, balanced=True, shared=True)
    labels = hashlib.sha256(train.labels.tobytes()).hexdigest()
    identity = {"generator": generator.config, "learning": asdict(config), "steps": steps, "labels": labels}
    Loop(
        RestorationTask(generator, prior, config, accelerator),
        batches,
        loop,
        accelerator,
        folder,
        identity | {"loop": asdict(loop)},
    ).run(resume)
