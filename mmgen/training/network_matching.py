"""A generator's draws are matched to real images in random networks, class by class, by energy distance.

DM's idea (Zhao and Bilen 2023; see :mod:`mmgen.training.distribution_matching`) for a generator instead of pixels.
Whole distributions are compared and not their means: a generator's few draws of an update have a mean of their own, and
to bring it near the real one costs variety. There is no adversary, so no balance of two players is needed.
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
from mmgen.models.classifiers import ConvNet, draw_weights
from mmgen.models.modality import Modality
from mmgen.models.seeds import mixed_seed
from mmgen.names import AugmentationName
from mmgen.training.augmentation import augment, draw
from mmgen.training.batches import LabelledBatches
from mmgen.training.energy import energy
from mmgen.training.engine import synchronise_parameters
from mmgen.training.gradients import LossStepper
from mmgen.training.loop import Loop, LoopConfig, Position, Task
from mmgen.training.preview import draws_grid

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class NetworkMatchingConfig:
    """How the generator learns.

    Attributes:
        made_per_class, real_per_class: synthetic and real images of each class in one update of one process, 2 at
            least.
        width: channels of the random networks.
        lr, betas: of Adam.
        augmentation: strategy of the changes made alike to real and synthetic images.
        seed: of networks, draws, order and augmentation.
    """

    made_per_class: int = 8
    real_per_class: int = 24
    width: int = 32
    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.99)
    augmentation: AugmentationName = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.made_per_class, self.real_per_class) < 2 or self.width < 1:
            raise UserError(
                "Matching in networks needs 2 images of each class and a width of 1 at least, not "
                f"{self.made_per_class} synthetic, {self.real_per_class} real and {self.width}."
            )


class NetworkMatchingTask(Task):
    """One update: in a network drawn anew, features of new draws become those of real images of the same class.

    Every process has draws and real images of its own, and gradients are averaged.

    Args:
        generator: already holds its initial weights; it is moved to the accelerator's device.
        prior: where input images come from.
        config: how to learn.
        accelerator: engine of this process.
        modality: normalisation of the networks' input.
    """

    def __init__(
        self,
        generator: AttentionGenerator,
        prior: ClassPrior,
        config: NetworkMatchingConfig,
        accelerator: Accelerator,
        modality: Modality,
    ) -> None:
        self.model = generator.to(accelerator.device, memory_format=torch.channels_last)
        self.prior, self.config, self.accelerator, self.modality = prior, config, accelerator, modality
        synchronise_parameters(generator)
        self._classes = classes = generator.config["classes"]
        self._labels = torch.arange(classes).repeat_interleave(config.made_per_class)
        self._network = ConvNet(modality.shape, classes, config.width).requires_grad_(False).to(accelerator.device)
        parameters = {"generator": list(generator.parameters())}
        self._stepper = LossStepper(parameters, config.lr, 0.0, config.betas, clip_norm=None)
        self.optimizers = self._stepper.optimizers

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """One step towards raw (B, C, H, W) real images and their labels."""
        device = batch["x"].device
        shared = torch.Generator().manual_seed(mixed_seed(self.config.seed, position.update))
        change = draw(self.config.augmentation, shared)
        draw_weights(self._network, shared)
        own = torch.Generator().manual_seed(mixed_seed(self.config.seed, position.update, position.rank + 1))
        x, labels = self.prior.sample(self._labels, own).to(device), self._labels.to(device)
        with self.accelerator.autocast():
            with torch.no_grad():
                real = self._network.embed(augment(self.modality.normalise(batch["x"]), change)).float()
            made = self.modality.normalise((self.model(x, labels).s + 1.0) * 127.5)
            synthetic = self._network.embed(augment(made, change)).float()
        # Both sides class by class: a balanced batch has every class as often.
        by_class = (x.unflatten(0, (self._classes, -1)) for x in (synthetic, real[batch["label"].argsort()]))
        loss = energy(*by_class)
        norm = self._stepper.minimise(loss)
        return {"loss/energy": loss.detach(), "gradient_norm/generator": norm}

    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """x, a, g and s of two draws of every class."""
        return {"generated": draws_grid(model, self.prior, self.config.seed)}


def match_generator(
    generator: AttentionGenerator,
    prior: ClassPrior,
    train: Samples,
    modality: Modality,
    config: NetworkMatchingConfig,
    loop: LoopConfig,
    steps: int,
    accelerator: Accelerator,
    folder: Path | None = None,
    resume: bool = False,
) -> AttentionGenerator:
    """Train a generator in place for ``loop.epochs`` of ``steps`` updates.

    Returns the moving average of its weights where the loop keeps one (in evaluation mode). A run is resumed only with
    the same settings and labels; see :class:`Loop` for ``folder`` and what is raised.
    """
    task = NetworkMatchingTask(generator, prior, config, accelerator, modality)
    size = len(train.label_names) * config.real_per_class * accelerator.num_processes
    batches = LabelledBatches(train, size, steps, config.seed, balanced=True, shared=True)
    identity = {
        "generator": generator.config,
        "prior": prior.config,
        "learning": asdict(config),
        "loop": asdict(loop),
        "steps": steps,
        "labels": hashlib.sha256(train.labels.tobytes()).hexdigest(),
    }
    return Loop(task, batches, loop, accelerator, folder, identity).run(resume).eval()
