"""MedSynth's trainings of a generator: to restore images (warm-up), against a critic (phase I), and against a tuned
ViT too (phase II).

The warm-up restores real images from what its prior keeps of them. An untrained generator turns the draws of a
prior into coloured noise, and against a critic it takes tens of thousands of updates to unlearn that. Restoring needs
some hundred, and leaves images that look like their class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.attention_gan import AttentionGenerator, Critic
from mmgen.models.gan_losses import critic_loss, generator_loss, gradient_penalty
from mmgen.models.images import to_unit_range
from mmgen.models.modality import Modality
from mmgen.models.prior import Prior
from mmgen.names import AugmentationName, MatchingForm
from mmgen.training.augmentation import augment, draw
from mmgen.training.batches import LabelledBatches, labels_digest
from mmgen.training.engine import from_all, synchronise_parameters
from mmgen.training.gradients import LossStepper
from mmgen.training.loop import Loop, LoopConfig, Position, Task
from mmgen.training.network_matching import matching_loss
from mmgen.training.preview import Start, draws_grid
from mmgen.training.run import Run


class GAN(nn.Module):
    """A generator and its critic, which are trained and checkpointed together."""

    def __init__(self, generator: AttentionGenerator, critic: Critic) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic


@dataclass(frozen=True)
class GANConfig:
    """How generator and critic learn.

    Attributes:
        batch_size: images in one update over all processes.
        lr, critic_lr: of the generator's and the critic's Adam; 1e-4 in the paper.
        betas: of both. The paper prints a momentum of 0.9, i.e. (0.9, 0.999); (0, 0.9) is WGAN-GP's.
        critic_steps: steps of the critic for one of the generator, each on a batch of its own.
        penalty_weight: lambda_GP.
        class_weight: weight of the critic's classification of real (critic) and synthetic images (generator).
        mask_weight: weight of mean(a) in the generator's loss; above 0 the input is relied on less.
        gan_weight: lambda, weight of the GAN's loss beside the matching loss in phase II (equation 5).
        matching: what is compared in phase II, see :func:`matching_loss`.
        augmentation: strategy of the changes made alike to real and synthetic images before matching.
        ema_decay: of the moving average of weights that is kept.
    """

    batch_size: int = 32
    lr: float = 1e-4
    critic_lr: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.9)
    critic_steps: int = 1
    penalty_weight: float = 10.0
    class_weight: float = 0.3
    mask_weight: float = 0.0
    gan_weight: float = 1.0
    matching: MatchingForm = "energy"
    augmentation: AugmentationName = "none"
    ema_decay: float = 0.995

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"The batch size must be at least 1, got {self.batch_size}.")
        if self.matching not in get_args(MatchingForm):
            raise UserError(f"Matching is one of {', '.join(get_args(MatchingForm))}, not {self.matching!r}.")


@dataclass(frozen=True)
class RestorationConfig:
    """How the warm-up learns.

    Attributes:
        batch_size: images in one update over all processes.
        lr, betas: of Adam.
    """

    batch_size: int = 32
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)


class RestorationTask(Task):
    """Mean absolute error of g, the generated image, against the real image; the mask is left alone.

    Args:
        generator: already holds its initial weights; it is moved to the accelerator's device.
        prior: conceals the images.
        config: how to learn.
        run: its engine, and the seed of noise.

    Raises:
        UserError: the batch cannot be shared out evenly.
    """

    def __init__(self, generator: AttentionGenerator, prior: Prior, config: RestorationConfig, run: Run) -> None:
        _refuse_uneven(config.batch_size, run)
        self.model = generator.to(run.accelerator.device, memory_format=torch.channels_last)
        self.prior, self.run = prior, run
        synchronise_parameters(generator)
        self._stepper = LossStepper({"restoration": list(generator.parameters())}, config.lr, 0.0, config.betas)
        self.optimizers = self._stepper.optimizers

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """One step on raw (B, C, H, W) images and (B,) labels."""
        real, labels = to_unit_range(batch["x"]), batch["label"]
        share = slice(position.rank * len(labels), (position.rank + 1) * len(labels))
        # All conceal the whole batch, so that any number of processes draws the same noise.
        x = self.prior.conceal(from_all(real), from_all(labels), self.run.draws(position.update))[share]
        with self.run.accelerator.autocast():
            g = self.model(x, labels).g
        loss = (g - real).abs().mean()
        norm = self._stepper.minimise(loss)
        return {"loss/restoration": loss.detach(), "gradient_norm/generator": norm}

    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """x, a, g and s of two draws of every class."""
        return {"generated": draws_grid(model, self.prior, self.run.seed)}


class GANTask(Task):
    """One update: the critic learns to tell real from synthetic, then the generator from the critic.

    With a ``matcher`` this is phase II: the generator also learns to make images that the frozen classifier sees as it
    sees real ones of the same class, both changed alike at random.

    Args:
        gan: already holds its initial weights; it is moved to the accelerator's device.
        prior: where input images come from.
        config: how to learn.
        run: its engine, and the seed of draws and augmentation.
        modality: normalisation of the matcher's input.
        matcher: (B, C, H, W) of normalised input -> logits (B, classes).

    Raises:
        UserError: the batch cannot be shared out evenly.
    """

    def __init__(
        self, gan: GAN, prior: Start, config: GANConfig, run: Run, modality: Modality, matcher: nn.Module | None = None
    ) -> None:
        _refuse_uneven(config.batch_size, run)
        device = run.accelerator.device
        self.model = gan.to(device, memory_format=torch.channels_last)
        self.prior, self.config, self.modality = prior, config, modality
        self.run, self.accelerator = run, run.accelerator
        self.matcher = matcher.to(device).eval().requires_grad_(False) if matcher is not None else None
        synchronise_parameters(gan)
        self._critic_stepper, self._generator_stepper = (
            LossStepper({name: list(part.parameters())}, lr, 0.0, config.betas, clip_norm=None)
            for name, part, lr in (("critic", gan.critic, config.critic_lr), ("generator", gan.generator, config.lr))
        )
        self.optimizers = self._critic_stepper.optimizers | self._generator_stepper.optimizers

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """Steps of the critic and one of the generator on raw (critic_steps * B, C, H, W) images and their labels."""
        draws = self.run.draws(position.update)
        scalars: dict[str, Tensor] = {}
        chunks = (batch[key].chunk(self.config.critic_steps) for key in ("x", "label"))
        parts = list(zip(*chunks, strict=True))
        for number, (raw, labels) in enumerate(parts, 1):
            epsilon, x = self._inputs(labels, draws, position)
            last = number == len(parts)
            # The last images serve both players: the critic's step changes no weight of the generator.
            with self.accelerator.autocast(), torch.set_grad_enabled(last):
                generated = self.model.generator(x, labels)
            scalars = self._teach_critic(to_unit_range(raw), generated.s.detach(), labels, epsilon)
        seen = self.model.critic(generated.s)
        known = F.cross_entropy(seen.logits, labels)
        losses = {"generator": generator_loss(seen.score), "generator_class": self.config.class_weight * known}
        if self.matcher is not None:
            losses = {name: self.config.gan_weight * loss for name, loss in losses.items()}
            losses["match"] = self._matching_loss(raw, generated.s, labels, draws)
        mean_attention = generated.a.mean()
        losses["attention"] = self.config.mask_weight * mean_attention
        norm = self._generator_stepper.minimise(torch.stack(list(losses.values())).sum())
        shown = {f"loss/{name}": loss.detach() for name, loss in losses.items() if name != "attention"}
        return scalars | shown | {"mean_attention": mean_attention.detach(), "gradient_norm/generator": norm}

    def _inputs(self, labels: Tensor, draws: Generator, position: Position) -> tuple[Tensor, Tensor]:
        """This process's share of epsilon and input images; all draw for the whole batch, so that any number of
        processes gives the same ones."""
        share = slice(position.rank * len(labels), (position.rank + 1) * len(labels))
        epsilon = torch.rand(position.world * len(labels), generator=draws)[share]
        x = self.prior.sample(from_all(labels).cpu(), draws)[share]
        return epsilon.to(labels.device), x.to(labels.device)

    def _teach_critic(self, real: Tensor, fake: Tensor, labels: Tensor, epsilon: Tensor) -> dict[str, Tensor]:
        critic = self.model.critic
        on_real, on_fake = critic(real), critic(fake)
        penalty = gradient_penalty(critic, real, fake, epsilon)
        loss = critic_loss(on_real.score, on_fake.score, penalty, self.config.penalty_weight)
        known = F.cross_entropy(on_real.logits, labels)
        norm = self._critic_stepper.minimise(loss + self.config.class_weight * known)
        return {
            "loss/critic": loss.detach(),
            "loss/critic_class": known.detach(),
            "critic_gap": (on_real.score.mean() - on_fake.score.mean()).detach(),
            "penalty": penalty.detach(),
            "gradient_norm/critic": norm,
        }

    def _matching_loss(self, raw: Tensor, images: Tensor, labels: Tensor, draws: Generator) -> Tensor:
        """Equation 4 on label-paired images under one change of the whole batch, as in DSA."""
        parameters = draw(self.config.augmentation, draws)
        pair = (self.modality.normalise(raw), self.modality.normalise((images + 1.0) * 127.5))
        with self.accelerator.autocast():
            real, synthetic = (self.matcher(augment(x, parameters)).float() for x in pair)
        if self.accelerator.num_processes == 1 or self.config.matching != "energy":
            return matching_loss(synthetic, real, labels, self.config.matching)
        # Classes are compared as a whole, so the images of all processes belong together. Each process has its images'
        # part of the gradient; these parts add up, but will be averaged.
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        everyone = list(from_all(synthetic.detach()).chunk(world))
        everyone[rank] = synthetic
        loss = matching_loss(torch.cat(everyone), from_all(real), from_all(labels), "energy")
        return loss.detach() + world * (loss - loss.detach())

    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """x, a, g and s of two draws of every class."""
        return {"generated": draws_grid(model.generator, self.prior, self.run.seed)}


def warm_up(
    generator: AttentionGenerator,
    prior: Prior,
    train: Samples,
    config: RestorationConfig,
    loop: LoopConfig,
    run: Run,
) -> None:
    """Train a generator in place to restore images; see :meth:`Loop.train` for what is raised."""
    batches = LabelledBatches(train, config.batch_size, loop.steps, run.seed, balanced=True, shared=True)
    identity = {
        "generator": generator.config,
        "prior": prior.identity,
        "learning": asdict(config),
        "labels": labels_digest(train),
    }
    Loop(RestorationTask(generator, prior, config, run), batches, loop, run, identity).train()


def train_gan(
    gan: GAN,
    prior: Start,
    train: Samples,
    modality: Modality,
    config: GANConfig,
    loop: LoopConfig,
    run: Run,
    matcher: nn.Module | None = None,
) -> GAN:
    """Phase I, or phase II with a ``matcher``, on batches of all classes equally.

    Returns the moving average of the weights (in evaluation mode) and leaves the last ones in ``gan``. A run is resumed
    only with the same settings and labels; see :meth:`Loop.train` for what is raised.
    """
    task = GANTask(gan, prior, config, run, modality, matcher)
    k = config.critic_steps
    batches = LabelledBatches(train, k * config.batch_size, loop.steps, run.seed, balanced=True, shared=True, parts=k)
    identity = {
        "generator": gan.generator.config,
        "critic": gan.critic.config,
        "prior": getattr(prior, "identity", None),
        "learning": asdict(config),
        "labels": labels_digest(train),
        "phase": 1 if matcher is None else 2,
    }
    return Loop(task, batches, loop, run, identity).train().eval()


def _refuse_uneven(batch_size: int, run: Run) -> None:
    processes = run.accelerator.num_processes
    if batch_size % processes:
        raise UserError(f"The batch size ({batch_size}) must be a multiple of the processes ({processes}).")
