"""The solver: exact where it can be, of second order where it cannot, and how often it asks the network."""

from __future__ import annotations

import math

import pytest
import torch

from mmgen.errors import UserError
from mmgen.models import denoising_steps as steps
from mmgen.models.denoising_steps import guided_times, hidden_patches, integrate, step_times
from mmgen.models.generative import Sampling


def best_guess(power: float):
    """Of Gaussian data of this variance."""
    return lambda z, time: z * power * time / (power * time**2 + (1 - time) ** 2)


@pytest.mark.parametrize("power", [200.0, 5.0, 0.14, 0.02, 0.004])
def test_noise_becomes_data_of_the_right_variance(power: float) -> None:
    """Powers of an X-ray's coarsest to finest structure."""
    made = float(integrate(torch.ones(1, dtype=torch.float64), best_guess(power), Sampling().steps))
    assert made**2 == pytest.approx(power, rel=0.1)


def test_it_is_of_second_order() -> None:
    ends = 1 / (1 + math.exp(-steps.NOISIEST)), 1 / (1 + math.exp(-steps.CLEAREST))
    assert 0 < ends[0] < 0.05 and 0.95 < ends[1] < 1
    made = [float(integrate(torch.ones(1, dtype=torch.float64), best_guess(1.0), count)) for count in (10, 20, 40, 400)]
    errors = [abs(value - made[-1]) for value in made[:-1]]
    assert errors[0] > 2.5 * errors[1] > 6 * errors[2]


def test_a_point_is_met_in_any_number_of_steps() -> None:
    for count in (1, 2, 3, 10):
        assert integrate(torch.randn(4), lambda z, _: torch.full_like(z, 7.0), count).tolist() == [7.0] * 4


def test_times_begin_with_noise_alone_and_rise() -> None:
    for count in (1, 2, 3, 10, 50):
        times = step_times(count)
        assert len(times) == count and times[0] == 0.0 and times == sorted(set(times)) and times[-1] < 1.0
    assert len({len(step_times(10))}) == 1 and min(step_times(10)[1:]) < 0.05 and step_times(10)[-1] > 0.95


def test_the_default_takes_at_most_sixteen_passes() -> None:
    assert Sampling().steps + guided_times(Sampling().steps) <= 16


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 1001}, {"guidance": -0.1}, {"guidance": float("nan")}])
def test_steps_and_guidance_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match="not"):
        Sampling(**wrong)


def test_what_is_hidden_is_as_much_in_every_sample() -> None:
    masks = hidden_patches(torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0]]), torch.zeros(2, 4, 3))
    assert masks.ids_keep.tolist() == [[1, 2], [0, 3]] and masks.mask.tolist() == [[1, 0, 0, 1], [0, 1, 1, 0]]
    with pytest.raises(UserError, match="as many ones in every sample"):
        hidden_patches(torch.tensor([[1, 0], [1, 1]]), torch.zeros(2, 2, 3))
