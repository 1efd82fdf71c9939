"""Figures about condensed sets and their generator; see :mod:`mmgen.evaluation.report.figures` for conventions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmgen.evaluation.report.figures import INK, LINES, REAL, STYLE, SYNTHETIC, finite, picture, plain, png_bytes

# Panels of the learning curves: title, and the name of each line by its key.
PANELS = {
    "Critic": {"critic_gap": "gap, real minus synthetic", "penalty": "gradient penalty"},
    "Gradient norms": {"gradient_norm/generator": "generator", "gradient_norm/critic": "critic"},
    "Mean attention": {"mean_attention": "mean attention"},
    "Matching loss": {"loss/match": "matching loss"},
}
_GAP = 2  # white pixels between pictures of one row


def neighbour_grid(
    rows: Sequence[Sequence[np.ndarray]],
    labels: Sequence[str],
    columns: Sequence[str],
    distances: Sequence[Sequence[float]],
) -> bytes:
    """Synthetic samples, each followed by its nearest training images, the synthetic ones in a dashed frame.

    Args:
        rows: pictures uint8 (C, H, W) of one row each, the synthetic one first.
        labels: one per row, shown at its left.
        columns: one title per picture of a row.
        distances: of each row, one per training image, shown under it.

    Raises:
        ValueError: there is no row, or labels, titles and distances do not fit the pictures.
    """
    fits = len(rows) == len(labels) == len(distances) and all(
        len(row) == len(columns) == len(beside) + 1 for row, beside in zip(rows, distances, strict=False)
    )
    if not rows or not fits:
        raise ValueError("A grid of neighbours needs a label a row, a title a column and a distance a training image.")
    height = 1.75 * max(min(cell.shape[1] / cell.shape[2], 2.0) for row in rows for cell in row)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.75 * len(columns) + 1.0, (height + 0.25) * len(rows) + 0.4), layout="compressed")
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for line, cells, label, beside in zip(grid, rows, labels, distances, strict=True):
            for place, (axes, cell) in enumerate(zip(line, cells, strict=True)):
                show(axes, cell)
                frame(axes, REAL if place else SYNTHETIC, "-" if place else "--")
                if place:
                    axes.set_xlabel(f"{beside[place - 1]:.1f}", labelpad=2)
            _name_row(line[0], label)
        for axes, title in zip(grid[0], columns, strict=True):
            axes.set_title(plain(title))
        return png_bytes(figure)


def class_grid(images: Mapping[str, np.ndarray], title: str = "") -> bytes:
    """One row of pictures per class, with the name of the class at its left.

    Args:
        images: class -> uint8 (N, C, H, W), the same C, H and W for all classes; N may differ and be 0.
        title: above the grid.

    Raises:
        ValueError: there is no picture.
    """
    most = max((len(pictures) for pictures in images.values()), default=0)
    if not most:
        raise ValueError("A grid of classes needs at least one picture.")
    strips = {name: _strip(pictures, most) for name, pictures in images.items()}
    tall, wide = next(iter(strips.values())).shape[1:]
    width = min(0.9 * most, 9.0)
    with matplotlib.rc_context(STYLE):
        size = (width + 1.2, (width * tall / wide + 0.08) * len(strips) + (0.4 if title else 0.1))
        figure = Figure(figsize=size, layout="compressed")
        for axes, (name, strip) in zip(
            figure.subplots(len(strips), 1, squeeze=False)[:, 0], strips.items(), strict=True
        ):
            show(axes, strip)
            axes.spines[:].set_visible(False)
            _name_row(axes, name)
        figure.suptitle(plain(title), fontsize=STYLE["axes.titlesize"])
        return png_bytes(figure)


def gan_curves(history: Sequence[Mapping[str, Any]]) -> bytes:
    """How generator and critic learned, against epoch: a panel of each group in :data:`PANELS` that has values.

    Args:
        history: one row per epoch, phase I before phase II, such as ``{"epoch": 0, "phase": 1, "critic_gap": 3.1}``.
            Epochs are numbered on from 1 through both phases, whatever number each phase starts from. A key may be
            absent and a value missing; without "phase" a row is of phase I.

    Raises:
        ValueError: no row has a value to draw.
    """
    panels = {}
    epochs, boundary = _epochs(history)
    for title, lines in PANELS.items():
        drawn = {
            name: [(epoch, row[key]) for epoch, row in zip(epochs, history, strict=True) if finite(row.get(key))]
            for key, name in lines.items()
        }
        if drawn := {name: points for name, points in drawn.items() if points}:
            panels[title] = drawn
    if not panels:
        raise ValueError("There is no learning curve to draw.")
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(4.5 * columns, 5.6), 2.9 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, lines) in zip(grid, panels.items(), strict=False):
            _draw_curves(axes, title, lines, boundary, (min(epochs), max(epochs)))
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        return png_bytes(figure)


def _epochs(history: Sequence[Mapping[str, Any]]) -> tuple[list[int], float | None]:
    """Epoch of every row, numbered on from 1 through both phases, and where phase II begins if there is one."""
    first: dict[int, int] = {}
    for row in history:
        phase = row.get("phase", 1)
        first[phase] = min(row["epoch"], first.get(phase, row["epoch"]))
    before = max((row["epoch"] - first[1] + 1 for row in history if row.get("phase", 1) == 1), default=0)
    epochs = []
    for row in history:
        phase = row.get("phase", 1)
        epochs.append(row["epoch"] - first[phase] + 1 + (before if phase == 2 else 0))
    return epochs, before + 0.5 if before and 2 in first else None


def _draw_curves(
    axes: Axes,
    title: str,
    lines: Mapping[str, list[tuple[int, float]]],
    boundary: float | None,
    limits: tuple[int, int],
) -> None:
    for (name, points), (colour, marker) in zip(lines.items(), LINES, strict=False):
        # Markers on every epoch of a long run would hide the line.
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker if len(points) <= 40 else None, label=name)
    axes.set_title(title, loc="left")
    axes.set(xlabel="epoch", xlim=(limits[0] - 0.5, limits[1] + 0.5))
    axes.xaxis.get_major_locator().set_params(integer=True)
    if boundary is not None:
        axes.axvline(boundary, color=INK, linestyle=":", linewidth=1.2)
        axes.text(boundary, 1.02, "phase II", transform=axes.get_xaxis_transform(), fontsize=8)
    if len(lines) > 1:
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
        axes.legend(loc="upper right", frameon=True, framealpha=1.0, edgecolor="none")


def _strip(pictures: np.ndarray, places: int) -> np.ndarray:
    """Pictures (N, C, H, W) side by side (C, H, width), white where there is none."""
    margins = ((0, places - len(pictures)), (0, 0), (0, 0), (0, _GAP))
    padded = np.pad(pictures, margins, constant_values=255)
    return rearrange(padded, "n c h w -> c h (n w)")[..., :-_GAP]


def show(axes: Axes, cell: np.ndarray) -> None:
    """A picture uint8 (C, H, W) without ticks."""
    axes.imshow(picture(cell).convert("RGB"))
    axes.grid(False)
    axes.set(xticks=[], yticks=[])


def frame(axes: Axes, colour: str, line: str) -> None:
    """A frame around a picture."""
    axes.spines[:].set_visible(True)
    axes.spines[:].set(color=colour, linestyle=line, linewidth=1.6)


def _name_row(axes: Axes, name: str) -> None:
    axes.set_ylabel(plain(textwrap.fill(name, 16)), rotation=0, ha="right", va="center")
