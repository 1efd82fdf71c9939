"""The papers' figures and tables from the reports of runs, in one folder with an index.

From the masked autoencoder's paper the KL divergence (Section IV-C) and the variance against masking ratio (Fig. 8),
from MedSynth's the generalisation to other classifiers (Fig. 2) and LOGAN (Fig. 3). What a run lacks is left out and
named. Fig. 2 is also drawn from folders of ``table1.py``, for all methods.

    python benchmarks/figures.py --runs runs/isic runs/alzheimer runs/mmae runs/table1 --out figures
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import paper_numbers
from matplotlib.figure import Figure as Drawing
from PIL import Image
from reported_runs import Run, read_runs

from mmgen.cli.config import parse_config
from mmgen.cli.main import run_command
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError
from mmgen.evaluation.privacy.attacks import attack_name
from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.privacy.results import MembershipResult
from mmgen.evaluation.report.figures import STYLE, finite, plain, png_bytes, variance_curve
from mmgen.evaluation.report.figures_privacy import logan_bars
from mmgen.evaluation.report.figures_utility import utility_figures
from mmgen.evaluation.report.privacy import attacks
from mmgen.evaluation.report.text import NOTHING, as_dict, interval, mean, name_of, number, score
from mmgen.evaluation.report.utility import set_names
from mmgen.evaluation.scores import utility_from_json

logger = logging.getLogger("mmgen")

LOGAN = ("logan_white_box", "logan_black_box", "logan_white_box_paper", "logan_black_box_paper")


@dataclass(frozen=True)
class Figures:
    """Flags of this script."""

    runs: tuple[Path, ...]
    """Folders of runs or of table1.py, or JSON files with the sections of a report."""
    out: Path = Path("figures")
    """Folder of index.md, tables and pictures; files of the same names are replaced."""


@dataclass
class Shown:
    """One figure or table of the index.

    Attributes:
        stem: of its files' names.
        phase: of a run that measures it.
        heads, rows: of its table.
        drawings: PNG files by run, to be put below each other.
        origins: where it comes from, by run.
        lacking: what it lacks, by run.
    """

    stem: str
    title: str
    caption: str
    phase: str
    heads: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)
    drawings: dict[str, bytes] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)

    def note(self, run: Run, there: bool, lacking: str) -> None:
        """Take down that a run is in it, or what the run lacks; a comparison of methods lacks nothing."""
        if there:
            self.origins[run.name] = run.origin(self.phase)
        elif not run.compares_methods:
            self.lacking[run.name] = lacking

    @property
    def table(self) -> str:
        """The rows in Markdown."""
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)

    @property
    def words(self) -> str:
        """Caption and origins in Markdown."""
        return f"{self.caption}\n\nFrom: {', '.join(self.origins.values())}.\n"

    def write(self, folder: Path) -> str:
        """Write ``stem.png`` and ``stem.md`` as far as there is something; its section of the index in Markdown."""
        parts = [f"## {self.title}\n"]
        if self.drawings:
            write(folder / f"{self.stem}.png", stacked(self.drawings))
            parts.append(f"![{self.title}]({self.stem}.png)\n")
        if self.rows:
            write(folder / f"{self.stem}.md", f"# {self.title}\n\n{self.table}\n{self.words}".encode())
            parts.append(f"In numbers: [{self.stem}.md]({self.stem}.md)\n" if self.drawings else self.table)
        return "\n".join([*parts, self.words])


def main() -> None:
    config = parse_config(Figures)
    runs = read_runs(config.runs)
    every = [show(runs) for show in (kl_divergence, variance, generalisation, logan)]
    lacking = {run.path: [one.lacking[run.name] for one in every if run.name in one.lacking] for run in runs}
    sections = [one.write(config.out) for one in every if one.origins]
    if not sections:
        raise UserError(
            f"There is nothing to show in {', '.join(map(str, config.runs))}; evaluate or audit them first."
        )
    lines = [f"* {run.name}: {', '.join(lacking[run.path])}\n" for run in runs if lacking[run.path]]
    sections += [f"## What runs lack\n\n{''.join(lines)}"] if lines else []
    write(config.out / "index.md", "\n".join(["# The papers' figures\n", *sections]).encode())
    for path, reasons in lacking.items():
        if reasons:
            logger.info("%s: %s", path, ", ".join(reasons))
    logger.info("Figures   %s", config.out / "index.md")


def kl_divergence(runs: Sequence[Run]) -> Shown:
    """KL divergence of intensities by run and modality, beside real against real and the paper's."""
    shown = Shown(
        "kl",
        "KL divergence of intensities (masked autoencoder's paper, Section IV-C)",
        "KL(real || synthetic) of histograms of pixels and of log-mel values in nats, and the same for two halves of "
        "the real data; lower is nearer. The paper gives one pair of values, for its own data, does not say of which "
        "modality, and takes a high one for variety.",
        "evaluate",
        ("Run", "Data", "KL(real || synthetic)", "Real against real", "Paper", "Paper, real against real"),
    )
    for run in runs:
        entries = {key: run.part("fidelity", key, "kl_intensity") for key in run.part("fidelity")}
        paper = [number(value) for value in (paper_numbers.KL if run.is_mae_on_data else (None, None))]
        rows = [
            (run.name, run.modality(key), number(entry["value"]), number(entry.get("real_vs_real")), *paper)
            for key, entry in entries.items()
            if finite(entry.get("value"))
        ]
        shown.rows += rows
        shown.note(run, bool(rows), "no KL divergence")
    return shown


def variance(runs: Sequence[Run]) -> Shown:
    """Variance of what is generated against masking ratio, cross-modal and single-modal, a row of panels a run."""
    shown = Shown(
        "variance",
        "Variance against masking ratio (masked autoencoder's paper, Fig. 8)",
        "How much generated samples differ from each other as more of the input is hidden: a model of several "
        "modalities (cross-modal) beside a model of each alone (single-modal), and real data. The paper's figure is "
        "without numbers; in it single-modal variance is lower and less stable.",
        "evaluate",
    )
    for run in runs:
        ratios, curves = variance_curves(run)
        if curves:
            real = {key: run.part("fidelity", key, "sample_variance").get("real_vs_real") for key in curves}
            shown.drawings[run.name] = variance_curve(curves, ratios, real)
        shown.note(run, bool(curves), "no variance by masking ratio")
        if curves and not any("single-modal" in variants for variants in curves.values()):
            shown.lacking[run.name] = "no single-modal variance"
    return shown


def variance_curves(run: Run) -> tuple[list[float], dict[str, dict[str, list[float]]]]:
    """Masking ratios, and modality -> variant -> one variance per ratio; both empty where the run has none.

    Raises:
        UserError: a curve does not fit its ratios, or modalities have different ratios.
    """
    entries = {key: run.part("fidelity", key, "variance_by_mask_ratio") for key in run.part("fidelity")}
    entries = {key: dict(entry) for key, entry in entries.items() if entry}
    ratios = [entry.pop("mask_ratios", None) for entry in entries.values()]
    first = (ratios[0] or []) if ratios else []
    curves = [curve for entry in entries.values() for curve in entry.values()]
    if any(other != first for other in ratios) or any(len(curve) != len(first) for curve in curves):
        raise UserError(f"The variances in {run.path} do not fit their masking ratios; evaluate the run again.")
    return first, entries


def generalisation(runs: Sequence[Run]) -> Shown:
    """Scores of every classifier on real test data by what it was trained on, a chart a run; that of a comparison of
    methods shows sets of one size."""
    shown = Shown(
        "generalisation",
        "Generalisation across classifiers (MedSynth's paper, Fig. 2)",
        "AUC on real test data by classifier and training set. Whiskers: 95 % interval over trainings, or the standard "
        "deviation, which the table gives, where there is no interval; none for a single training. Fresh samples are "
        "in the table only: they show a classifier more than a stored set of their size. Paper: MedSynth's Table 1, of "
        "networks pretrained on ImageNet (its rivals with ResNet-18, the rest with ViT-B/16 + LoRA), and the masked "
        "autoencoder's Section IV-C for a ResNet on coughs, both on their own splits and sizes; MedSynth's Fig. 2 is "
        "without numbers.",
        "evaluate",
        ("Run", "Data", "Classifier", "Trained on", "AUC", "Accuracy", "Paper, AUC", "Paper, accuracy", "Seeds"),
    )
    for run in runs:
        groups, several, rows = {}, len(run.part("utility")) > 1, len(shown.rows)
        for modality in run.part("utility"):
            for classifier in run.part("utility", modality):
                sets = {key: scores(entry) for key, entry in run.part("utility", modality, classifier).items()}
                shown.rows += utility_rows(run, modality, classifier, sets)
                names = [run.modality(modality)] * several + [name_of(classifier)]
                groups["\n".join(names)] = of_one_size(run, sets) if run.compares_methods else sets
        for figure in utility_figures(utility_from_json({run.name: groups}), {}):
            shown.drawings[run.name] = figure.png
        shown.note(run, len(shown.rows) > rows, "no utility")
    return shown


def of_one_size(run: Run, sets: Mapping[str, Any]) -> dict[str, Any]:
    """All real data, and of the other sets those of the size that is shown of a comparison of methods."""
    end = f"@{run.part('table1').get('ipc')}"
    return {key: entry for key, entry in sets.items() if key == "real" or key.endswith(end)}


def scores(entry: Any) -> dict[str, Any]:
    """What the report has on a training set; a single training has no standard deviation."""
    entry = as_dict(entry)
    if entry.get("seeds") != 1 or entry.get("folds"):
        return entry
    return entry | {key: {"mean": mean(entry.get(key))} for key in ("auc", "accuracy")}


def utility_rows(run: Run, modality: str, classifier: str, sets: Mapping[str, dict]) -> Iterator[Sequence[str]]:
    """Rows of the table of scores of one classifier, one a training set."""
    for key, title in set_names(sets).items():
        found = [sets[key].get(measure) for measure in ("auc", "accuracy")]
        if any(mean(value) is not None for value in found):
            values = map(score, (*found, *paper_scores(run, modality, classifier, key)))
            yield run.name, run.modality(modality), name_of(classifier), title, *values, number(sets[key].get("seeds"))


def paper_scores(run: Run, modality: str, classifier: str, key: str) -> tuple[float | None, float | None]:
    """AUC and accuracy that the papers give for the same classifier and training set, None where they give none."""
    if run.is_mae_on_data and (modality, classifier) == ("audio", "resnet18"):
        return None, paper_numbers.COUGHS.get(key)
    if run.compares_methods:
        paper = as_dict(run.part("utility", modality, classifier, key).get("paper"))
        return paper.get("auc"), paper.get("accuracy")
    method, _, count = ("full", "", "") if key == "real" else key.replace("synthetic@", "medsynth@").partition("@")
    ipc = int(count) if count.isdigit() else None
    return paper_numbers.table1(run.dataset, classifier, method, ipc) or (None, None)


def logan(runs: Sequence[Run]) -> Shown:
    """Accuracy of the LOGAN attacks beside chance, a chart a run, a bar a modality."""
    shown = Shown(
        "logan",
        "LOGAN (MedSynth's paper, Fig. 3)",
        "Accuracy: share of members of the training data among the records with the highest scores, beside what "
        "guessing gives. White box: the critic scores; black box: the discriminator of a GAN trained on synthetic "
        "samples. Against held-out real records an attack measures membership; against synthetic ones, as in the "
        "paper, it measures realism. The paper's figure is without numbers; its text says that both attacks stay "
        "below guessing.",
        "audit",
        ("Run", "Data", "Attack", "Members against", "Accuracy", "Guessing", "Paper", "AUC (95 % interval)", "Records"),
    )
    for run in runs:
        privacy = PrivacySection.from_json(run.part("privacy"))
        found = {key: result for key, result in attacks(privacy).items() if result.accuracy is not None}
        named = [(kind, key) for kind in LOGAN for key in found if key.partition("/")[0] == kind]
        bars: dict[str, dict[str, MembershipResult]] = {}
        for kind, key in named:
            # Attacks on data of one modality do not name it.
            modality = run.modality(key.partition("/")[2] or next(iter(run.part("data")), "records"))
            bars.setdefault(modality, {})[kind] = found[key]
            shown.rows.append(logan_row(run, kind, modality, found[key]))
        if bars:
            shown.drawings[run.name] = logan_bars(bars)
        refused = "" if privacy.refused is None else f"no audit ({privacy.refused.rstrip('.')})"
        shown.note(run, bool(named), refused or ("no LOGAN attack" if privacy.results else "no audit"))
        if named and not any("white_box" in kind for kind, _ in named):
            shown.lacking[run.name] = "no white-box LOGAN"
    return shown


def logan_row(run: Run, kind: str, modality: str, result: MembershipResult) -> Sequence[str]:
    """An attack's row of the table."""
    realism = not result.counts
    return (
        run.name,
        modality,
        attack_name(kind),
        "synthetic records" if realism else "held-out real records",
        score(result.accuracy),
        score(result.chance),
        paper_numbers.LOGAN if realism and run.dataset else NOTHING,
        f"{score(result.auc)} ({interval(result.auc_ci)})",
        f"{number(result.n_members)} / {number(result.n_non_members)}",
    )


def stacked(drawings: Mapping[str, bytes]) -> bytes:
    """PNG files below each other as one, each under its heading."""
    pictures: list[Image.Image] = []
    widest = max(opened(png).width for png in drawings.values())
    for text, png in drawings.items():
        pictures += [heading(text, widest), opened(png)]
    whole = Image.new("RGB", (widest, sum(picture.height for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    buffer = io.BytesIO()
    whole.save(buffer, format="png")
    return buffer.getvalue()


def heading(text: str, width: int) -> Image.Image:
    """A line of text in the type of the figures, ``width`` pixels wide."""
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(width / 128, 0.4))
        drawing.text(16 / width, 0.3, plain(text), fontsize=12, fontweight="bold")
        return opened(png_bytes(drawing))


def opened(png: bytes) -> Image.Image:
    """The picture of a PNG file."""
    return Image.open(io.BytesIO(png)).convert("RGB")


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with new_file(path) as file:
        file.write(content)


if __name__ == "__main__":
    run_command(main)
