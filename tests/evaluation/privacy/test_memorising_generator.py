"""A generator that learns with augmentation and memorises makes disguised copies: it is caught, and one that has learnt
the same way from many records is not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmgen.data.phantoms import phantom_lesion
from mmgen.data.samples import Samples
from mmgen.evaluation.privacy.attack import Case, Effort, Evidence
from mmgen.evaluation.privacy.attacks.disguised_copies import run
from mmgen.evaluation.privacy.sides import Side
from mmgen.models.modality import Modality

SIDE, CODES, UPDATES, WARM = 32, 32, 2500, 300


def make_generator() -> nn.Module:
    """(B, CODES + 3) -> pictures (B, 3, SIDE, SIDE) in about -1..1: one of several codes, shift and brightness."""
    layers: list[nn.Module] = [
        nn.Linear(CODES + 3, 512),
        nn.SiLU(),
        nn.Linear(512, 64 * 64),
        nn.Unflatten(1, (64, 8, 8)),
    ]
    for one, other in itertools.pairwise((64, 48, 3)):
        layers += [nn.SiLU(), nn.ConvTranspose2d(one, other, 4, 2, 1)]
    return nn.Sequential(*layers)


def augmentations(count: int) -> Tensor:
    """(count, 3): shifts by up to 3 px down and right, and brightness."""
    return torch.cat([torch.randint(-3, 4, (count, 2)) / 3, 2 * torch.rand(count, 1) - 1], 1)


def augmented(pictures: Tensor, by: Tensor) -> Tensor:
    shifts = (3 * by[:, :2]).round().int().tolist()
    moved = torch.stack([x.roll(shift, (1, 2)) for x, shift in zip(pictures, shifts, strict=True)])
    return (moved + 0.3 * by[:, 2, None, None, None]).clamp(-1, 1)


def generated(pictures: np.ndarray, count: int) -> np.ndarray:
    """Pictures (count, 3, SIDE, SIDE) of a generator trained on uint8 pictures with augmentation, of which it is told;
    each picture is made from the code whose picture is nearest, so that few pictures get a code each."""
    torch.manual_seed(0)
    model, values = make_generator(), torch.from_numpy(pictures).float() / 127.5 - 1
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, UPDATES, pct_start=0.05)
    codes, straight = torch.eye(CODES), torch.zeros(CODES, 3)
    for update in range(UPDATES):
        rows, by = torch.randint(len(values), (32,)), augmentations(32)
        chosen = rows % CODES
        if update >= WARM:
            with torch.no_grad():
                made = model(torch.cat([codes, straight], 1)).flatten(1)
            chosen = torch.cdist(values[rows].flatten(1), made).argmin(1)
        loss = (model(torch.cat([codes[chosen], by], 1)) - augmented(values[rows], by)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        drawn = model(torch.cat([codes[torch.randint(CODES, (count,))], augmentations(count)], 1))
    return ((drawn.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()


@pytest.mark.slow
@pytest.mark.parametrize(("count", "caught"), [(32, True), (2000, False)])
def test_a_generator_that_memorises_under_augmentation_is_caught(count: int, caught: bool) -> None:
    rng = np.random.default_rng(0)
    pictures = np.stack([phantom_lesion(int(rng.integers(2)), rng, SIDE) for _ in range(count + 300)])
    pictures = np.ascontiguousarray(pictures if pictures.shape[1] == 3 else pictures.transpose(0, 3, 1, 2))
    members, others = pictures[:count], pictures[count:]
    modality = Modality("image", (3, SIDE, SIDE), (8, 8), value_range=(0, 255))

    def samples(values: np.ndarray) -> dict[str, Samples]:
        return {"image": Samples(values, np.zeros(len(values), np.int64), ("a",), np.arange(len(values)))}

    evidence = Evidence(
        {"image": modality}, samples(generated(members, 100)), Side(samples(members)), Side(samples(others)), {}
    )
    result = run(Case(evidence, Effort(), 0, "image"))["disguised_copies"]
    assert (result.p_value <= 0.01) is caught, result
    assert caught or not result.found
