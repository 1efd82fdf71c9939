"""Figures about utility; see :mod:`mmgen.evaluation.report.figures` for conventions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Drawing

from mmgen.evaluation.report.figures import INK, STYLE, finite, plain, png_bytes
from mmgen.evaluation.report.figures_privacy import COLOURS, HATCHES
from mmgen.evaluation.report.media import Figure
from mmgen.evaluation.report.text import name_of
from mmgen.evaluation.report.utility import Scores, set_names
from mmgen.evaluation.scores import Statistic, Utility

# Fresh samples show a classifier more than a stored set of their size would.
NOT_STORED = ("synthetic_fresh",)


def generalisation_bars(by_classifier: Mapping[str, Scores]) -> bytes:
    """AUC on real test data, a group of bars per classifier, a bar per stored training set.

    Whiskers are the 95 % interval over trainings, or the standard deviation where there is no interval. The dashed line
    is guessing.

    Raises:
        ValueError: there is no AUC.
    """
    aucs = _aucs(by_classifier)
    sets = set_names(dict.fromkeys(key for entries in aucs.values() for key in entries))
    if not sets:
        raise ValueError("There is no AUC to draw.")
    width = 0.84 / len(sets)
    with matplotlib.rc_context(STYLE):
        size = (min(max(0.42 * len(sets) * len(aucs) + 3.4, 6.4), 11.0), 3.7)
        figure = Drawing(figsize=size, layout="constrained")
        axes = figure.subplots()
        for number, (key, title) in enumerate(sets.items()):
            present = [(place, entries[key]) for place, entries in enumerate(aucs.values()) if key in entries]
            axes.bar(
                [place + (number - (len(sets) - 1) / 2) * width for place, _ in present],
                [auc.mean for _, auc in present],
                0.92 * width,
                yerr=list(zip(*(_whiskers(auc) for _, auc in present), strict=True)),
                error_kw={"ecolor": INK, "elinewidth": 1.0, "capsize": 2.5},
                color=COLOURS[number % len(COLOURS)],
                hatch=HATCHES[(number + number // len(COLOURS)) % len(HATCHES)],
                edgecolor="white",
                label=plain(textwrap.fill(title, 24)),
            )
        axes.axhline(0.5, color=INK, linestyle="--", linewidth=1.2, label="guessing")
        names = [plain(name_of(classifier)) for classifier in aucs]
        axes.set(xticks=range(len(aucs)), xticklabels=names, ylim=(0, 1.02), ylabel="AUC on real test data")
        axes.grid(False, axis="x")
        axes.set_axisbelow(True)
        handles, labels = axes.get_legend_handles_labels()
        order = [*range(1, len(handles)), 0]  # bars before the line
        axes.legend(
            [handles[i] for i in order],
            [labels[i] for i in order],
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            fontsize=9,
        )
        return png_bytes(figure)


def utility_figures(utility: Utility, data: Mapping[str, Any]) -> list[Figure]:
    """Figures of section "utility": how well each classifier generalises; ``data`` may hold titles of modalities."""
    figures = []
    for modality, by_classifier in utility.items():
        aucs = _aucs(by_classifier)
        if not aucs:
            continue
        said = "; ".join(
            f"{name_of(classifier)}: " + ", ".join(f"{title} {entries[key].mean:.2f}" for key, title in names)
            for classifier, entries in aucs.items()
            for names in [set_names(entries).items()]
        )
        figures.append(
            Figure(
                f"Generalisation to real data: {name_of(modality, dict(data))}",
                "AUC on real test data by classifier and training set, fixed sets only. Whiskers: 95 % interval over "
                "trainings, or the standard deviation where there is none.",
                f"Bars of AUC. {said}.",
                generalisation_bars(by_classifier),
                section="utility",
            )
        )
    return figures


def _aucs(by_classifier: Mapping[str, Scores]) -> dict[str, dict[str, Statistic]]:
    """Classifier -> stored training set -> AUC, of those that have one."""
    aucs = {}
    for classifier, results in by_classifier.items():
        stored = {key: result.auc for key, result in results.items() if key not in NOT_STORED}
        aucs[classifier] = {key: auc for key, auc in stored.items() if auc is not None and finite(auc.mean)}
    return {classifier: entries for classifier, entries in aucs.items() if entries}


def _whiskers(auc: Statistic) -> tuple[float, float]:
    if auc.ci95 is not None:
        return max(auc.mean - auc.ci95[0], 0.0), max(auc.ci95[1] - auc.mean, 0.0)
    # NaN draws nothing, where a length of 0 would draw its caps.
    std = auc.std if finite(auc.std) and auc.std > 0 else float("nan")
    return std, std
