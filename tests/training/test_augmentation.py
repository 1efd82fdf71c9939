from __future__ import annotations

import dataclasses
import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.errors import UserError
from mmgen.names import AugmentationName
from mmgen.training.augmentation import STRATEGIES, Parameters, Strategy, augment, draw

NAMES = get_args(AugmentationName)
CHANGING = [name for name in NAMES if name != "none"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6, channels: int = 3, sides: tuple[int, int] = (24, 32)) -> Tensor:
    return torch.randn(count, channels, *sides, generator=seeded(9))


def only(**values: Tensor) -> Parameters:
    """One change, given by hand."""
    return dataclasses.replace(draw("none", seeded(), 1), **values)


# -- what every strategy keeps


@pytest.mark.parametrize("compose", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CHANGING)
def test_two_batches_get_the_same_change(name: AugmentationName, channels: int, compose: bool) -> None:
    """What is done to real pictures is done to synthetic ones: one change for all, or the b-th for the b-th."""
    x = pictures(channels=channels)
    for seed in range(8):
        one = draw(name, seeded(seed), 1, compose=compose)
        together, apart = augment(x, one), [augment(x[i : i + 1], one) for i in range(len(x))]
        torch.testing.assert_close(together, torch.cat(apart), rtol=1e-4, atol=1e-4)
        each = draw(name, seeded(seed), len(x), compose=compose)
        assert torch.equal(augment(x, each), augment(x.clone(), each))
        same = augment(x[:1].expand(len(x), -1, -1, -1), each)
        assert not torch.allclose(same[0], same[1]) or not compose


@pytest.mark.parametrize("compose", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_no_strength_no_change(name: AugmentationName, compose: bool) -> None:
    x = pictures()
    assert torch.equal(augment(x, draw(name, seeded(), len(x), strength=0.0, compose=compose)), x)
    assert torch.equal(augment(x, draw("none", seeded(), 1, compose=compose)), x)


@pytest.mark.parametrize("name", CHANGING)
def test_less_strength_changes_less(name: AugmentationName) -> None:
    x = F.interpolate(pictures(40, sides=(3, 4)), (24, 32), mode="bicubic")
    by = [(augment(x, draw(name, seeded(), 40, s, compose=True)) - x).abs().mean() for s in (0.05, 0.3, 1.0)]
    assert 0 < by[0] < by[1] < by[2]


@pytest.mark.parametrize("compose", [False, True])
@pytest.mark.parametrize("name", CHANGING)
def test_gradients_reach_every_picture(name: AugmentationName, compose: bool) -> None:
    x = pictures(40, sides=(12, 10)).requires_grad_()
    augment(x, draw(name, seeded(), 40, compose=compose)).square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert bool((x.grad.abs().amax((1, 2, 3)) > 0).all())


def test_gradients_are_the_derivative() -> None:
    x = pictures(2, sides=(6, 5)).double()[:, :, :, :5].contiguous().requires_grad_()
    p = draw("lesion", seeded(5), 2, compose=True)
    weight = torch.randn(2, 3, 6, 5, generator=seeded(1), dtype=torch.float64)
    loss = (augment(x, p) * weight).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    step = torch.randn(x.shape, generator=seeded(2), dtype=torch.float64)
    # All operations are affine in the picture, so the difference is the derivative.
    difference = ((augment((x + step).detach(), p) - augment(x.detach(), p)) * weight).sum()
    torch.testing.assert_close((gradient * step).sum(), difference, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_shape_and_type_are_kept(name: AugmentationName, dtype: torch.dtype) -> None:
    for sides in ((32, 32), (100, 100), (7, 33)):
        x = pictures(3, 1, sides)
        p = draw(name, seeded(3), 3, compose=True)
        changed = augment(x.to(dtype), p)
        assert changed.shape == x.shape and changed.dtype == dtype
        torch.testing.assert_close(changed.float(), augment(x, p), rtol=0.02, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_changes_are_a_function_of_the_generator(name: AugmentationName) -> None:
    first, again, other = (dataclasses.astuple(draw(name, seeded(seed), 5, compose=True)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert name == "none" or not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    augment(pictures(), draw(name, seeded()))
    assert torch.equal(before, torch.random.get_rng_state())
    states = []
    for strategy in (name, "none"):
        generator = seeded()
        draw(strategy, generator, 3)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="Unknown augmentation 'cat'; there are"):
        draw("cat", seeded())  # type: ignore[arg-type]


# -- single operations


def operations(p: Parameters) -> list[set[str]]:
    """Which operations each of P samples gets."""
    turned = p.matrix[:, 0, 1] != 0
    sides = p.matrix.square().sum(2).sqrt()
    found = {
        "colour": (p.brightness != 0) | (p.saturation != 1) | (p.contrast != 1),
        "shift": p.shift.any(1),
        "cutout": p.hole[:, 2:].any(1),
        "flip": (p.matrix.diagonal(dim1=1, dim2=2) < 0).any(1),
        "scale": (sides - 1).abs().amax(1) > 1e-5,
        "rotation": turned,
    }
    return [{name for name, on in found.items() if on[i]} for i in range(len(p.brightness))]


@pytest.mark.parametrize("name", CHANGING)
def test_one_operation_at_a_time_or_all(name: AugmentationName) -> None:
    has = {
        "lesion": {"colour", "shift", "cutout", "flip", "scale", "rotation"},
        "radiograph": {"colour", "shift", "cutout", "scale", "rotation"},
        "spectrogram": {"colour", "shift", "cutout"},
    }[name]
    single = operations(draw(name, seeded(), 600))
    assert all(len(each) == 1 or (not each and "flip" in has) for each in single)
    for operation in has:
        share = sum(operation in each for each in single) / len(single)
        expected = (0.75 if operation == "flip" else 1.0) / len(has)  # a flip may turn out to be none
        assert abs(share - expected) < 0.06, operation
    for each in operations(draw(name, seeded(), 50, compose=True)):
        assert each | {"flip"} == has | {"flip"} and ("flip" in has or "flip" not in each)


@pytest.mark.parametrize("name", ["radiograph", "spectrogram"])
@pytest.mark.parametrize("compose", [False, True])
def test_chests_and_spectrograms_are_never_mirrored(name: AugmentationName, compose: bool) -> None:
    p = draw(name, seeded(), 2000, compose=compose)
    assert bool((p.matrix.diagonal(dim1=1, dim2=2) > 0.5).all())
    degrees = torch.rad2deg(torch.atan2(p.matrix[:, 1, 0], p.matrix[:, 1, 1])).abs().max()
    assert degrees < (7.5 if name == "radiograph" else 1e-6)  # a little more where sides are scaled unequally


def test_lesions_are_turned_either_way_round() -> None:
    signs = draw("lesion", seeded(), 4000, compose=True).matrix.diagonal(dim1=1, dim2=2).sign()
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        assert abs(float(((signs[:, 0] == x) & (signs[:, 1] == y)).float().mean()) - 0.25) < 0.03


def test_spectrograms_move_in_time_alone_and_whole_bands_are_hidden() -> None:
    p = draw("spectrogram", seeded(), 400, compose=True)
    assert not p.shift[:, 0].any() and p.shift[:, 1].abs().max() > 0.2
    x = torch.ones(400, 1, 40, 60)
    hidden = augment(x, dataclasses.replace(p, brightness=torch.zeros(400), shift=torch.zeros(400, 2)))[:, 0] == 0
    rows, columns = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert bool(((rows > 0) != (columns > 0)).all())
    assert bool((hidden.sum((1, 2)) == rows * 60 + columns * 40).all())
    assert rows.max() <= 9 and columns.max() <= 13


@pytest.mark.parametrize(("axis", "dims"), [(0, (-1,)), (1, (-2,))])
def test_a_flip_is_a_flip(axis: int, dims: tuple[int, ...]) -> None:
    matrix = torch.eye(2)[None].clone()
    matrix[0, axis, axis] = -1
    x = pictures(sides=(5, 8))
    torch.testing.assert_close(augment(x, only(matrix=matrix)), x.flip(dims), rtol=1e-4, atol=1e-4)


def test_flips_are_up_down_and_left_right(monkeypatch: pytest.MonkeyPatch) -> None:
    x = pictures(1, sides=(5, 8))
    for flips, dim in (((True, False), -2), ((False, True), -1)):
        monkeypatch.setitem(STRATEGIES, "lesion", Strategy(flips=flips))
        changed = [augment(x, draw("lesion", seeded(seed))) for seed in range(20)]
        kinds = [[torch.allclose(y, kind, rtol=1e-4, atol=1e-4) for kind in (x, x.flip(dim))] for y in changed]
        assert all(any(kind) for kind in kinds) and {tuple(kind) for kind in kinds} == {(True, False), (False, True)}


def test_a_shift_moves_whole_pixels_and_brings_in_zeros() -> None:
    x = pictures(sides=(10, 20))
    moved = augment(x, only(shift=torch.tensor([[0.21, -0.1]])))  # two down, two left
    expected = torch.zeros_like(x)
    expected[:, :, 2:, :-2] = x[:, :, :-2, 2:]
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)


def test_a_quarter_turn_of_pixels_that_are_not_square_in_the_grid() -> None:
    """Pictures are turned in pixels, whatever their sides: a turn by 90 degrees keeps lengths."""
    x = torch.zeros(1, 1, 9, 21)
    x[0, 0, 4, 8:13] = 1.0  # a bar of five pixels through the centre
    turned = augment(x, only(matrix=torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])))
    expected = torch.zeros_like(x)
    expected[0, 0, 2:7, 10] = 1.0
    torch.testing.assert_close(turned, expected, atol=1e-4, rtol=0)


def test_a_scale_above_one_enlarges() -> None:
    x = torch.zeros(1, 1, 40, 40)
    x[0, 0, 10:30, 10:30] = 1.0
    larger = augment(x, only(matrix=torch.eye(2)[None] / torch.tensor([1.2, 1.0])))
    assert float(larger.sum() / x.sum()) == pytest.approx(1.2, abs=0.02)
    assert float(larger[0, 0, 20].sum()) == pytest.approx(24, abs=0.1)  # wider
    assert float(larger[0, 0, :, 20].sum()) == pytest.approx(20, abs=0.1)  # as high as before


def test_colour_by_hand() -> None:
    x = pictures(2)
    brighter = augment(x, only(brightness=torch.tensor([0.4])))
    torch.testing.assert_close(brighter, x + 0.4)
    grey = augment(x, only(saturation=torch.tensor([0.0])))
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x))
    flat = augment(x, only(contrast=torch.tensor([0.0])))
    torch.testing.assert_close(flat, x.mean((1, 2, 3), keepdim=True).expand_as(x))
    torch.testing.assert_close(augment(x[:, :1], only(saturation=torch.tensor([1.7]))), x[:, :1])


def test_a_hole_is_a_square_of_half_the_side_wherever_its_centre_is() -> None:
    x = torch.ones(1, 3, 20, 20)
    centred = augment(x, only(hole=torch.tensor([[0.5, 0.5, 0.5, 0.5]])))
    assert float(centred.sum()) == 3 * (400 - 100) and float(centred[:, :, 5:15, 5:15].sum()) == 0
    corner = augment(x, only(hole=torch.tensor([[0.0, 1.0, 0.5, 0.5]])))
    assert float(corner.sum()) == 3 * (400 - 25) and float(corner[:, :, :5, 15:].sum()) == 0


def test_ranges_are_the_published_ones() -> None:
    p = draw("lesion", seeded(), 8000, compose=True)
    for values, low, high in (
        (p.brightness, -0.5, 0.5),
        (p.saturation, 0.0, 2.0),
        (p.contrast, 0.5, 1.5),
        (p.shift, -0.125, 0.125),
    ):
        assert low <= values.min() < low + 0.01 and high - 0.01 < values.max() <= high
    upright = draw("radiograph", seeded(), 8000).matrix  # one at a time: scale alone, rotation alone
    turned = upright[upright[:, 0, 1] != 0]
    degrees = torch.rad2deg(torch.atan2(turned[:, 1, 0], turned[:, 0, 0]))
    assert degrees.abs().max() <= 5.001 and degrees.min() < -4.9 and degrees.max() > 4.9
    scaled = 1 / upright[upright[:, 0, 0] != 1][:, 0, 0]
    assert scaled.min() == pytest.approx(1 / 1.2, abs=0.01) and scaled.max() == pytest.approx(1.2, abs=0.01)
    assert STRATEGIES["lesion"].rotation == 15.0 and math.isclose(STRATEGIES["lesion"].scale, 0.2)
