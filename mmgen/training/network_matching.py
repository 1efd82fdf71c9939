"""Real and synthetic images are compared through networks: random ones, or random ones that learn.

* MedSynth's generator is matched in networks that are drawn anew for every update, class by class, by energy distance:
  DM's idea (Zhao and Bilen 2023; see :mod:`mmgen.training.distribution_matching`) for a generator instead of pixels.
  Whole distributions are compared and not their means: a generator's few draws of an update have a mean of their own,
  and to bring it near the real one costs variety. There is no adversary, so no balance of two players is needed.
* DiM's second stage (Wang et al. 2023): a pool of networks that learn from real images as they go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.attention_gan import AttentionGenerator
from mmgen.models.classifiers import POOL, ConvNet, draw_weights, random_network
from mmgen.models.modality import Modality
from mmgen.models.prior import Prior
from mmgen.models.seeds import mixed_seed, torch_stream
from mmgen.names import AugmentationName, MatchingForm
from mmgen.training.augmentation import augment, draw
from mmgen.training.batches import LabelledBatches, labels_digest
from mmgen.training.engine import synchronise_parameters
from mmgen.training.gradients import LossStepper
from mmgen.training.loop import Loop, LoopConfig, Position, Task
from mmgen.training.preview import draws_grid
from mmgen.training.run import Run


def matching_loss(synthetic: Tensor, real: Tensor, labels: Tensor, form: MatchingForm) -> Tensor:
    """How differently a classifier sees synthetic and real images of the same classes, ().

    "logits" is the mean squared difference of each pair's logits, as printed (equation 4); "log_softmax" that of their
    log-probabilities (DiM). Partners are different pictures of a class, so both are least where all synthetic images
    of a class look like its average. "energy" compares each class as a whole by :func:`class_energy`.

    Args:
        synthetic, real: logits (B, classes).
        labels: classes (B,) of both. For "energy", a class with a single image does not count.
    """
    if form == "logits":
        return F.mse_loss(synthetic, real)
    synthetic, real = synthetic.log_softmax(-1), real.log_softmax(-1)
    return F.mse_loss(synthetic, real) if form == "log_softmax" else class_energy(synthetic, labels, real, labels)


def class_energy(a: Tensor, labels_a: Tensor, b: Tensor, labels_b: Tensor) -> Tensor:
    """How differently the features of each class are distributed, mean over classes, ().

    Twice the mean distance between rows of ``a`` and ``b``, less the mean distances of pairs within ``a`` and within
    ``b``. Its expectation is 0 for equal distributions and above 0 for all others, those of less variety too.

    Args:
        a, b: features (N, F) and (M, F).
        labels_a, labels_b: classes (N,) and (M,). A class with fewer than two rows on one side does not count.
    """
    across, within_a, within_b = (x[:, None] == y for x, y in ((labels_a, labels_b), (labels_a,) * 2, (labels_b,) * 2))
    # Rows of its class on either side, for each row.
    a_of_a, b_of_a, a_of_b, b_of_b = within_a.sum(1), across.sum(1), across.sum(0), within_b.sum(1)
    enough_a, enough_b = ((own > 1) & (other > 1) for own, other in ((a_of_a, b_of_a), (b_of_b, a_of_b)))
    # Together, the pairs of each class weigh 1.
    weights = across * (enough_a / (a_of_a * b_of_a).clamp_min(1))[:, None]
    energy = (2.0 * _distances(a, b) * weights).sum()
    for x, same, count, enough in ((a, within_a, a_of_a, enough_a), (b, within_b, b_of_b, enough_b)):
        energy = energy - (_distances(x, x) * same * (enough / (count * (count - 1)).clamp_min(1))[:, None]).sum()
    return energy / weights.sum().clamp_min(1.0)


def energy(a: Tensor, b: Tensor) -> Tensor:
    """:func:`class_energy` of features (K, N, F) and (K, M, F) that lie class by class, two rows or more of each.

    It looks at pairs of one class alone, so that time and memory grow with the number of classes and not its square.
    """
    energies = 2.0 * _distances(a, b).mean((1, 2))
    for x in (a, b):
        energies = energies - _distances(x, x).sum((1, 2)) / (x.shape[1] * (x.shape[1] - 1))
    return energies.mean()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(..., N, M) Euclidean distances of rows; at zero, on the diagonal, the root alone would have no derivative."""
    if not (a.requires_grad or b.requires_grad):
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")  # in a fraction of the memory
    return ((a[..., :, None, :] - b[..., None, :, :]).square().sum(-1) + 1e-12).sqrt()


@dataclass(frozen=True)
class NetworkMatchingConfig:
    """How the generator learns.

    Attributes:
        synthetic_per_class, real_per_class: synthetic and real images of each class in one update of one process, 2 at
            least.
        width: channels of the random networks.
        lr, betas: of Adam.
        augmentation: strategy of the changes made alike to real and synthetic images.
    """

    synthetic_per_class: int = 8
    real_per_class: int = 24
    width: int = 32
    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.99)
    augmentation: AugmentationName = "none"

    def __post_init__(self) -> None:
        if min(self.synthetic_per_class, self.real_per_class) < 2 or self.width < 1:
            raise UserError(
                "Matching in networks needs 2 images of each class and a width of 1 at least, not "
                f"{self.synthetic_per_class} synthetic, {self.real_per_class} real and {self.width}."
            )


class NetworkMatchingTask(Task):
    """One update: in a network drawn anew, features of new draws become those of real images of the same class.

    Every process has draws and real images of its own, and gradients are averaged.

    Args:
        generator: already holds its initial weights; it is moved to the accelerator's device.
        prior: where input images come from.
        config: how to learn.
        run: its engine, and the seed of networks, draws and augmentation.
        modality: normalisation of the networks' input.
    """

    def __init__(
        self,
        generator: AttentionGenerator,
        prior: Prior,
        config: NetworkMatchingConfig,
        run: Run,
        modality: Modality,
    ) -> None:
        device = run.accelerator.device
        self.model = generator.to(device, memory_format=torch.channels_last)
        self.prior, self.config, self.run, self.modality = prior, config, run, modality
        synchronise_parameters(generator)
        self._classes = classes = generator.config["classes"]
        self._labels = torch.arange(classes).repeat_interleave(config.synthetic_per_class)
        self._network = ConvNet(modality.shape, classes, config.width).requires_grad_(False).to(device)
        parameters = {"generator": list(generator.parameters())}
        self._stepper = LossStepper(parameters, config.lr, 0.0, config.betas, clip_norm=None)
        self.optimizers = self._stepper.optimizers

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """One step towards raw (B, C, H, W) real images and their labels."""
        device = batch["x"].device
        shared = torch_stream(self.run.seed, position.update)
        change = draw(self.config.augmentation, shared)
        draw_weights(self._network, shared)
        own = torch_stream(self.run.seed, position.update, position.rank + 1)
        x, labels = self.prior.sample(self._labels, own).to(device), self._labels.to(device)
        with self.run.accelerator.autocast():
            with torch.no_grad():
                real = self._network.embed(augment(self.modality.normalise(batch["x"]), change)).float()
            generated = self.modality.normalise((self.model(x, labels).s + 1.0) * 127.5)
            synthetic = self._network.embed(augment(generated, change)).float()
        # Both sides class by class: a balanced batch has every class as often.
        by_class = (x.unflatten(0, (self._classes, -1)) for x in (synthetic, real[batch["label"].argsort()]))
        loss = energy(*by_class)
        norm = self._stepper.minimise(loss)
        return {"loss/energy": loss.detach(), "gradient_norm/generator": norm}

    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """x, a, g and s of two draws of every class."""
        return {"generated": draws_grid(model, self.prior, self.run.seed)}


def match_generator(
    generator: AttentionGenerator,
    prior: Prior,
    train: Samples,
    modality: Modality,
    config: NetworkMatchingConfig,
    loop: LoopConfig,
    run: Run,
) -> AttentionGenerator:
    """Train a generator in place.

    Returns the moving average of its weights where the loop keeps one (in evaluation mode). A run is resumed only with
    the same settings and labels; see :meth:`Loop.train` for what is raised.
    """
    task = NetworkMatchingTask(generator, prior, config, run, modality)
    size = len(train.label_names) * config.real_per_class * run.accelerator.num_processes
    batches = LabelledBatches(train, size, loop.steps, run.seed, balanced=True, shared=True)
    identity = {
        "generator": generator.config,
        "prior": prior.identity,
        "learning": asdict(config),
        "labels": labels_digest(train),
    }
    return Loop(task, batches, loop, run, identity).train().eval()


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
    """

    batches: int = 16
    width: int = 64
    lr: float = 0.01
    momentum: float = 0.9
    weight: float = 0.01
    augmentation: AugmentationName = "none"

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
        run: its engine, and the seed of networks and changes.
    """

    def __init__(self, config: PoolMatchingConfig, shape: tuple[int, int, int], classes: int, run: Run) -> None:
        self.config, self.shape, self.classes, self.run = config, shape, classes, run
        self.network: nn.Module | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._next: tuple[int, int] | None = None

    def learn(
        self, x: Tensor, labels: Tensor, position: Position, read: Callable[[Position], Mapping[str, Tensor]]
    ) -> Tensor:
        """Train the epoch's network on normalised real images (batches * B, C, H, W) and their labels.

        ``read`` gives "x" and "label" of an earlier update. Returns the mean cross-entropy, ().
        """
        if self._next != (position.epoch, position.step):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(mixed_seed(self.run.seed, position.epoch))
                name = POOL[int(torch.randint(len(POOL), ()))]
                network = random_network(name, self.shape, self.classes, self.config.width)
            self.network = network.to(self.run.accelerator.device)
            self._optimizer = torch.optim.SGD(network.parameters(), self.config.lr, self.config.momentum)
            for step in range(position.step):
                earlier = Position(position.epoch, step, position.update - position.step + step)
                batch = read(earlier)
                self._learn(batch["x"], batch["label"], earlier)
        loss = self._learn(x, labels, position)
        self._next = (position.epoch, position.step + 1)
        return loss

    def loss(self, real: Tensor, images: Tensor, labels: Tensor, draws: Generator) -> Tensor:
        """DiM's matching loss of label-paired batches under one change of both, ().

        Args:
            real, images: normalised (B, C, H, W); gradients reach the synthetic ``images`` alone.
            labels: classes (B,) of both.
            draws: of the change.
        """
        parameters = draw(self.config.augmentation, draws)
        with self.run.accelerator.autocast():
            with torch.no_grad():
                seen = self.network(augment(real, parameters)).float()
            synthetic = self.network(augment(images, parameters)).float()
        return self.config.weight * matching_loss(synthetic, seen, labels, "log_softmax")

    def _learn(self, x: Tensor, labels: Tensor, position: Position) -> Tensor:
        draws = torch_stream(self.run.seed, position.update, 1)
        losses = []
        for part, known in zip(x.chunk(self.config.batches), labels.chunk(self.config.batches), strict=True):
            changed = augment(part, draw(self.config.augmentation, draws, len(part)))
            with self.run.accelerator.autocast():
                logits = self.network(changed).float()
            losses.append(F.cross_entropy(logits, known))
            self._optimizer.zero_grad(set_to_none=True)
            losses[-1].backward()
            self._optimizer.step()
        return torch.stack(losses).mean().detach()
