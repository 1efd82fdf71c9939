"""Short tables and verdicts for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmgen.evaluation.privacy.gate import Verdict, opens
from mmgen.evaluation.report.text import name_of, number, score

_MARKS = {"green": "ok   ", "amber": "note ", "red": "LEAK "}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of text, the first set to the left."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def utility_table(utility: Mapping[str, Any]) -> str:
    """AUC and balanced accuracy of every modality, classifier and training set."""
    rows = [
        (
            f"{modality}, {name_of(classifier)}, {name_of(trained_on).lower()}",
            *(score(entry.get(key)) for key in ("auc", "balanced_accuracy")),
        )
        for modality, classifiers in utility.items()
        for classifier, sets in classifiers.items()
        for trained_on, entry in sets.items()
    ]
    return table(("trained on", "AUC", "balanced accuracy"), rows) if rows else "Utility was not measured."


def fidelity_table(fidelity: Mapping[str, Any]) -> str:
    """Every measure beside the same for real data, and what is to be known about them."""
    rows = [
        (
            f"{modality}: {name_of(key)}",
            number(m["value"]),
            number(m.get("real_vs_real")),
            m.get("better") or "",
        )
        for modality, measures in fidelity.items()
        for key, m in measures.items()
        if "value" in m
    ]
    if not rows:
        return "Fidelity was not measured."
    return "\n".join([table(("measure", "value", "real against real", "better"), rows), *_notes(fidelity)])


def verdict_lines(verdicts: Sequence[Verdict]) -> str:
    """One line a verdict, and what they mean together."""
    if not opens(verdicts):
        end = "It must not be released."
    elif all(verdict.light == "green" for verdict in verdicts):
        end = "The audit found no leak: it may be released."
    else:
        end = "The audit found nothing that forbids a release; read what it notes."
    return "\n".join([*(f"{_MARKS[verdict.light]} {verdict.line}" for verdict in verdicts), end])


def _notes(fidelity: Mapping[str, Any]) -> list[str]:
    """A line for every note, with the measures that it is about."""
    about: dict[tuple[str, str], list[str]] = {}
    for modality, measures in fidelity.items():
        for key, measure in measures.items():
            if note := measure.get("note"):
                about.setdefault((modality, note), []).append(name_of(key))
    return [f"{modality}: {', '.join(names)}: {note}" for (modality, note), names in about.items()]
