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
        (f"{modality}, {name_of(classifier)}, {name_of(trained_on).lower()}", *map(score, _two(entry)))
        for modality, classifiers in utility.items()
        for classifier, sets in classifiers.items()
        for trained_on, entry in sets.items()
    ]
    return table(("trained on", "AUC", "balanced accuracy"), rows) if rows else "Utility was not measured."


def fidelity_table(fidelity: Mapping[str, Any]) -> str:
    """Every measure beside the same for real data."""
    rows = [
        (
            f"{modality}, {name_of(key).lower()}",
            number(m["value"]),
            number(m.get("real_vs_real")),
            m.get("better") or "",
        )
        for modality, measures in fidelity.items()
        for key, m in measures.items()
        if "value" in m
    ]
    return table(("measure", "value", "real against real", "better"), rows) if rows else "Fidelity was not measured."


def verdict_lines(verdicts: Sequence[Verdict]) -> str:
    """One line a verdict, and what they mean together."""
    end = "The audit found no leak: it may be released." if opens(verdicts) else "It must not be released."
    return "\n".join([*(f"{_MARKS[verdict.light]} {verdict.line}" for verdict in verdicts), end])


def _two(entry: Mapping[str, Any]) -> tuple[Any, Any]:
    return entry.get("auc"), entry.get("balanced_accuracy")
