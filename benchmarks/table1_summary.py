"""What the rows of ``table1.py`` say together: means and deviations, recovery, and the table in Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import paper_numbers
from table1_rows import FULL, NAMES, RANDOM, SHAREABLE, Book, Job, Unit, Wanted, job_of, read_rows

from mmgen.artifacts.models import PRIVACY
from mmgen.errors import UserError
from mmgen.evaluation.privacy.gate import judge, opens
from mmgen.evaluation.privacy.record import AuditRecord
from mmgen.evaluation.privacy.results import MembershipResult
from mmgen.evaluation.report.text import NOTHING, duration, is_number, name_of, percent, score
from mmgen.evaluation.scores import Statistic, recovery
from mmgen.names import IMAGE

SCORES = ("auc", "accuracy", "balanced_accuracy")
# A classifier with what it learns.
Column = tuple[str, str]
Found = Mapping[tuple[Column, Unit], list[Mapping[str, Any]]]
_DIFFERENCES = {"hard_label_recovery": "Real minus set", "improvement_over_random": "Set minus random"}

_NOTES = (
    "Scores on real test images, 0 to 1, mean ± standard deviation over seeds; AUC is the mean over classes, each "
    "against all others. All classifiers are trained alike, whatever the set. Random subsets and generated sets are "
    "drawn anew for every seed, stored ones are the same. Every method is fitted once: the deviation is without the "
    "chance of its fit.",
    "The ViT was pretrained on all real training images without their labels, so that small sets profit from them too; "
    "MedSynth is matched through the same ViT, the other methods are not.",
    "Shareable: drawn from a generator that holds no image and no latent of a single one; what it remembers an audit "
    "says. Soft: learnt from a teacher's probabilities, the same teacher's for every row.",
    "Real minus set: AUC of all real images minus that of the set, both by hard labels, lower is better (hard-label "
    "recovery of DD-Ranking); set minus random: that of the set minus that of as many random real images, by the same "
    "labels, higher is better. Differences of trainings of one seed, with their 95 % interval.",
    "Sets of MedSynth and of the denoising autoencoder are chosen from many draws of the generator (mmgen generate "
    "--choose-from), DiM's and DCGAN's are drawn as published, fresh ones are drawn. From real images: the paper as "
    "printed, whose generator starts from random real images, for who holds the data alone.",
    "Ratio: images of the set by those of the full one. Recovery: how much of the way from as many random real images "
    "(0 %) to all real ones (100 %) the AUC goes. Fresh: as many images as there are real ones, 4000 at most.",
)
_PAPER_NOTE = (
    "Paper: MedSynth's Table 1, at 224 pixels, with ImageNet weights, on its own splits; ResNet-18 for the rivals, "
    "ViT-B/16 with LoRA for MedSynth and, we take it, for all real data. Its DCGAN has no number of images. Its ratios "
    "divide the images of one class by those of all."
)


def summarise(rows: Iterable[Mapping[str, Any]], wanted: Wanted) -> list[dict[str, Any]]:
    """What rows say of every classifier and training set, classifier after classifier.

    Returns:
        Of each {"classifier", "targets", "method", "ipc", "fresh", "seeds", "wanted_seeds"; "auc", "accuracy",
        "balanced_accuracy": see :class:`mmgen.evaluation.scores.Statistic`, None without rows; "n_train"; "ratio":
        images of the set by those of the full one; "recovery": of the AUC, see
        :func:`mmgen.evaluation.scores.recovery`; "hard_label_recovery", "improvement_over_random": differences in
        AUC, see :class:`mmgen.evaluation.scores.UtilityScores`, None where there is nothing to compare with;
        "shareable"; "fit_seconds"; "paper": {"auc", "accuracy"} or None}.
    """
    found: dict[tuple[Column, Unit], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        job: Job = job_of(row)
        found[(job.classifier, job.targets), job.unit].append(row)
    return [
        _entry(found, column, unit, wanted.seeds)
        for column in wanted.columns
        for unit in (*wanted.references, *wanted.rivals)
    ]


def _entry(found: Found, column: Column, unit: Unit, wanted_seeds: int) -> dict[str, Any]:
    rows = found.get((column, unit), [])
    first = rows[0] if rows else {}
    classifier, targets = column
    full, subset = (found.get((column, of), []) for of in (Unit(FULL), Unit(RANDOM, unit.ipc)))
    rival = unit.method not in (FULL, RANDOM)
    return {
        "classifier": classifier,
        "targets": targets,
        **unit._asdict(),
        "seeds": len(rows),
        "wanted_seeds": wanted_seeds,
        **{name: Statistic.of([row[name] for row in rows]).to_json() if rows else None for name in SCORES},
        "n_train": first.get("n_train"),
        "ratio": first.get("condensation_ratio"),
        "recovery": _recovery(found, column, unit),
        "hard_label_recovery": _difference(full, rows) if rival and targets == "hard" else None,
        "improvement_over_random": _difference(rows, subset) if rival else None,
        "shareable": unit.method in SHAREABLE,
        "fit_seconds": first.get("fit_seconds"),
        "paper": _paper(found, column, unit),
    }


def _difference(rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """AUC of the first minus that of the others, seed by seed; None where no seed has both."""
    of_others = {row["seed"]: row["auc"] for row in others}
    differences = [row["auc"] - of_others[row["seed"]] for row in rows if row["seed"] in of_others]
    return Statistic.of(differences, least=-1.0).to_json() if differences else None


def _paper(found: Found, column: Column, unit: Unit) -> dict[str, float] | None:
    """The paper's scores, by hard labels. It gives no number of images for DCGAN, which may make any: they stand beside
    fresh ones."""
    classifier, targets = column
    if targets == "soft" or (unit.fresh and unit.method != "dcgan"):
        return None
    labels = next((row["labels"] for rows in found.values() for row in rows), ())
    scores = paper_numbers.table1(paper_numbers.dataset_of(labels), classifier, unit.method, unit.ipc)
    return None if scores is None else dict(zip(("auc", "accuracy"), scores, strict=True))


def _recovery(found: Found, column: Column, unit: Unit) -> float | None:
    """None for the references themselves, for fresh sets, and where one of the three is not measured."""
    if unit.method in (FULL, RANDOM) or unit.fresh:
        return None
    three = [found.get((column, of), []) for of in (Unit(FULL), Unit(RANDOM, unit.ipc), unit)]
    if not all(three):
        return None
    return recovery(*(Statistic.of([row["auc"] for row in rows]).mean for rows in three))


def report_sections(folder: Path) -> dict[str, Any]:
    """Rows of a folder in the form of a run's report: what ``figures.py`` draws.

    Training sets have the report's keys, such as "real" and "random_subset@50", and sets of methods others of the same
    form; "table1" names the images a class of the sets for a figure, 50 as in the paper or else the most.
    """
    book, rows = Book.read(folder), read_rows(folder / "rows.jsonl")
    if book is None or not rows:
        raise UserError(f"There are no rows in {folder}; measure some with table1.py first.")
    utility: dict[str, dict[str, Any]] = defaultdict(dict)
    for entry in summarise(rows, book.wanted):
        if entry["seeds"] and entry["targets"] == "hard":
            utility[entry["classifier"]][_report_key(unit_of(entry))] = entry
    measured = {row["ipc"] for row in rows} - {None}
    cost = {
        "seconds": sum(row["seconds"] for row in rows),
        "device": ", ".join(sorted({row["device"] for row in rows})),
    }
    return {
        "table1": {"ipc": 50 if 50 in measured else max(measured, default=None)},
        "data": book.about["data"],
        "utility": {IMAGE: dict(utility)},
        "cost": {"evaluate": cost},
    }


def _report_key(unit: Unit) -> str:
    if unit.method == FULL:
        return "real"
    return str(unit) if unit.fresh else f"{'random_subset' if unit.method == RANDOM else NAMES[unit.method]}@{unit.ipc}"


def unit_of(entry: Mapping[str, Any]) -> Unit:
    """Which set an entry is of."""
    return Unit(entry["method"], entry["ipc"], entry["fresh"])


def column_of(classifier: str, targets: str) -> str:
    """Heading of a classifier's column."""
    return name_of(classifier) + (", soft labels" if targets == "soft" else "")


def trained_for(rows: Sequence[Mapping[str, Any]]) -> str:
    """For how many updates each classifier was trained."""
    updates = {row["classifier"]: row["updates"] for row in rows}
    return ", ".join(f"{name_of(classifier)} for {count} updates" for classifier, count in updates.items())


def audits_of(folder: Path) -> dict[str, str]:
    """What audits of fitted generators say, by method, where ``mmgen audit fits/METHOD --out fits/METHOD/audit`` was
    run: whether the gate opens, and the strongest attack's AUC with its 95 % interval."""
    found = {}
    for method in SHAREABLE:
        record = AuditRecord.read(folder / "fits" / method / "audit" / PRIVACY)
        if record is None:
            continue
        results = record.privacy.of_type(MembershipResult).values()
        attacks = [one for one in results if one.counts and one.auc is not None and one.auc_ci is not None]
        gate = "passes" if opens(judge(record.privacy)) else "does not pass"
        strongest = max(attacks, key=lambda one: one.auc, default=None)
        numbers = "" if strongest is None else "; {:.2f} ({:.2f} to {:.2f})".format(strongest.auc, *strongest.auc_ci)
        found[method] = gate + numbers
    return found


def markdown(
    entries: Sequence[Mapping[str, Any]], heading: str, facts: Sequence[str], audits: Mapping[str, str] | None = None
) -> str:
    """The whole page: AUC by set and classifier, then a table for each classifier."""
    by_column: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in entries:
        by_column[column_of(entry["classifier"], entry["targets"])].append(entry)
    parts = [f"# {heading}", *facts, "## AUC", _overview(by_column, audits or {})]
    for name, of_it in by_column.items():
        parts += [f"## {name}", _of_classifier(of_it)]
    notes = [*_NOTES, _PAPER_NOTE] if any(entry["paper"] for entry in entries) else _NOTES
    return "\n\n".join([*parts, *notes]) + "\n"


def _overview(by_column: Mapping[str, Sequence[Mapping[str, Any]]], audits: Mapping[str, str]) -> str:
    rows = [
        [str(unit_of(of[0])), "yes" if of[0]["shareable"] else "no", *(_score(entry, "auc") for entry in of)]
        for of in zip(*by_column.values(), strict=True)
    ]
    heads = ["Trained on", "Shareable", *by_column]
    if audits:
        methods = [entry["method"] for entry in next(iter(by_column.values()))]
        rows = [[*row, audits.get(method, NOTHING)] for row, method in zip(rows, methods, strict=True)]
        heads.append("Audit: gate; strongest attack's AUC")
    return _table(heads, rows)


def _of_classifier(entries: Sequence[Mapping[str, Any]]) -> str:
    heads = [
        "Trained on",
        "Ratio",
        "AUC",
        "Accuracy",
        "Balanced accuracy",
        "Recovery",
        *_DIFFERENCES.values(),
        "Seeds",
        "Fit",
    ]
    rows = [
        [
            str(unit_of(entry)),
            percent(entry["ratio"]),
            *(_score(entry, name) for name in SCORES),
            percent(entry["recovery"]),
            *(_with_interval(entry[name]) for name in _DIFFERENCES),
            _seeds(entry),
            duration(entry["fit_seconds"]),
        ]
        for entry in entries
    ]
    if any(entry["paper"] for entry in entries):
        heads += ["Paper, AUC", "Paper, accuracy"]
        rows = [
            row + [score((entry["paper"] or {}).get(name)) for name in ("auc", "accuracy")]
            for row, entry in zip(rows, entries, strict=True)
        ]
    return _table(heads, rows)


def _score(entry: Mapping[str, Any], name: str) -> str:
    """A score; one of fewer seeds than wanted says so."""
    if not entry["seeds"]:
        return NOTHING
    part = "" if entry["seeds"] >= entry["wanted_seeds"] else f" ({_seeds(entry)} seeds)"
    return score(entry[name]) + part


def _with_interval(difference: Mapping[str, Any] | None) -> str:
    """A difference, and its interval if it has one."""
    if difference is None:
        return NOTHING
    interval = difference.get("ci95")
    return f"{difference['mean']:+.3f}" + (f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else "")


def _seeds(entry: Mapping[str, Any]) -> str:
    missing = is_number(entry["seeds"]) and entry["seeds"] < entry["wanted_seeds"]
    return f"{entry['seeds']} of {entry['wanted_seeds']}" if missing else str(entry["seeds"])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
