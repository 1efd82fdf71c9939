"""Choosing from a generator's draws: what is chosen stands for many, and nothing but the draws decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_medsynth import small_generator, tiny_samples

from mmgen.artifacts.models import load_model
from mmgen.condensation.condenser import image_modality
from mmgen.condensation.representatives import coverage, representatives, typical_and_varied, worth_choosing
from mmgen.errors import UserError
from mmgen.models.classifiers import ConvNet
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.models.teacher import Teacher

DRAWS = 64


@pytest.fixture(scope="module")
def generator() -> MedSynthGenerator:
    return small_generator()


@torch.no_grad()
def features(images: np.ndarray) -> torch.Tensor:
    """Mean features (F,) in a random network that nothing was chosen by."""
    torch.manual_seed(7)
    network = ConvNet((3, 32, 32), 2, 32)
    return network.embed(torch.from_numpy(images).float() / 127.5 - 1.0).mean(0)


def of_class(images: np.ndarray, labels: np.ndarray, label: int) -> np.ndarray:
    return images[labels == label].astype(np.float64)


def test_the_chosen_are_draws_and_stand_for_all_of_them(generator: MedSynthGenerator) -> None:
    drawn = generator.sample(DRAWS, 3)
    chosen = representatives(generator, 6, DRAWS, 3)
    assert chosen.label_names == generator.class_names and np.bincount(chosen.labels).tolist() == [6, 6]
    images, labels = drawn.images.numpy(), drawn.labels.numpy()
    for label in range(2):
        pool = of_class(images, labels, label)
        own = of_class(chosen.values[:], chosen.labels, label)
        where = [np.flatnonzero((pool == image).all((1, 2, 3))) for image in own]
        assert all(len(rows) == 1 for rows in where)
        assert len({int(rows[0]) for rows in where}) == 6
        # Nearer to the mean of all than as many draws that come one after another, in another network too.
        errors = [float((features(part) - features(pool)).square().sum()) for part in (own, *np.split(pool[:60], 10))]
        assert errors[0] < min(errors[1:])


def test_fewer_are_the_first_of_more_and_a_seed_gives_the_same(generator: MedSynthGenerator) -> None:
    few, many = (representatives(generator, count, DRAWS, 0) for count in (3, 8))
    for label in range(2):
        assert np.array_equal(few.values[few.labels == label], many.values[many.labels == label][:3])
    other = representatives(generator, 3, DRAWS, 1)
    assert not np.array_equal(few.values[:], other.values[:])
    torch.manual_seed(5)  # of no concern, and left alone
    expected = torch.rand(1, generator=torch.Generator().manual_seed(5))
    assert np.array_equal(representatives(generator, 3, DRAWS, 0).values[:], few.values[:])
    assert torch.equal(torch.rand(1), expected)


def test_who_loads_the_generator_can_choose_the_same(generator: MedSynthGenerator, tmp_path: Path) -> None:
    generator.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert np.array_equal(representatives(loaded, 4, 16).values[:], representatives(generator, 4, 16).values[:])


def test_more_than_drawn_are_refused(generator: MedSynthGenerator) -> None:
    with pytest.raises(UserError, match="draw more"):
        representatives(generator, 5, 4)


def test_choosing_needs_twice_as_many_draws() -> None:
    assert worth_choosing(2, 4) and not worth_choosing(3, 4) and not worth_choosing(2, 3)


def test_coverage_is_shared_out_by_what_there_is() -> None:
    rng = np.random.default_rng(0)
    centres, counts = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]), (60, 30, 10)
    rows = np.concatenate([c + rng.normal(0, 1, (n, 2)) for c, n in zip(centres, counts, strict=True)])
    groups = np.repeat(np.arange(3), counts)
    order = coverage(rows, 20)
    assert set(groups[order[:3]]) == {0, 1, 2}, "each group by one before any by two"
    shares = np.bincount(groups[order], minlength=3)
    assert shares[0] > shares[1] > shares[2] >= 1
    assert len(set(order.tolist())) == 20 and coverage(rows, 5).tolist() == order[:5].tolist()
    assert sorted(coverage(rows[:4] * 0, 9).tolist()) == [0, 1, 2, 3]  # equal rows, fewer than asked for


def test_what_does_not_look_like_its_label_is_left_out() -> None:
    agreement, features = np.linspace(0, 1, 20), np.arange(20.0)[:, None]
    chosen = typical_and_varied(agreement, features, 5)
    assert chosen.min() >= 10 and np.ptp(chosen) >= 6
    assert sorted(typical_and_varied(agreement, features, 15).tolist()) == list(range(5, 20))


def test_a_teacher_chooses_what_it_takes_for_the_label(generator: MedSynthGenerator) -> None:
    class Bright(torch.nn.Module):
        """Takes bright images for the first class and dark ones for the second."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([[20.0], [-20.0]]))

        def embed(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3))[:, None]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.embed(x) @ self.weight.T

    teacher = Teacher(Bright(), image_modality("image", tiny_samples()), generator.class_names)
    chosen, drawn = representatives(generator, 4, 32, 1, teacher=teacher), generator.sample(32, 1)
    for label, sign in ((0, 1), (1, -1)):
        own = sign * of_class(chosen.values[:], chosen.labels, label).mean((1, 2, 3))
        pool = sign * of_class(drawn.images.numpy(), drawn.labels.numpy(), label).mean((1, 2, 3))
        assert own.min() >= np.median(pool)
