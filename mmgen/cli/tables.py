"""Short tables and verdicts for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmgen.evaluation.fidelity.result import Fidelity
from mmgen.evaluation.privacy.gate import Verdict, opens
from mmgen.evaluation.report.fidelity import measures_with, title_of
from mmgen.evaluation.report.text import name_of, number, score
from mmgen.evaluation.report.utility import of_labels
from mmgen.evaluation.scores import Utility

_MARKS = {"green": "ok   ", "amber": "note ", "red": "LEAK "}
_UNKNOWN = "STOP "  # red, because too little is known


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of text, the first set to the left."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def utility_table(utility: Utility) -> str:
    """AUC and balanced accuracy of every modality, classifier and training set."""
    rows = [
        (
            f"{modality}, {name_of(classifier)}, {name_of(trained_on).lower()}{of_labels(scores)}",
            score(scores.auc),
            score(scores.balanced_accuracy),
        )
        for modality, classifiers in utility.items()
        for classifier, sets in classifiers.items()
        for trained_on, scores in sets.items()
    ]
    return table(("trained on", "AUC", "balanced accuracy"), rows) if rows else "Utility was not measured."


def fidelity_table(fidelity: Fidelity) -> str:
    """Every measure beside the same for real data, and what is to be known about them."""
    rows = [
        (f"{modality}: {title_of(key)}", number(result.value), number(result.real_vs_real), result.better or "")
        for modality, results in fidelity.items()
        for key, result in results.items()
    ]
    if not rows:
        return "Fidelity was not measured."
    notes = [
        f"{modality}: {', '.join(titles)}: {note}"
        for modality, results in fidelity.items()
        for note, titles in measures_with("note", results).items()
    ]
    return "\n".join([table(("measure", "value", "real against real", "better"), rows), *notes])


def verdict_lines(verdicts: Sequence[Verdict]) -> str:
    """One line a verdict, and what they mean together."""
    if not opens(verdicts):
        end = "It must not be released."
    elif all(verdict.light == "green" for verdict in verdicts):
        end = "The audit found no leak: it may be released."
    else:
        end = "The audit found nothing that forbids a release; read what it notes."
    marks = [_UNKNOWN if verdict.unknown else _MARKS[verdict.light] for verdict in verdicts]
    return "\n".join([*(f"{mark} {verdict.line}" for mark, verdict in zip(marks, verdicts, strict=True)), end])
