"""Figures of the report: whatever the values, a readable PNG or a clear refusal."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmgen.evaluation.report import figures


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        image.verify()
        assert image.format == "PNG"
        return image.size


def test_curves_are_drawn_with_gaps_and_odd_names() -> None:
    curves = {"im$age": {"cross-modal": [0.1, np.nan, 0.3], "single_$x$": [0.1, 0.2, 0.1]}}
    assert size_of(figures.variance_curve(curves, [0.1, 0.5, 1.0], {"im$age": 0.4}))[0] > 400
    history = [{"epoch": 1}, {"epoch": 2, "image": 0.5}, {"epoch": 3, "image": float("nan"), "audio": None}]
    one = size_of(figures.training_curves(history, {"image": 0.9}))
    two = size_of(figures.training_curves(history, {"image": 0.9, "audio": float("nan")}))
    assert two[0] > one[0] and two[1] == one[1]


def test_curve_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="image, cross-modal: 2 variances for 3"):
        figures.variance_curve({"image": {"cross-modal": [0.1, 0.2]}}, [0.1, 0.5, 1.0], {})


@pytest.mark.parametrize(
    ("real", "synthetic"),
    [
        (np.zeros(5, np.uint8), np.zeros(5, np.uint8)),
        (np.full(5, -3.5), np.full(5, -3.5)),
        (np.array([np.nan, 1.0]), np.array([np.inf])),
        (np.arange(256, dtype=np.uint8).reshape(1, 16, 16), np.linspace(0, 255, 50)),
    ],
)
def test_histograms_of_odd_values(real: np.ndarray, synthetic: np.ndarray) -> None:
    assert size_of(figures.histograms(real, synthetic, "log-mel"))[0] > 400


def test_whole_numbers_share_bins_evenly() -> None:
    edges = figures._bin_edges(np.arange(256.0), 64, whole=True)
    assert set(np.histogram(np.arange(256), edges)[0]) == {4}


@pytest.mark.parametrize("shape", [(4, 3, 16, 16), (2, 1, 9, 40), (1, 1, 1, 2)])
def test_spectra_of_odd_samples(shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0).normal(size=shape)
    for synthetic in (noise.astype(np.float16), np.zeros(shape, np.uint8), np.full(shape, np.nan)):
        assert size_of(figures.spectra(noise, synthetic, "im$age"))[0] > 400


def test_reconstruction_grid_takes_pictures_spectrograms_and_gaps() -> None:
    picture, log_mel = np.zeros((1, 8, 8), np.uint8), np.random.default_rng(0).normal(size=(6, 12))
    hidden = np.where(log_mel > 0, np.nan, log_mel)
    rows = [[picture, np.zeros((3, 8, 8), np.uint8), None], [log_mel, hidden, log_mel]]
    size_of(figures.reconstruction_grid(rows, ["original", "visible", "made"]))
    with pytest.raises(ValueError, match="one cell per column title"):
        figures.reconstruction_grid(rows, ["original"])
    with pytest.raises(ValueError, match="uint8"):
        figures.reconstruction_grid([[np.zeros((2, 8, 8), np.uint8)]], ["original"])


def test_spectrogram_has_low_frequencies_at_the_bottom() -> None:
    log_mel = np.zeros((4, 3))
    log_mel[0] = 1.0
    log_mel[3, 0] = np.nan
    pixels = np.asarray(figures.spectrogram(log_mel, 0.0, 1.0)).astype(int)
    assert pixels.shape == (4, 3, 3)
    assert pixels[3].sum() > 3 * pixels[1].sum()
    assert tuple(pixels[0, 0]) == (0x9A, 0xA0, 0xA6)


def test_colour_range_ignores_what_is_not_finite() -> None:
    assert figures.colour_range([]) == (0.0, 1.0)
    low, high = figures.colour_range([np.array([[np.nan, -np.inf]]), np.linspace(0, 100, 101)])
    assert (low, high) == pytest.approx((1.0, 99.5))
