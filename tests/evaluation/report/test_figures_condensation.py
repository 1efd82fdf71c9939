"""Figures on condensed sets: whatever the values, a readable PNG or a clear refusal."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmgen.evaluation.report import figures_condensation as figures


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def share(png: bytes, colour: tuple[int, int, int]) -> float:
    """Share of the figure's pixels that have a colour."""
    return float((np.abs(pixels(png) - colour).max(-1) < 40).mean())


def flat(colour: tuple[int, ...], height: int = 8, width: int = 8) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8)[:, None, None], (len(colour), height, width)).copy()


RED, GREEN = (255, 0, 0), (0, 255, 0)


def test_neighbours_stand_beside_their_sample() -> None:
    rows = [[flat(RED), flat(GREEN), flat(GREEN)]] * 2
    png = figures.neighbour_grid(rows, ["a $ name", "b"], ["synthetic", "1st", "2nd"], [[0.0, 3.2], [1.0, 2.0]])
    assert 1.7 < share(png, GREEN) / share(png, RED) < 2.3 and share(png, RED) > 0.15
    grey = figures.neighbour_grid([[flat((0,), 30, 9), flat((0,), 30, 9)]], ["a"], ["x", "y"], [[1.0]])
    assert share(grey, (0, 0, 0)) > 0.2


@pytest.mark.parametrize(
    ("labels", "columns", "distances"),
    [(["a"], ["x"], [[1.0]]), (["a", "b"], ["x", "y"], [[1.0]]), (["a"], ["x", "y"], [[]]), (["a"], ["x", "y"], [])],
)
def test_neighbours_that_do_not_fit_are_refused(labels: list, columns: list, distances: list) -> None:
    with pytest.raises(ValueError, match="a label a row"):
        figures.neighbour_grid([[flat(RED), flat(RED)]], labels, columns, distances)


def test_every_class_has_a_row_of_its_pictures() -> None:
    images = {"red, with a name that is long": np.stack([flat(RED)] * 4), "$": np.stack([flat(GREEN)] * 2)}
    png = figures.class_grid(images | {"empty": np.empty((0, 3, 8, 8), np.uint8)}, "Condensed")
    assert 1.7 < share(png, RED) / share(png, GREEN) < 2.3
    red, green = (np.nonzero(np.abs(pixels(png) - colour).max(-1) < 40) for colour in (RED, GREEN))
    assert red[0].max() < green[0].min() and abs(red[1].min() - green[1].min()) <= 2


@pytest.mark.parametrize("name", ["vascular lesion", "squamous cell carcinoma with a long name"])
def test_names_of_classes_are_drawn_and_not_cut_off(name: str) -> None:
    images = dict.fromkeys(["a", "b", "c", "d", "e", "f", name], np.full((10, 1, 64, 64), 255, np.uint8))
    drawn = pixels(figures.class_grid(images, "Condensed"))
    ink = drawn.min(-1) < 128  # the pictures are white: what is dark is text
    rows = np.array_split(ink[np.nonzero(ink.any(1))[0].min() + 30 :], len(images))  # below the title
    assert all(row.any() for row in rows), "every row has its name"
    assert rows[-1].sum() > 5 * rows[0].sum(), "a long name is drawn whole"
    assert not ink[:, :3].any() and not ink[-3:].any(), "nothing touches the edge"


def test_a_grid_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        figures.class_grid({"a": np.empty((0, 1, 8, 8), np.uint8)})
    with pytest.raises(ValueError, match="uint8"):
        figures.class_grid({"a": np.zeros((2, 2, 8, 8), np.uint8)})


def history(phase: int, epochs: range) -> list[dict]:
    rows = [{"epoch": e, "phase": phase, "critic_gap": 1.0 / (e + 1), "mean_attention": 0.2} for e in epochs]
    return [row | {"loss/match": 0.5} for row in rows] if phase == 2 else rows


def test_panels_are_those_that_have_values() -> None:
    whole = history(1, range(6)) + history(2, range(4))
    two_rows, one_row = pixels(figures.gan_curves(whole)), pixels(figures.gan_curves(history(1, range(6))))
    assert two_rows.shape[0] > 1.5 * one_row.shape[0] and two_rows.shape[1] == one_row.shape[1]
    gaps = [{"epoch": 0, "critic_gap": None}, {"epoch": 1, "critic_gap": float("nan")}, {"epoch": 2, "penalty": -0.1}]
    assert pixels(figures.gan_curves(gaps)).shape[1] < one_row.shape[1]
    for nothing in ([], [{"epoch": 0, "phase": 2, "other": 1.0}]):
        with pytest.raises(ValueError, match="no learning curve"):
            figures.gan_curves(nothing)


@pytest.mark.parametrize("second", [range(4), range(1, 5), range(6, 10)])
def test_phases_follow_each_other_whatever_they_count_from(second: range) -> None:
    epochs, boundary = figures._epochs(history(1, range(6)) + history(2, second))
    assert epochs == list(range(1, 11)) and boundary == 6.5


@pytest.mark.parametrize("phase", [1, 2])
def test_one_phase_has_no_boundary(phase: int) -> None:
    assert figures._epochs(history(phase, range(3))) == ([1, 2, 3], None)
    assert figures._epochs([{"epoch": 4}, {"epoch": 5}]) == ([1, 2], None)
