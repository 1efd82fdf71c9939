"""Figures of the report as PNG bytes, drawn with matplotlib's Agg canvas and without pyplot's global state.

Every function returns the bytes of one PNG file. Real data is drawn in blue, synthetic data in orange, references are
dashed or dotted, so that a figure can still be read in grey. matplotlib costs about a second to import: import this
module where it is used.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from mmgen.data.spectrum import radial_power
from mmgen.evaluation.report.text import name_of

REAL, SYNTHETIC, INK, GRID = "#1f5f8b", "#b45309", "#33383d", "#d9dde1"
LINES = ((SYNTHETIC, "o"), ("#4d7c0f", "s"), ("#7e22ce", "^"))
SPECTROGRAM_COLOURS = "magma"
STYLE = {
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def variance_curve(
    curves: Mapping[str, Mapping[str, Sequence[float]]], ratios: Sequence[float], real: Mapping[str, float]
) -> bytes:
    """Variance of generated data against masking ratio, one panel per modality.

    Args:
        curves: modality -> variant ("cross-modal", "single-modal") -> one variance per ratio; NaN leaves a gap.
        ratios: masking ratios in 0..1, the same for every curve.
        real: modality -> variance of real data (horizontal line); a modality may be absent.

    Raises:
        ValueError: a curve has not one value per ratio, or there is no curve.
    """
    for modality, variants in curves.items():
        for variant, values in variants.items():
            if len(values) != len(ratios):
                raise ValueError(f"{modality}, {variant}: {len(values)} variances for {len(ratios)} masking ratios.")

    def draw(axes: Axes, modality: str) -> None:
        for i, (variant, values) in enumerate(curves[modality].items()):
            colour, marker = LINES[i % len(LINES)]
            axes.plot(ratios, np.asarray(values, float), color=colour, marker=marker, label=plain(variant))
        if finite(real.get(modality)):
            axes.axhline(real[modality], color=REAL, linestyle="--", label="real data")
        axes.set(xlabel="masking ratio", ylabel="variance")

    return _panels(list(curves), draw)


def training_curves(history: Sequence[Mapping[str, float]], baseline: Mapping[str, float]) -> bytes:
    """Masked-patch error on validation data against epoch, one panel per modality.

    Args:
        history: one row per epoch: ``{"epoch": 3, "image": 0.41, "audio": 0.52}``. A row without a finite value for a
            modality is skipped for that modality.
        baseline: modality -> error of predicting the mean patch (dashed line); its keys choose the panels.
    """

    def draw(axes: Axes, modality: str) -> None:
        points = [(row["epoch"], row[modality]) for row in history if finite(row.get(modality))]
        if points:
            axes.plot(*zip(*points, strict=True), color=SYNTHETIC, marker="o", label="model")
        if finite(baseline[modality]):
            axes.axhline(baseline[modality], color=INK, linestyle="--", label="mean patch")
        axes.set(xlabel="epoch", ylabel="error on hidden patches")
        axes.xaxis.get_major_locator().set_params(integer=True)

    return _panels(list(baseline), draw)


def histograms(real: np.ndarray, synthetic: np.ndarray, name: str, bins: int = 64) -> bytes:
    """Intensity histograms of real and synthetic values over one common range; both have area 1.

    Args:
        real, synthetic: arrays of any shape, pixels or log-mel values; values that are not finite are left out.
        name: what is counted, the label of the x axis.
        bins: number of bins at most. Integer values get bins of equal whole width, which avoids a comb.
    """
    real, synthetic = np.asarray(real).ravel(), np.asarray(synthetic).ravel()
    whole = all(np.issubdtype(values.dtype, np.integer) for values in (real, synthetic))
    real, synthetic = real[np.isfinite(real)], synthetic[np.isfinite(synthetic)]
    edges = _bin_edges(np.concatenate([real, synthetic]).astype(float), bins, whole)

    def draw(axes: Axes, _: str) -> None:
        for values, colour, label in ((real, REAL, "real"), (synthetic, SYNTHETIC, "synthetic")):
            if values.size:
                density, _ = np.histogram(values, edges, density=True)
                axes.stairs(density, edges, color=colour, alpha=0.22, fill=True)
                line = "-" if label == "real" else "--"
                axes.stairs(density, edges, color=colour, linewidth=1.5, linestyle=line, label=label)
        axes.set(xlabel=plain(name), ylabel="share of values per unit")

    return _panels([""], draw, width=7.0)


def spectra(real: np.ndarray, synthetic: np.ndarray, name: str) -> bytes:
    """Mean power of samples (N, C, H, W) at every spatial frequency, of real and of synthetic ones.

    See :func:`mmgen.data.spectrum.radial_power`; seams between patches show as peaks at multiples of one
    over the patch.
    """
    longest = max(real.shape[2:])
    edges = (np.arange(longest // 2 + 1) + 0.5) / longest

    def draw(axes: Axes, _: str) -> None:
        for values, colour, line, label in ((real, REAL, "-", "real"), (synthetic, SYNTHETIC, "--", "synthetic")):
            frequencies, power = edges[:-1] + 0.5 / longest, radial_power(values, edges)
            axes.plot(frequencies, power, color=colour, linestyle=line, label=label)
        axes.set(xlabel=f"cycles a pixel: {plain(name)}", ylabel="power", yscale="log")

    return _panels([""], draw, width=7.0)


def reconstruction_grid(rows: Sequence[Sequence[np.ndarray | None]], column_titles: Sequence[str]) -> bytes:
    """Pictures and spectrograms in a grid, one sample per row (for example original, visible part, reconstruction).

    Args:
        rows: cells of one sample each. A uint8 array (C, H, W) with C 1 or 3 is a picture; a float array
            (bands, frames) is a log-mel and shares its colour scale with the other log-mels of its row, NaN (hidden)
            is grey. None leaves the cell empty.
        column_titles: one title per column.

    Raises:
        ValueError: there is no row, a row has not one cell per title, or an array is neither of the two kinds.
    """
    if not rows or any(len(row) != len(column_titles) for row in rows):
        raise ValueError("A reconstruction grid needs at least one row and one cell per column title in every row.")
    columns = len(column_titles)
    shapes = [[cell.shape[-2:] for cell in row if cell is not None] for row in rows]
    heights = [1.9 * min(max((h / w for h, w in row), default=1.0), 2.0) for row in shapes]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.9 * columns, sum(heights) + 0.3), layout="constrained")
        grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
        for row, cells in zip(grid, rows, strict=True):
            low, high = colour_range([cell for cell in cells if cell is not None and cell.ndim == 2])
            for axes, cell in zip(row, cells, strict=True):
                axes.set_axis_off()
                if cell is not None:
                    shown = spectrogram(cell, low, high) if cell.ndim == 2 else picture(cell).convert("RGB")
                    axes.imshow(shown)
        for axes, title in zip(grid[0], column_titles, strict=True):
            axes.set_title(plain(title))
        return png_bytes(figure)


def picture(image: np.ndarray) -> Image.Image:
    """The picture of a uint8 array (C, H, W), C 1 (grey) or 3 (RGB).

    Raises:
        ValueError: any other type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"A picture is a uint8 array (1 or 3, H, W), not {image.dtype} {image.shape}.")
    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels))


def spectrogram(log_mel: np.ndarray, low: float, high: float) -> Image.Image:
    """A log-mel (bands, frames) in magma colours, low frequencies at the bottom; low..high is the colour range.

    Values that are not finite are grey.

    Raises:
        ValueError: the array has not two dimensions or is empty.
    """
    if log_mel.ndim != 2 or log_mel.size == 0:
        raise ValueError(f"A log-mel is an array (bands, frames), not {log_mel.shape}.")
    # NaN is "bad" to a colour map, infinity is not: both are shown as missing.
    values = np.where(np.isfinite(log_mel), log_mel, np.nan).astype(float)
    colours = matplotlib.colormaps[SPECTROGRAM_COLOURS].with_extremes(bad="#9aa0a6")
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)
    return Image.fromarray(colours(scaled[::-1], bytes=True)[..., :3].copy())


def colour_range(log_mels: Sequence[np.ndarray]) -> tuple[float, float]:
    """A common colour range of several log-mels: their 1st and 99.5th percentile; (0, 1) if nothing is finite."""
    values = np.concatenate([np.ravel(log_mel) for log_mel in log_mels] or [np.empty(0)])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (1.0, 99.5))
    return float(low), float(high)


def _panels(names: Sequence[str], draw: Callable[[Axes, str], None], width: float = 4.6) -> bytes:
    """One panel per name in a row; ``draw(axes, name)`` fills it."""
    if not names:
        raise ValueError("A figure needs at least one modality.")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(width * len(names), 5.6), 3.4), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            draw(axes, name)
            axes.autoscale(axis="y")
            if axes.get_yscale() == "linear":
                axes.set_ylim(bottom=0)
            axes.set_title(plain(name_of(name)))
            if axes.get_legend_handles_labels()[0]:
                axes.legend()
        return png_bytes(figure)


def _bin_edges(values: np.ndarray, bins: int, whole: bool) -> np.ndarray:
    if not values.size:
        return np.linspace(0.0, 1.0, 2)
    low, high = values.min(), values.max()
    if whole:
        step = max(1, int(np.ceil((high - low + 1) / bins)))
        return np.arange(low - 0.5, high + step + 0.5, step)
    return np.linspace(low, high, bins + 1) if high > low else np.array([low - 0.5, low + 0.5])


def finite(value: object) -> bool:
    """Whether a value is a number that can be drawn."""
    return isinstance(value, int | float | np.number) and bool(np.isfinite(value))


def plain(text: str) -> str:
    """Text without meaning to matplotlib: a dollar sign would start a formula."""
    return text.replace("$", r"\$")


def png_bytes(figure: Figure) -> bytes:
    """The file of a finished figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=128, facecolor="white")
    return buffer.getvalue()
