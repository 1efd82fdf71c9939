"""Fidelity on the report page: every measure beside the same measure for real against real data."""

from __future__ import annotations

from collections.abc import Mapping

from mmgen.evaluation.fidelity.measures import MEASURES
from mmgen.evaluation.fidelity.result import PATCH_ERROR, Fidelity, FidelityResult, PatchError
from mmgen.evaluation.report.text import NOTHING, Column, Mark, Table, name_of, number

MARKS = {"near": Mark("green", "Near"), "far": Mark("amber", "Far"), None: NOTHING}
DIRECTIONS = {"lower": "↓\u00a0lower", "higher": "↑\u00a0higher", None: NOTHING}
Results = Mapping[str, FidelityResult | PatchError]


def title_of(measure: str) -> str:
    """Readable name of a measure by its key in reports."""
    return MEASURES[measure].title if measure in MEASURES else name_of(measure)


def fidelity_tables(fidelity: Fidelity, data: dict) -> list[Table]:
    """Per modality: each measure beside the same measure for real data, other references and the better direction."""
    return [
        Table(f"{name_of(modality, data)}: closeness to real data", *_columns_and_rows(results), notes=_notes(results))
        for modality, results in fidelity.items()
        if results
    ]


def fidelity_sentences(title: str, results: Results) -> list[str]:
    """Sentences on the measures of one modality."""
    sentences = [f"{title}: {sentence}." for sentence in (*_patch_error(results), *_own_sentences(results))]
    listed = {key: r for key, r in results.items() if key != PATCH_ERROR and not _own_sentence(key)}
    far = [
        f"{_in_sentence(key)} {number(result.value)} against {number(result.real_vs_real)}"
        for key, result in listed.items()
        if result.closeness == "far"
    ]
    near = [_in_sentence(key) for key, result in listed.items() if result.closeness == "near"]
    if far:
        sentences.append(f"{title}: far from what real data reach among themselves: {'; '.join(far)}.")
    if near:
        sentences.append(f"{title}: near what real data reach among themselves: {', '.join(near)}.")
    return sentences


def measures_with(attribute: str, results: Results) -> dict[str, list[str]]:
    """Value of an attribute, as text -> titles of the measures that have it."""
    titles: dict[str, list[str]] = {}
    for key, result in results.items():
        if (value := getattr(result, attribute)) is not None:
            titles.setdefault(number(value), []).append(title_of(key))
    return titles


def _columns_and_rows(results: Results) -> tuple[list[Column], list[list[str | Mark]]]:
    """The columns that some measure fills, and their cells."""
    every = results.values()
    cells: dict[Column, list[str | Mark]] = {
        Column("Measure", numeric=False): [title_of(key) for key in results],
        Column("Value"): [number(result.value) for result in every],
        Column("Real against real"): [number(result.real_vs_real) for result in every],
        Column("Other references", numeric=False): [
            ", ".join(f"{name_of(key).lower()} {number(v)}" for key, v in result.references.items()) or NOTHING
            for result in every
        ],
        Column("Better", numeric=False): [DIRECTIONS[result.better] for result in every],
        Column("Range"): [_range(result) for result in every],
        Column("Verdict", numeric=False): [MARKS[result.closeness] for result in every],
    }
    optional = ("Other references", "Range", "Verdict")
    kept = {c: column for c, column in cells.items() if c.name not in optional or set(column) != {NOTHING}}
    return list(kept), [list(row) for row in zip(*kept.values(), strict=True)]


def _notes(results: Results) -> list[str]:
    """Remarks on values, measures with the same one together."""
    notes = [
        f"{', '.join(of)}: in the feature space {name}." for name, of in measures_with("features", results).items()
    ]
    counts = measures_with("samples", results)
    said = list(counts) if len(counts) == 1 else [f"{count} ({', '.join(of)})" for count, of in counts.items()]
    notes += [f"Samples on either side: {'; '.join(said)}."] if said else []
    return notes + [f"{', '.join(of)}: {note}" for note, of in measures_with("note", results).items()]


def _patch_error(results: Results) -> list[str]:
    ratio = results[PATCH_ERROR].ratio if PATCH_ERROR in results else None
    if ratio is None:
        return []
    if ratio < 1:
        return [
            f"the model fills in hidden patches with {100 * ratio:.0f} % of the error of predicting the mean patch "
            "(lower is better)"
        ]
    return [
        f"the model fills in hidden patches no better than the mean patch does ({ratio:.2f} times its error): train "
        "longer or on more data"
    ]


def _own_sentence(key: str) -> str:
    return MEASURES[key].sentence if key in MEASURES else ""


def _own_sentences(results: Results) -> list[str]:
    """Of measures that have a sentence of their own, or share one."""
    values: dict[str, list[tuple[str, str]]] = {}
    for key, result in results.items():
        if (sentence := _own_sentence(key)) and result.value is not None and result.real_vs_real is not None:
            values.setdefault(sentence, []).append((number(result.value), number(result.real_vs_real)))
    joined = ((sentence, map(" / ".join, zip(*pairs, strict=True))) for sentence, pairs in values.items())
    return [sentence.format(value=value, real_vs_real=real) for sentence, (value, real) in joined]


def _in_sentence(key: str) -> str:
    """A title without its capital, unless it is an abbreviation or a person's name."""
    title = title_of(key)
    return title if title[:2].isupper() or title.startswith("Fréchet") else title[:1].lower() + title[1:]


def _range(result: FidelityResult | PatchError) -> str:
    if result.range is None:
        return NOTHING
    low, high = result.range
    return f"{number(low)} and up" if high is None else f"{number(low)} to {number(high)}"
