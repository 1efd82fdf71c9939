"""Figures about privacy; see :mod:`mmgen.evaluation.report.figures` for conventions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from mmgen.evaluation.privacy.attacks import LOGAN, attack_name
from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.privacy.results import DisguisedCopiesResult, MembershipResult
from mmgen.evaluation.report.figures import (
    INK,
    REAL,
    STYLE,
    SYNTHETIC,
    colour_range,
    picture,
    plain,
    png_bytes,
    spectrogram,
)
from mmgen.evaluation.report.figures_condensation import frame
from mmgen.evaluation.report.media import Figure
from mmgen.evaluation.report.privacy import attacks
from mmgen.evaluation.report.reading import Report
from mmgen.evaluation.report.text import name_of

COLOURS = ("#1f5f8b", "#b45309", "#4d7c0f", "#7e22ce", "#be123c", "#0f766e", "#6b7280", "#854d0e")
DASHES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "xx")
LEAST_RATE = 1e-3


def roc_figure(privacy: PrivacySection) -> bytes:
    """ROC curves of all attacks, a row of two panels per modality: on linear and on logarithmic axes.

    Attacks that measure realism are thin and dotted. The diagonal is guessing.

    Args:
        privacy: the audit; of its results those with a curve are drawn.

    Raises:
        ValueError: there is no curve.
    """
    curves = _curves(privacy)
    if not curves:
        raise ValueError("There is no ROC curve to draw.")
    with matplotlib.rc_context(STYLE):
        figure = Drawing(figsize=(10.4, 3.7 * len(curves)), layout="constrained")
        grid = figure.subplots(len(curves), 2, squeeze=False)
        for row, (modality, results) in zip(grid, curves.items(), strict=True):
            for axes, scale in zip(row, ("linear", "log"), strict=True):
                _draw_curves(axes, results, scale)
            title = f"{name_of(modality)}: " if modality else ""
            row[0].set_title(plain(f"{title}linear axes"), loc="left")
            row[1].set_title(plain(f"{title}logarithmic axes, few false alarms"), loc="left")
            row[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5)
        return png_bytes(figure)


def logan_bars(results_by_method: Mapping[str, Mapping[str, MembershipResult]]) -> bytes:
    """Accuracy of the LOGAN attacks, a bar per method, each with a line where guessing would be.

    Args:
        results_by_method: readable name of a method -> results of its audit.

    Raises:
        ValueError: no audit has a LOGAN attack with an accuracy.
    """
    drawn = {method: _logan(results) for method, results in results_by_method.items()}
    names = list(dict.fromkeys(key for results in drawn.values() for key in results))
    if not names:
        raise ValueError("There is no LOGAN attack to draw.")
    width = 0.8 / len(drawn)
    with matplotlib.rc_context(STYLE):
        figure = Drawing(figsize=(min(max(1.7 * len(names) + 2.0, 5.6), 11.0), 3.6), layout="constrained")
        axes = figure.subplots()
        for number, (method, results) in enumerate(drawn.items()):
            for place, key in enumerate(names):
                if key in results:
                    label = plain(method) if key == next(iter(results)) else None
                    _draw_bar(axes, place + (number - (len(drawn) - 1) / 2) * width, width, results[key], number, label)
        guess = Line2D([], [], color=INK, linestyle="--", linewidth=1.6, label="guessing")
        titles = [plain(textwrap.fill(attack_name(key), 17)) for key in names]
        axes.set(xticks=range(len(names)), xticklabels=titles, ylim=(0, 1.08), ylabel="accuracy")
        axes.grid(False, axis="x")
        axes.set_axisbelow(True)
        bars = axes.get_legend_handles_labels()[0]
        axes.legend(handles=[*bars, guess], loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return png_bytes(figure)


def power_figure(privacy: PrivacySection) -> bytes:
    """Bars of the share that a search for disguised copies found of its own, a panel for each modality.

    Raises:
        ValueError: there was no such search, or it planted none.
    """
    drawn = _powers(privacy)
    if not drawn:
        raise ValueError("There is no power to draw.")
    kinds = [len(power) for power in drawn.values()]
    with matplotlib.rc_context(STYLE):
        figure = Drawing(figsize=(7.6, 0.24 * sum(kinds) + 0.9 * len(kinds)), layout="constrained")
        panels = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=kinds)[:, 0]
        for axes, (key, power) in zip(panels, drawn.items(), strict=True):
            names = [plain(kind) for kind in power]
            axes.barh(range(len(names)), list(power.values()), 0.7, color=REAL)
            for place, share in enumerate(power.values()):
                axes.text(share + 0.01, place, f"{100 * share:.0f} %", va="center", fontsize=8.5)
            axes.set(yticks=range(len(names)), yticklabels=names, xlim=(0, 1.08), xlabel="share found")
            axes.set_title(plain(attack_name(key)), loc="left")
            axes.invert_yaxis()
            axes.grid(False, axis="y")
            axes.set_axisbelow(True)
        return png_bytes(figure)


def pair_grid(
    synthetic: Sequence[np.ndarray],
    training: Sequence[np.ndarray],
    captions: Sequence[str],
    per_row: int = 3,
    differences: Sequence[np.ndarray] | None = None,
) -> bytes:
    """Synthetic records, each with its nearest training record at its right, the synthetic ones in a dashed frame.

    Args:
        synthetic, training: records of pairs: pictures uint8 (C, H, W), or log-mels (bands, frames), which share the
            colours of their pair.
        captions: under each pair, such as "near copy, 3.1".
        per_row: pairs beside each other, fewer if there are not as many.
        differences: of each pair, at its right: of the same form, 0 where both are alike.

    Raises:
        ValueError: there is no pair, or not all are of one length.
    """
    count, given = len(captions), [synthetic, training] if differences is None else [synthetic, training, differences]
    if not count or any(len(records) != count for records in given):
        raise ValueError("A grid of pairs needs as many synthetic as training records and captions, at least one.")
    pairs = []
    for pair in zip(*given, strict=True):
        low, high = colour_range([record for record in pair[:2] if record.ndim == 2])
        ends = [(low, high), (low, high), (0.0, high - low)]
        pairs.append([spectrogram(x, *end) if x.ndim == 2 else picture(x) for x, end in zip(pair, ends, strict=False)])
    per_row, width = min(per_row, count), len(given)
    rows = -(-count // per_row)
    tall = 1.75 * max(min(image.height / image.width, 2.0) for pair in pairs for image in pair)
    heads = (("synthetic", SYNTHETIC, "--"), ("training", REAL, "-"), ("difference", INK, ":"))[:width]
    with matplotlib.rc_context(STYLE):
        figure = Drawing(figsize=(max(1.9 * width * per_row, 4.0), (tall + 0.3) * rows + 0.35), layout="compressed")
        # The last column of each pair is a gap, so that pairs are seen as pairs.
        ratios = [*[1] * width, 0.08] * per_row
        grid = figure.subplots(rows, len(ratios), squeeze=False, width_ratios=ratios)
        for axes in grid.ravel():
            axes.set_axis_off()
        places = grid.reshape(rows * per_row, width + 1)
        for number, (row, pair, caption) in enumerate(zip(places, pairs, captions, strict=False)):
            for axes, image, (title, colour, style) in zip(row, pair, heads, strict=False):
                axes.set_axis_on()
                axes.imshow(image.convert("RGB"))
                axes.grid(False)
                axes.set(xticks=[], yticks=[])
                frame(axes, colour, style)
                if number < per_row:
                    axes.set_title(title, color=colour)
            row[0].set_xlabel(plain(caption), loc="left", labelpad=3)
        return png_bytes(figure)


def privacy_figures(report: Report) -> list[Figure]:
    """Figures of section "privacy" that need ``report.json`` alone: ROC curves, LOGAN bars, and what was found of the
    copies that the audit disguised itself."""
    figures, privacy = [], report.privacy
    if powers := _powers(privacy):
        said = [
            f"{attack_name(key)}: {kind} {100 * by:.0f} %" for key, one in powers.items() for kind, by in one.items()
        ]
        figures.append(
            Figure(
                "What the search for disguised copies finds",
                "Share found of training records that the audit disguised itself, by kind of disguise. Where it is "
                "low, such copies may be there unseen.",
                f"Bars of the share found: {'; '.join(said)}.",
                power_figure(privacy),
                section="privacy",
            )
        )
    if curves := _curves(privacy):
        names = [attack_name(key) for results in curves.values() for key in results]
        figures.append(
            Figure(
                "ROC curves of the attacks",
                "Share of members found against false alarms. On the diagonal an attack guesses. The left end of the "
                "logarithmic axes shows attacks that are sure of a few people only.",
                f"ROC curves on linear and logarithmic axes of: {'; '.join(names)}. The table of attacks holds the "
                "same as numbers.",
                roc_figure(privacy),
                section="privacy",
            )
        )
    if accuracies := _logan(attacks(privacy)):
        method = report.condensation.get("method")
        method = name_of(str(method)) if method else str(report.run or "this run")
        said = "; ".join(f"{attack_name(key)} {result.accuracy:.2f}" for key, result in accuracies.items())
        figures.append(
            Figure(
                "Accuracy of the LOGAN attacks",
                "Share of members among the records with the highest scores, beside what guessing gives.",
                f"Bars of accuracy: {said}.",
                logan_bars({method: accuracies}),
                section="privacy",
            )
        )
    return figures


def _powers(privacy: PrivacySection) -> dict[str, dict[str, float]]:
    """Search -> kind of disguise -> share found, the lowest first."""
    searches = privacy.of_type(DisguisedCopiesResult).items()
    return {key: dict(sorted(one.power.items(), key=lambda item: item[1])) for key, one in searches if one.power}


def _curves(privacy: PrivacySection) -> dict[str, dict[str, MembershipResult]]:
    """Modality -> attack -> result, of those with a curve."""
    curves: dict[str, dict[str, MembershipResult]] = {}
    for key, result in attacks(privacy).items():
        if result.roc is not None:
            curves.setdefault(key.partition("/")[2], {})[key] = result
    return curves


def _draw_curves(axes: Axes, results: Mapping[str, MembershipResult], scale: str) -> None:
    least = LEAST_RATE if scale == "log" else 0.0
    guess = np.geomspace(LEAST_RATE, 1.0, 50)
    axes.plot(guess, guess, color=INK, linewidth=1.0, label="guessing (0.50)")
    for place, (key, result) in enumerate(results.items()):
        dash = {"linestyle": DASHES[place // 2 % 3]}
        style = dash if result.counts else {"linestyle": ":", "linewidth": 1.2}
        name = attack_name(key.partition("/")[0]).replace(", as in the paper", ", realism")
        label = name if result.auc is None else f"{name} ({result.auc:.2f})"
        fpr, tpr = (np.maximum(np.asarray(rates, float), least) for rates in (result.roc.fpr, result.roc.tpr))
        axes.plot(fpr, tpr, color=COLOURS[place % len(COLOURS)], label=plain(label), **style)
    axes.set(xscale=scale, yscale=scale, xlim=(least, 1.0), ylim=(least, 1.02))
    axes.set(xlabel="false alarms (FPR)", ylabel="members found (TPR)")


def _logan(results: Mapping[str, MembershipResult]) -> dict[str, MembershipResult]:
    """LOGAN attacks with an accuracy, those that measure membership first."""
    logan = {key: result for key, result in results.items() if key.partition("/")[0] in LOGAN}
    drawn = [(key, result) for key, result in logan.items() if result.accuracy is not None]
    return dict(sorted(drawn, key=lambda item: not item[1].counts))


def _draw_bar(axes: Axes, place: float, width: float, result: MembershipResult, number: int, label: str | None) -> None:
    colour, hatch = COLOURS[(number + 1) % len(COLOURS)], HATCHES[number % len(HATCHES)]
    accuracy, guess = result.accuracy, result.chance
    axes.bar(place, accuracy, 0.9 * width, color=colour, hatch=hatch, edgecolor="white", label=label)
    above = accuracy if guess is None else max(accuracy, guess)
    axes.text(place, above + 0.015, f"{accuracy:.2f}", ha="center", fontsize=8.5)
    if guess is not None:
        ends = (place - width / 2, place + width / 2)
        axes.plot(ends, [guess] * 2, color=INK, linestyle="--", linewidth=1.6)
