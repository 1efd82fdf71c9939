"""DiM's second stage (Wang et al. 2023): images are also to be seen by random networks as real ones are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from mmgen.errors import UserError
from mmgen.models.classifiers import POOL, random_network
from mmgen.models.seeds import mixed_seed
from mmgen.names import AugmentationName
from mmgen.training.augmentation import augment, draw
from mmgen.training.gan import matching_loss
from mmgen.training.loop import Position

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class PoolMatchingConfig:
    """How networks learn, and what weight their opinion has.

    Attributes:
        batches: real batches that a network learns from before each step of the generator.
        width: of the networks, see :func:`mmgen.models.classifiers.random_network`.
        lr, momentum: of the networks' SGD.
        weight: of the matching loss beside the losses of the GAN.
        augmentation: strategy of the changes made to what a network learns from, image by image, and alike to real and
            synthetic images before they are compared.
        seed: of networks and changes.
    """

    batches: int = 16
    width: int = 64
    lr: float = 0.01
    momentum: float = 0.9
    weight: float = 0.01
    augmentation: AugmentationName = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batches < 1:
            raise UserError(f"A network must learn from at least 1 batch before each step, got {self.batches}.")


class PoolMatcher:
    """A network of the pool for every epoch of the loop: drawn, initialised and trained on real images as it goes.

    What the network is follows from seed, epoch, step and the real images alone, since it learns nothing from the
    generator. So a checkpoint holds nothing of it: in a run that is resumed within an epoch it learns again from the
    batches of that epoch.

    Args:
        config: how networks learn.
        shape: (C, H, W) of the images.
        classes: number of labels.
        accelerator: engine of this process.
    """

    def __init__(
        self, config: PoolMatchingConfig, shape: tuple[int, int, int], classes: int, accelerator: Accelerator
    ) -> None:
        self.config, self.shape, self.classes, self.accelerator = config, shape, classes, accelerator
        self.batches = config.batches
        self.identity: Mapping[str, Any] = asdict(config)
        self.network: nn.Module | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._next: tuple[int, int] | None = None

    def learn(
        self, x: Tensor, labels: Tensor, position: Position, read: Callable[[Position], Mapping[str, Tensor]]
    ) -> Tensor:
        """Train the epoch's network on real images; see :class:`mmgen.training.conditional_gan.Matcher`.

        Returns:
            The mean cross-entropy, ().
        """
        if self._next != (position.epoch, position.step):
            self._begin(position.epoch)
            for step in range(position.step):
                earlier = Position(position.epoch, step, position.update - position.step + step)
                batch = read(earlier)
                self._learn(batch["x"], batch["label"], earlier)
        loss = self._learn(x, labels, position)
        self._next = (position.epoch, position.step + 1)
        return loss

    def loss(self, real: Tensor, made: Tensor, labels: Tensor, chance: Generator) -> Tensor:
        """DiM's matching loss of label-paired batches under one change of both, ().

        Args:
            real, made: normalised images (B, C, H, W); gradients reach ``made`` alone.
            labels: classes (B,) of both.
            chance: draws the change.
        """
        parameters = draw(self.config.augmentation, chance)
        with self.accelerator.autocast():
            with torch.no_grad():
                seen = self.network(augment(real, parameters)).float()
            synthetic = self.network(augment(made, parameters)).float()
        return self.config.weight * matching_loss(synthetic, seen, labels, "log_softmax")

    def _begin(self, epoch: int) -> None:
        seed = mixed_seed(self.config.seed, epoch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            name = POOL[int(torch.randint(len(POOL), ()))]
            network = random_network(name, self.shape, self.classes, self.config.width)
        self.network = network.to(self.accelerator.device)
        self._optimizer = torch.optim.SGD(network.parameters(), self.config.lr, self.config.momentum)

    def _learn(self, x: Tensor, labels: Tensor, position: Position) -> Tensor:
        chance = torch.Generator().manual_seed(mixed_seed(self.config.seed, position.update, 1))
        losses = []
        for part, known in zip(x.chunk(self.batches), labels.chunk(self.batches), strict=True):
            changed = augment(part, draw(self.config.augmentation, chance, len(part)))
            with self.accelerator.autocast():
                logits = self.network(changed).float()
            losses.append(F.cross_entropy(logits, known))
            self._optimizer.zero_grad(set_to_none=True)
            losses[-1].backward()
            self._optimizer.step()
        return torch.stack(losses).mean().detach()
