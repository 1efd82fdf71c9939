"""LOGAN without the critic: the attacker trains a GAN on the synthetic set (Hayes et al. 2019, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.progress import progress_bar
from mmgen.data.samples import Sliceable
from mmgen.errors import UserError
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.membership import Scores
from mmgen.evaluation.privacy.recognition import reduced
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.modality import Modality

_LATENT, _CHUNK = 64, 256
# The discriminator halves the sides three times.
_MULTIPLE = 8


@dataclass(frozen=True)
class AttackerGANConfig:
    """The attacker's GAN.

    Attributes:
        side: samples are averaged down until their longer side has at most this many pixels; height and width then
            become multiples of 8. The sample's own size is the upper limit.
        updates: steps of the discriminator and of the generator. The more often the discriminator sees a synthetic
            sample the more it remembers: of 1,000 phantom films, all copied, 4,000 updates (two minutes on one core)
            give an AUC of 0.79; of 64 films, 1,000 updates give 1.00.
        batch_size: synthetic samples a step, and as many of the generator's.
        width: channels after the discriminator's first layer; they double twice.
        lr: of both players' Adam.
        seed: of weights, order and noise.
    """

    side: int = 32
    updates: int = 4000
    batch_size: int = 32
    width: int = 16
    lr: float = 5e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.side < _MULTIPLE or self.updates < 1 or self.batch_size < 2 or self.width < 1:
            raise UserError(
                f"The attacker's GAN needs a side of at least {_MULTIPLE}, updates, a batch of at least 2 and a width, "
                f"got {self.side}, {self.updates}, {self.batch_size} and {self.width}."
            )


def logan_black_box(
    modality: Modality,
    synthetic: Sliceable,
    members: Records,
    non_members: Records,
    config: AttackerGANConfig,
    device: torch.device | str = "cpu",
) -> dict[str, Scores]:
    """Scores of the black-box attack (threat model "G" or "S"), by name of the attack.

    The discriminator of a GAN that is trained on the synthetic samples alone remembers some of them; a member that the
    synthetic set copies is remembered too and called real.

    "logan_black_box" sets members against real samples that were not trained on. "logan_black_box_paper" takes the
    synthetic samples for non-members, as the LOGAN and MedSynth papers do. The discriminator has learnt to call these
    real, so that this measures how members differ from synthetic samples, not membership.

    Args:
        modality: of the samples; log-mels are normalised by it, images have a range of their own.
        synthetic, members, non_members: samples of the same shape, (N, C, H, W).
        config: the attacker's GAN.
        device: where the GAN is trained.

    Raises:
        UserError: no synthetic samples, or a GAN that diverges.
    """
    if not synthetic.shape[0]:
        raise UserError("The attacker's GAN has nothing to learn from: there are no synthetic samples.")
    sides = (synthetic, members.values, non_members.values)
    ready = [reduced(values, modality, config.side, _MULTIPLE).to(device) for values in sides]
    of_synthetic, of_members, of_non_members = _discriminator_logits(ready[0], ready, config)
    return {
        "logan_black_box": Scores(of_members, of_non_members, members.subjects, non_members.subjects),
        "logan_black_box_paper": Scores(of_members, of_synthetic, members.subjects),
    }


def _discriminator_logits(train: Tensor, asked: Sequence[Tensor], config: AttackerGANConfig) -> list[np.ndarray]:
    """Train a GAN on samples; the discriminator's logits (N,) for other sets, averaged over its last half.

    Where a discriminator stands at one moment is much chance: on 1,000 phantom films that were copied exactly the
    average finds members with an AUC of 0.79, the last discriminator alone with 0.74.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        discriminator = _discriminator(train.shape[1:], config.width).apply(_initialise).to(train.device)
        generator = _generator(train.shape[1:], config.width).apply(_initialise).to(train.device)
    bound = float(train.abs().max())
    draws = torch.Generator().manual_seed(config.seed)
    judge, forge = (torch.optim.Adam(m.parameters(), config.lr, (0.5, 0.999)) for m in (discriminator, generator))
    totals = [torch.zeros(len(x), dtype=torch.float64, device=x.device) for x in asked]
    every = -(-config.updates // 40)  # so that the second half is looked at 20 times
    for update in progress_bar(range(1, config.updates + 1), config.updates, "attacker's GAN"):
        real = train[torch.randint(len(train), (config.batch_size,), generator=draws).to(train.device)]
        fake = bound * generator(torch.randn(config.batch_size, _LATENT, generator=draws).to(train.device))
        loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
        _step(judge, loss)
        discriminator.requires_grad_(False)
        _step(forge, F.softplus(-discriminator(fake)).mean())
        discriminator.requires_grad_(True)
        if update > config.updates // 2 and (config.updates - update) % every == 0:
            discriminator.eval()  # so that no sample's logit depends on its neighbours
            with torch.no_grad():
                for total, x in zip(totals, asked, strict=True):
                    total += torch.cat([discriminator(part) for part in x.split(_CHUNK)]).double()
            discriminator.train()
    return [total.cpu().numpy() for total in totals]


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _discriminator(shape: tuple[int, ...], width: int) -> nn.Module:
    """(B, C, h, w) -> logits (B,). Without batch normalisation it stayed at chance on phantoms."""
    channels, h, w = shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        *(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(4 * width), nn.LeakyReLU(0.2)),
        nn.Flatten(),
        nn.Linear(4 * width * (h // _MULTIPLE) * (w // _MULTIPLE), 1),
        nn.Flatten(0),
    )


def _generator(shape: tuple[int, ...], width: int) -> nn.Module:
    """Noise (B, 64) -> (B, C, h, w) between -1 and 1."""
    channels, h, w = shape
    first = (4 * width, h // _MULTIPLE, w // _MULTIPLE)
    return nn.Sequential(
        nn.Linear(_LATENT, int(np.prod(first))),
        *(nn.Unflatten(1, first), nn.BatchNorm2d(4 * width), nn.ReLU()),
        *(nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU()),
        *(nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
        nn.ConvTranspose2d(width, channels, 4, 2, 1),
        nn.Tanh(),
    )


def _initialise(module: nn.Module) -> None:
    """Small normal weights, as in DCGAN (Radford et al. 2016)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)


def run(case: Case) -> dict[str, Scores]:
    """The attack with a GAN of the attacker's own."""
    synthetic, *sides = case.records
    modality, device = case.evidence.modalities[case.name], case.evidence.device
    return logan_black_box(modality, synthetic.values, *sides, _gan(case), device)


def _gan(case: Case) -> AttackerGANConfig:
    return AttackerGANConfig(updates=case.effort.updates, seed=case.seed, **case.effort.gan)


ATTACK = Attack(
    (
        Kind("logan_black_box", "LOGAN, black box"),
        Kind("logan_black_box_paper", "LOGAN, black box, as in the paper", "realism"),
    ),
    run,
    settings=lambda case: {"gan": asdict(_gan(case))},
    may_fail=True,
)
