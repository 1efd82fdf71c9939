"""Training of a conditional GAN: as DCGAN has it, or as DiM in its first stage and, with a matcher, in its second."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.conditional_gan import ConditionalDiscriminator, ConditionalGenerator
from mmgen.models.gan_losses import critic_loss, generator_loss, gradient_penalty
from mmgen.models.images import to_unit_range
from mmgen.models.modality import Modality
from mmgen.training.batches import WholeBatches, labels_digest
from mmgen.training.engine import synchronise_parameters
from mmgen.training.gradients import LossStepper
from mmgen.training.loop import Loop, LoopConfig, Position, Task
from mmgen.training.network_matching import PoolMatcher
from mmgen.training.run import Run

GANLoss = Literal["bce", "wgan_gp"]


class ConditionalGAN(nn.Module):
    """A generator and its discriminator, which are trained and checkpointed together."""

    def __init__(self, generator: ConditionalGenerator, discriminator: ConditionalDiscriminator) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator


@dataclass(frozen=True)
class ConditionalGANConfig:
    """How generator and discriminator learn.

    Attributes:
        loss: "bce" is DCGAN's, "wgan_gp" DiM's, for a discriminator without batch normalisation.
        batch_size: images in one update.
        lr, discriminator_lr: of the generator's and the discriminator's Adam.
        betas: of both.
        penalty_weight: of the gradient penalty.
        class_weight: weight of the classification of real (discriminator) and synthetic images (generator).
    """

    loss: GANLoss = "bce"
    batch_size: int = 128
    lr: float = 2e-4
    discriminator_lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    penalty_weight: float = 10.0
    class_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise UserError(f"Batch normalisation needs a batch of at least 2, got {self.batch_size}.")
        if self.loss not in get_args(GANLoss):
            raise UserError(f"The loss of a conditional GAN is {' or '.join(get_args(GANLoss))}, not {self.loss!r}.")


class ConditionalGANTask(Task):
    """One update: a step of the discriminator, then one of the generator, for the same synthetic images.

    Classes are DCGAN's only by the second head, which learns them from real images and teaches them to the generator
    (AC-GAN, Odena et al. 2017): DCGAN itself has none.

    Args:
        gan: already holds its initial weights; it is moved to the accelerator's device.
        config: how to learn.
        run: its engine, and the seed of noise.
        modality: normalises what the matcher sees.
        batches: where batches come from.
        matcher: adds its loss to the generator's.
    """

    def __init__(
        self,
        gan: ConditionalGAN,
        config: ConditionalGANConfig,
        run: Run,
        modality: Modality,
        batches: WholeBatches,
        matcher: PoolMatcher | None = None,
    ) -> None:
        self.model = gan.to(run.accelerator.device)
        self.config, self.run, self.modality = config, run, modality
        self.batches, self.matcher = batches, matcher
        synchronise_parameters(gan)
        self._discriminator_stepper, self._generator_stepper = (
            LossStepper({name: list(part.parameters())}, lr, 0.0, config.betas, clip_norm=None)
            for name, part, lr in (
                ("discriminator", gan.discriminator, config.discriminator_lr),
                ("generator", gan.generator, config.lr),
            )
        )
        self.optimizers = self._discriminator_stepper.optimizers | self._generator_stepper.optimizers

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """Steps of both on the first B raw images; a matcher learns from the others before."""
        config, generator, discriminator = self.config, self.model.generator, self.model.discriminator
        raw, labels = batch["x"][: config.batch_size], batch["label"][: config.batch_size]
        draws = self.run.draws(position.update)
        noise = torch.randn(config.batch_size, generator.noise, generator=draws).to(raw.device)
        with self.run.accelerator.autocast():
            synthetic = generator(noise, labels)
        real, fake = to_unit_range(raw), synthetic.detach()
        on_real, on_fake = discriminator(real), discriminator(fake)
        if config.loss == "bce":
            loss = _bce(on_real.score, 1.0) + _bce(on_fake.score, 0.0)
        else:
            penalty = gradient_penalty(discriminator, real, fake, torch.rand(len(real), generator=draws))
            loss = critic_loss(on_real.score, on_fake.score, penalty, config.penalty_weight)
        known = F.cross_entropy(on_real.logits, labels)
        scalars = {
            "loss/discriminator": loss.detach(),
            "loss/discriminator_class": known.detach(),
            "score_gap": (on_real.score.mean() - on_fake.score.mean()).detach(),
            "gradient_norm/discriminator": self._discriminator_stepper.minimise(loss + config.class_weight * known),
        }
        seen = discriminator(synthetic)
        losses = {"generator": _bce(seen.score, 1.0) if config.loss == "bce" else generator_loss(seen.score)}
        losses["generator_class"] = config.class_weight * F.cross_entropy(seen.logits, labels)
        if self.matcher is not None:
            rest = self._for_matcher(batch)
            scalars["loss/network"] = self.matcher.learn(
                rest["x"], rest["label"], position, lambda earlier: self._for_matcher(self.batches.batch(earlier))
            )
            pair = (self.modality.normalise(x) for x in (raw, (synthetic + 1.0) * 127.5))
            losses["match"] = self.matcher.loss(*pair, labels, draws)
        norm = self._generator_stepper.minimise(torch.stack(list(losses.values())).sum())
        shown = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
        return scalars | shown | {"gradient_norm/generator": norm}

    def _for_matcher(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Images and labels that a matcher learns from, normalised."""
        x, labels = (batch[key][self.config.batch_size :].to(self.run.accelerator.device) for key in ("x", "label"))
        return {"x": self.modality.normalise(x), "label": labels}

    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """A row of eight images of each class, of ten at most."""
        generator = copy.deepcopy(model.generator)
        generator.settle(self.run.seed)
        synthetic = generator.sample(8, self.run.seed).images[:80].expand(-1, 3, -1, -1)
        return {"generated": rearrange(synthetic, "(k n) c h w -> (k h) (n w) c", n=8).numpy()}


def _bce(score: Tensor, target: float) -> Tensor:
    """Binary cross-entropy of scores (B,) that are to mean real (1) or synthetic (0)."""
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, target))


def train_conditional_gan(
    gan: ConditionalGAN,
    train: Samples,
    modality: Modality,
    config: ConditionalGANConfig,
    loop: LoopConfig,
    run: Run,
    matcher: PoolMatcher | None = None,
) -> ConditionalGAN:
    """Train on batches of all classes equally.

    Returns the moving average of the weights where ``loop.ema_decay`` asks for one, otherwise the last ones, in
    evaluation mode and with the generator settled (:meth:`ConditionalGenerator.settle`); the last ones are left in
    ``gan``. Several processes do the same work. A run is resumed only with the same settings and labels; see
    :meth:`Loop.train` for what is raised.
    """
    parts = 1 if matcher is None else 1 + matcher.config.batches
    batches = WholeBatches(train, parts * config.batch_size, loop.steps, run.seed)
    task = ConditionalGANTask(gan, config, run, modality, batches, matcher)
    identity = {
        "generator": gan.generator.config,
        "discriminator": gan.discriminator.config,
        "modality": modality.to_dict(),
        "learning": asdict(config),
        "labels": labels_digest(train),
        "matcher": None if matcher is None else asdict(matcher.config),
    }
    trained = Loop(task, batches, loop, run, identity).train().eval()
    trained.generator.settle(run.seed)
    return trained
