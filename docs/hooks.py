"""What mkdocs adds to the pages while it builds them: results of benchmarks, what ``--help`` prints, and notebooks.

A line ``<!-- results -->`` becomes tables of all files in ``benchmarks/results``, ``<!-- help: generate -->`` the help
of a command, ``<!-- help: recipes/NAME.py -->`` that of a recipe, ``<!-- notebook: NAME -->`` the cells of
``docs/notebooks/NAME.ipynb``.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "benchmarks" / "results"
NOTEBOOKS = PROJECT / "docs" / "notebooks"
MOST_ROWS = 40
# Said above the tables, or about the run and not about what it measured.
ASIDE = ("command", "note", "machine", "versions", "git_revision", "data", "last_rows", "settings", "effort")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs with the text of every page."""
    markdown = re.sub(r"^<!-- results -->$", lambda _: results(RESULTS), markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^<!-- notebook: (\S+) -->$", lambda found: notebook(found[1]), markdown, flags=re.MULTILINE)
    return re.sub(r"^<!-- help: (\S+) -->$", lambda found: help_text(found[1]), markdown, flags=re.MULTILINE)


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs with the HTML of every page; docstrings mark names as Sphinx does, which is not shown."""
    return re.sub(r":(?:func|class|meth|mod|data|attr):(<code>)~?", r"\1", html)


def help_text(name: str) -> str:
    """What ``--help`` of a command or of a recipe prints, without its rules."""
    import tyro

    from mmgen.cli.main import commands

    by_name = {kind.__name__.lower(): kind for kind in commands()}
    prog, description, path = f"mmgen {name}", None, PROJECT / name
    if name not in by_name:
        with mock.patch("sys.path", [str(path.parent), *sys.path]):
            script = import_module(path.stem)
        (flags,) = re.findall(r"parse_config\((\w+)", path.read_text(encoding="utf-8"))
        by_name[name], prog, description = getattr(script, flags), f"python {name}", script.__doc__
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit), mock.patch.dict(os.environ, COLUMNS="92", NO_COLOR="1"):
        tyro.cli(by_name[name], args=["--help"], prog=prog, description=description)
    lines = [line.rstrip() for line in printed.getvalue().splitlines() if set(line) - set(" -") or not line.strip()]
    return "\n".join(["```text", *lines, "```"])


def notebook(name: str) -> str:
    """Cells of a notebook, whose headings stand below the page's; outputs are not stored in it."""
    parts = []
    for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        is_text = cell["cell_type"] == "markdown"
        parts.append(re.sub("^#", "##", text, flags=re.MULTILINE) if is_text else f"```python\n{text}\n```")
    return "\n\n".join(parts)


def results(folder: Path) -> str:
    """Markdown of all results in a folder, one section a file; what a file lacks is left out."""
    sections = []
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*/summary.json")):
        name = path.stem if path.parent == folder else path.parent.name
        with suppress(OSError, ValueError):  # a file that is being written; the others are shown
            sections.append(section(name, json.loads(path.read_text(encoding="utf-8"))))
    return "\n".join(sections)


def section(name: str, result: Any) -> str:
    """One file: its command and machine, then a table for each part that holds numbers."""
    parts = [f"## {name.replace('_', ' ')}\n"]
    if not isinstance(result, Mapping):
        return parts[0]
    if isinstance(command := result.get("command"), str):
        parts.append(f"```bash\n{command}\n```\n")
    about = result["about"] if isinstance(result.get("about"), Mapping) else result
    if isinstance(machine := about.get("machine"), Mapping):
        parts.append("Machine: " + ", ".join(f"{key} {shown(value)}" for key, value in machine.items()) + ".\n")
    if isinstance(note := result.get("note"), str):
        parts.append(f"Note: {note}\n")
    known = {"utility": utility, "fidelity": fidelity, "privacy": attacks, "verdicts": verdicts, "entries": condensed}
    rest: dict[str, Any] = {}
    for key, value in result.items():
        if key in known:
            parts.append(known[key](value))
        elif isinstance(value, list) and all(isinstance(row, Mapping) for row in value):
            parts.append(titled(key, rows_table([dict(flat(row)) for row in value])))
        elif key not in (*ASIDE, "about"):
            rest |= dict(flat({key: value}))
    parts.append(titled("Other numbers", table(("", "value"), list(rest.items()))) if rest else "")
    return "\n".join(part for part in parts if part)


def utility(values: Any) -> str:
    """Scores of classifiers on real test data, by what they were trained on."""
    rows = [
        (modality, classifier, trained_on, scores.get("auc"), scores.get("accuracy"))
        for modality, classifiers in items(values)
        for classifier, sets in items(classifiers)
        for trained_on, scores in items(sets)
        if isinstance(scores, Mapping) and scores.keys() & {"auc", "accuracy"}
    ]
    return titled("Utility on real test data", table(("modality", "classifier", "trained on", "AUC", "accuracy"), rows))


def fidelity(values: Any) -> str:
    """Measures of closeness, beside the same between two halves of the real data."""
    rows = [
        (modality, measure.replace("_", " "), entry["value"], entry.get("real_vs_real"), entry.get("better"))
        for modality, measures in items(values)
        for measure, entry in items(measures)
        if isinstance(entry, Mapping) and "value" in entry
    ]
    header = ("modality", "measure", "synthetic against real", "real against real", "better")
    return titled("Fidelity", table(header, rows))


def attacks(values: Any) -> str:
    """AUC of every attack with its interval."""
    rows = [
        (
            key.replace("_", " "),
            entry["auc"],
            between(entry.get("auc_ci")),
            entry.get("threat_model"),
            entry.get("counts"),
        )
        for key, entry in items(values)
        if isinstance(entry, Mapping) and "auc" in entry
    ]
    return titled("Attacks", table(("attack", "AUC", "95 % interval", "threat model", "judged"), rows))


def verdicts(values: Any) -> str:
    """What the gate said of each attack."""
    known = [entry for entry in values or () if isinstance(entry, Mapping)]
    return titled("Verdicts", table(("light", "finding"), [(entry.get("light"), entry.get("line")) for entry in known]))


def condensed(values: Any) -> str:
    """AUC by method and classifier, of a comparison of methods of condensation."""
    known = [entry for entry in values or () if isinstance(entry, Mapping) and "method" in entry]
    names = list(dict.fromkeys(str(entry.get("classifier")) for entry in known))
    scores: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in known:
        size = "fresh" if entry.get("fresh") else entry.get("ipc")
        scores.setdefault((entry["method"], size), {})[str(entry.get("classifier"))] = entry.get("auc")
    rows = [(*key, *(found.get(name) for name in names)) for key, found in scores.items()]
    return titled("AUC on real test images", table(("method", "images a class", *names), rows))


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows that are alike, with all columns that any of them has."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    text = table(header, [[row.get(key) for key in header] for row in rows[:MOST_ROWS]])
    return f"{text}\nThe first {MOST_ROWS} of {len(rows)} rows.\n" if len(rows) > MOST_ROWS else text


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, number or text) of everything in nested mappings; lists of more than two are left out."""
    for key, inner in value.items():
        name = f"{prefix} {str(key).replace('_', ' ')}".strip()
        if isinstance(inner, Mapping) and "mean" not in inner:
            yield from flat(inner, name)
        elif not isinstance(inner, list) or len(inner) <= 2:
            yield name, inner


def items(value: Any) -> Iterator[tuple[str, Any]]:
    """Entries of a mapping; none of anything else."""
    yield from value.items() if isinstance(value, Mapping) else ()


def titled(title: str, text: str) -> str:
    return f"**{title.replace('_', ' ')}**\n\n{text}" if text else ""


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; empty without rows."""
    if not rows:
        return ""
    titles = [name.replace("|", "\\|") for name in header]
    lines = [titles, ["---"] * len(titles), *([shown(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def between(interval: Any) -> str:
    whole = isinstance(interval, list) and len(interval) == 2
    return f"{shown(interval[0])} to {shown(interval[1])}" if whole else "–"


def shown(value: Any) -> str:
    """A cell: few digits, mean ± deviation, a dash for what is absent."""
    if isinstance(value, Mapping):
        deviation = value.get("std")
        return shown(value.get("mean")) + (f" ± {shown(deviation)}" if deviation is not None else "")
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "–"
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")
