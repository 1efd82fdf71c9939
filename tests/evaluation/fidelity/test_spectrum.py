"""Sharpness and seams: known spectra, and faults that each must see and the other must not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter

from mmgen.errors import UserError
from mmgen.evaluation.fidelity.spectrum import BANDS, SHARPNESS, band_energies, radial_power, seams, sharpness
from mmgen.models.modality import Modality

SHAPES = [(1, 48, 48), (3, 40, 24), (1, 64, 100)]


def noise_of(shape: tuple[int, int, int], count: int = 40) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *shape))


def shares(real: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(4,) in the order of bands."""
    return np.array([*sharpness(Modality("x", real.shape[1:], (8, 8)), real, values).values()])


def blocky(values: np.ndarray, patch: tuple[int, int], height: float) -> np.ndarray:
    """With a random offset for each patch, of a grid that is cut off at the bottom and right."""
    grid = [-(-side // own) for side, own in zip(values.shape[2:], patch, strict=True)]
    offsets = height * np.random.default_rng(1).normal(size=(len(values), 1, *grid))
    return values + np.kron(offsets, np.ones(patch))[..., : values.shape[2], : values.shape[3]]


# -- power


@pytest.mark.parametrize("shape", SHAPES)
def test_white_noise_has_its_variance_in_every_band(shape: tuple[int, int, int]) -> None:
    modality = Modality("x", shape, (8, 8), (5.0,), tuple(2.0 + channel for channel in range(shape[0])))
    raw = 5.0 + noise_of(shape, 100) * np.reshape(modality.std, (-1, 1, 1)) * 1.5
    assert band_energies(modality, raw) == pytest.approx(1.5**2, rel=0.1)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("band", range(4))
def test_a_wave_is_in_the_band_of_its_frequency_along_either_axis(axis: int, band: int) -> None:
    middle = (BANDS[band] + BANDS[band + 1]) / 2
    places = np.meshgrid(np.arange(64), np.arange(100), indexing="ij")[axis]
    energies = band_energies(Modality("x", (1, 64, 100), (8, 8)), np.cos(2 * np.pi * middle * places)[None, None])
    assert energies.argmax() == band and energies[band] > 0.999 * energies.sum()


def test_brightness_and_what_leads_from_border_to_border_are_not_fine_structure() -> None:
    slope = np.linspace(-3, 3, 48)[None, None, :, None] * np.ones((1, 1, 1, 48))
    energies = band_energies(Modality("x", (1, 48, 48), (8, 8)), slope + 40.0)
    assert energies[1:].max() < 1e-4 * energies[0]  # without a window the border would be an edge of height 6
    even = band_energies(Modality("x", (1, 48, 48), (8, 8)), np.full((2, 1, 48, 48), 200, np.uint8))
    assert even.max() < 1e-20


def test_rings_without_a_frequency_are_told_from_rings_without_power() -> None:
    assert np.isnan(radial_power(noise_of((1, 8, 8)), (0.01, 0.1, 0.5))).tolist() == [True, False]
    assert radial_power(np.zeros((1, 1, 8, 8)), (0.1, 0.5)) == [0.0]


# -- sharpness


def test_real_data_have_all_of_their_energy_themselves(xrays: np.ndarray) -> None:
    modality = Modality("image", (1, 48, 48), (8, 8), (float(xrays.mean()),), (float(xrays.std()),))
    assert sharpness(modality, xrays, xrays) == dict.fromkeys(SHARPNESS, 1.0)
    halves = sharpness(modality, xrays[:40], xrays[40:])
    assert [*halves.values()] == pytest.approx([1.0] * 4, abs=0.25)


def test_blur_takes_the_finest_first_and_more_of_it_more(xrays: np.ndarray) -> None:
    found = [shares(xrays, gaussian_filter(xrays.astype(float), (0, 0, s, s))) for s in (0, 0.5, 1, 2)]
    for sharp, soft in pairwise(found):
        assert (soft < sharp).all() and (np.diff(soft) < 0).all(), found
    assert found[2][0] > 0.7 and found[2][3] < 0.02


def test_contrast_multiplies_every_band_by_its_square_and_brightness_none(xrays: np.ndarray) -> None:
    for contrast in (0.5, 1.3):
        assert shares(xrays, contrast * xrays + 30.0) == pytest.approx(contrast**2)


@pytest.mark.parametrize("shape", SHAPES)
def test_mirrored_turned_and_shifted_samples_are_as_sharp(shape: tuple[int, int, int]) -> None:
    values = uniform_filter(noise_of((shape[0], shape[1], shape[2] + 5)), (0, 0, 3, 3))
    real, shifted = values[..., 5:], values[..., :-5]
    for same in (real[..., ::-1], real[:, :, ::-1], real[::-1], -real):
        assert shares(real, same) == pytest.approx(1.0)
    assert shares(real, shifted) == pytest.approx(1.0, abs=0.08)
    turned = band_energies(Modality("x", (shape[0], shape[2], shape[1]), (8, 8)), real.swapaxes(2, 3))
    assert turned == pytest.approx(band_energies(Modality("x", shape, (8, 8)), real))


def test_log_mels_of_unequal_sides_and_half_precision(coughs: np.ndarray) -> None:
    real = coughs[..., :64, :].astype(np.float16)
    found = shares(real, uniform_filter(real.astype(float), (0, 0, 1, 3)).astype(np.float16))
    assert found[0] > 0.6 and found[3] < 0.6 and found[3] < found[0]
    assert shares(real, real) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("shape", "real", "message"),
    [
        ((1, 10, 8), "noise", "a side of at least 11, not 10"),
        ((1, 11, 11), "even", "real samples that are not even"),
    ],
)
def test_what_has_no_sharpness_is_said(shape: tuple[int, int, int], real: str, message: str) -> None:
    noise = noise_of(shape)
    with pytest.raises(UserError, match=message):
        shares(noise if real == "noise" else np.full_like(noise, 7.0), noise)


# -- seams


@pytest.mark.parametrize(("shape", "patch"), [((1, 48, 48), (8, 8)), ((3, 40, 24), (7, 5)), ((1, 100, 64), (8, 10))])
def test_offsets_of_patches_are_seams_and_lift_the_finest_band_too(
    shape: tuple[int, int, int], patch: tuple[int, int]
) -> None:
    real = gaussian_filter(noise_of(shape), (0, 0, 1.5, 1.5))
    found = [seams(blocky(real, patch, height), patch) for height in (0, 0.05, 0.1, 0.3)]
    assert found[0] == pytest.approx(1.0, abs=0.1) and all(less < more for less, more in pairwise(found))
    assert found[-1] > 5
    assert shares(real, blocky(real, patch, 0.3))[3] > 5  # so that the spectrum alone does not tell blur from seams
    other = (patch[0] + 2, patch[1] + 4)
    assert seams(blocky(real, patch, 0.3), other) < 0.7 * found[-1]  # it is these borders that count


def test_seams_by_hand_with_a_cut_off_grid() -> None:
    # Rows of 2 in columns of 3, of which the last is cut off: steps of 1 inside and 2 (down) or 3 (right) across.
    down, right = np.cumsum([0, 1, 2, 1, 2]), np.cumsum([0, 1, 1, 3])
    values = (down[:, None] + right[None])[None, None].astype(np.uint8)
    assert seams(values, (2, 3)) == pytest.approx((4 + 9) / 2)
    assert seams(np.repeat(values, 70, axis=0), (2, 3), (9.0,)) == pytest.approx((4 + 9) / 2)
    assert seams(values, (2, 4)) == pytest.approx(4) and seams(values, (1, 3)) == pytest.approx(9)
    assert seams(255 - values, (2, 3)) == pytest.approx((4 + 9) / 2)  # bytes do not wrap around


def test_blur_noise_and_contrast_leave_no_seams(xrays: np.ndarray) -> None:
    x = xrays.astype(float)
    noise = np.random.default_rng(0).normal(size=x.shape)
    for values in (xrays, gaussian_filter(x, (0, 0, 1, 1)), x + 20 * noise, 0.3 * x):
        assert seams(values, (8, 8)) == pytest.approx(1.0, abs=0.25)
    assert seams(uniform_filter(blocky(x, (8, 8), 40.0), (0, 0, 1, 1)), (8, 8)) > 3


def test_a_frame_around_the_samples_is_no_seam() -> None:
    real = gaussian_filter(noise_of((1, 48, 48)), (0, 0, 1, 1))
    framed = real.copy()
    framed[..., [0, 1, -1], :] = framed[..., [0, -2, -1]] = 20.0
    assert seams(framed, (8, 8)) == pytest.approx(seams(real, (8, 8)), abs=0.1)


@pytest.mark.parametrize("patch", [(1, 1), (48, 48), (50, 1), (2**30, 2**30)])
def test_one_patch_or_elements_have_no_seams(patch: tuple[int, int], xrays: np.ndarray) -> None:
    with pytest.raises(UserError, match="several patches that are not even inside"):
        seams(xrays, patch)


def test_even_patches_have_no_measure() -> None:
    with pytest.raises(UserError, match="not even inside"):
        seams(blocky(np.zeros((3, 1, 16, 16)), (8, 8), 1.0), (8, 8))


# -- real data


def test_halves_of_real_xrays_are_as_sharp_and_blurred_ones_are_not(real_data: Path) -> None:
    files = sorted((real_data / "cxr" / "train").rglob("*.jpg"))[::2][:80]
    pictures = [np.asarray(Image.open(file).convert("L").resize((112, 112), Image.Resampling.BOX)) for file in files]
    x = np.stack(pictures)[:, None]
    even, odd = x[::2], x[1::2]
    assert shares(even, odd) == pytest.approx(1.0, abs=0.6)
    blurred = uniform_filter(odd, (0, 0, 3, 3))
    assert shares(even, blurred)[3] < 0.1 < 0.6 < shares(even, blurred)[0]
    for innocent in (even, odd, blurred):
        assert 0.6 < seams(innocent, (14, 14)) < 1.5
    assert seams(blocky(blurred, (14, 14), 20.0), (14, 14)) > 4
