"""What the report page says about fidelity: every measure beside the same measure for real against real data."""

from __future__ import annotations

from typing import Any, Literal

from mmgen.evaluation.report.text import NOTHING, Column, Mark, Table, as_dict, is_number, mean, name_of, number

# An error that is more than the first times that of real against real is said to be far from it, and so is a score that
# has less than the second of it.
SEVERAL, HALF = 3.0, 0.5
MARKS = {"near": Mark("green", "Near"), "far": Mark("amber", "Far")}
KNOWN = ("value", "real_vs_real", "better", "range", "features", "samples", "note")


def fidelity_tables(fidelity: dict, data: dict) -> list[Table]:
    """Per modality: each measure beside the same measure for real data, other references and the better direction."""
    tables = []
    for modality, metrics in fidelity.items():
        measures = measures_of(as_dict(metrics))
        if measures:
            caption = f"{name_of(modality, data)}: closeness to real data"
            tables.append(Table(caption, *_columns_and_rows(measures), notes=_notes(measures)))
    return tables


def closeness(entry: dict) -> Literal["near", "far"] | None:
    """Whether a value is about as good as that of real against real; None where that cannot be said."""
    value, real = entry.get("value"), entry.get("real_vs_real")
    if is_number(entry.get("ratio")):  # to a baseline that knows nothing
        return "near" if entry["ratio"] < 1 else "far"
    if not is_number(value) or not is_number(real):
        return None
    better, most = entry.get("better"), (entry.get("range") or [None, None])[-1]
    too_high = abs(value) > SEVERAL * abs(real)
    too_low = value < HALF * real
    # Of a similarity up to 1, what counts may be what is missing to 1.
    crowded = is_number(most) and most - value < HALF * (most - real)
    far = {"lower": value > real and (too_high or crowded), "higher": too_low}.get(better, too_high or too_low)
    return "far" if far else "near"


def fidelity_sentences(title: str, metrics: dict) -> list[str]:
    """What the measures of one modality show, in words."""
    sentences = _known_sentences(title, metrics)
    others = {key: metric for key, metric in metrics.items() if key not in ("masked_patch_error", "kl_intensity")}
    measures = measures_of(others)
    far = [_comparison(name, entry) for name, entry in measures if closeness(entry) == "far"]
    near = [_in_sentence(name) for name, entry in measures if closeness(entry) == "near"]
    if far:
        sentences.append(f"{title}: far from what real data reach among themselves: {'; '.join(far)}.")
    if near:
        sentences.append(f"{title}: near what real data reach among themselves: {', '.join(near)}.")
    return sentences


def measures_of(metrics: dict) -> list[tuple[str, dict]]:
    """(name, entry) of every measure; a metric without a value of its own may hold several that have one."""
    found = []
    for key, metric in metrics.items():
        parts = {"": metric} if "value" in as_dict(metric) else {f", {k}": v for k, v in as_dict(metric).items()}
        found += [(name_of(key) + part, entry) for part, entry in parts.items() if "value" in as_dict(entry)]
    return found


def _columns_and_rows(measures: list[tuple[str, dict]]) -> tuple[list[Column], list[list[str | Mark]]]:
    """The columns that some measure fills, and their cells."""
    cells: dict[Column, list[str | Mark]] = {
        Column("Measure", numeric=False): [name for name, _ in measures],
        Column("Value"): [number(entry["value"]) for _, entry in measures],
        Column("Real against real"): [number(entry.get("real_vs_real")) for _, entry in measures],
        Column("Other references", numeric=False): [
            ", ".join(f"{name_of(k).lower()} {number(v)}" for k, v in _references(entry)) or NOTHING
            for _, entry in measures
        ],
        Column("Better", numeric=False): [
            {"lower": "↓\u00a0lower", "higher": "↑\u00a0higher"}.get(entry.get("better"), number(entry.get("better")))
            for _, entry in measures
        ],
        Column("Range"): [_range(entry.get("range")) for _, entry in measures],
        Column("Verdict", numeric=False): [MARKS.get(closeness(entry), NOTHING) for _, entry in measures],
    }
    optional = ("Other references", "Range", "Verdict")
    kept = {c: column for c, column in cells.items() if c.name not in optional or set(column) != {NOTHING}}
    return list(kept), [list(row) for row in zip(*kept.values(), strict=True)]


def _notes(measures: list[tuple[str, dict]]) -> list[str]:
    """What is to be known about values, measures with the same note together."""
    notes = [
        f"{', '.join(names)}: in the feature space {features}."
        for features, names in _same("features", measures).items()
    ]
    counts = _same("samples", measures)
    if len(counts) == 1:
        notes.append(f"Samples on either side: {next(iter(counts))}.")
    elif counts:
        notes.append("Samples on either side: " + "; ".join(f"{n} ({', '.join(of)})" for n, of in counts.items()) + ".")
    return notes + [f"{', '.join(names)}: {note}" for note, names in _same("note", measures).items()]


def _same(key: str, measures: list[tuple[str, dict]]) -> dict[str, list[str]]:
    """Value of a key, as text -> names of the measures that have it."""
    names: dict[str, list[str]] = {}
    for name, entry in measures:
        if entry.get(key) is not None:
            names.setdefault(number(entry[key]), []).append(name)
    return names


def _known_sentences(title: str, metrics: dict) -> list[str]:
    sentences = []
    ratio = as_dict(metrics.get("masked_patch_error")).get("ratio")
    if is_number(ratio) and ratio < 1:
        sentences.append(
            f"{title}: the model fills in hidden patches with {100 * ratio:.0f} % of the error of predicting "
            "the mean patch (lower is better)."
        )
    elif is_number(ratio):
        sentences.append(
            f"{title}: the model fills in hidden patches no better than the mean patch does "
            f"({ratio:.2f} times its error): train longer or on more data."
        )
    kl = as_dict(metrics.get("kl_intensity"))
    if is_number(kl.get("value")) and is_number(kl.get("real_vs_real")):
        sentences.append(
            f"{title}: the intensities of synthetic and real data are {number(kl['value'])} apart (KL divergence, "
            f"lower is better); two halves of the real data are {number(kl['real_vs_real'])} apart."
        )
    return sentences


def _comparison(name: str, entry: dict) -> str:
    return f"{_in_sentence(name)} {number(entry['value'])} against {number(entry['real_vs_real'])}"


def _in_sentence(name: str) -> str:
    """A name without its capital, unless it is an abbreviation or a person's."""
    return name if name[:2].isupper() or name.startswith("Fréchet") else name[:1].lower() + name[1:]


def _range(ends: Any) -> str:
    if not isinstance(ends, list) or len(ends) != 2:
        return NOTHING
    low, high = ends
    return f"{number(low)} to {number(high)}" if is_number(high) else f"{number(low)} and up"


def _references(entry: dict) -> list[tuple[str, Any]]:
    return [(k, v) for k, v in entry.items() if k not in KNOWN and (is_number(v) or mean(v) is not None)]
