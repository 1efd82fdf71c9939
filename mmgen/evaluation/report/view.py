"""Data, condensed sets and cost on the report page.

Nothing here knows HTML. Facts that are missing or have another form than expected are left out of the page, never
guessed: they remain in ``report.json``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmgen.evaluation.fidelity.result import COPY_DISTANCE
from mmgen.evaluation.privacy.gate import judge
from mmgen.evaluation.report.reading import Report
from mmgen.evaluation.report.text import (
    NOTHING,
    Column,
    Table,
    as_dict,
    byte_size,
    duration,
    is_number,
    name_of,
    number,
    percent,
)
from mmgen.evaluation.report.utility import condensed_name

SPLITS = ("train", "val", "test", "all")


def warnings(report: Report, shows_real: bool) -> list[str]:
    """Sentences about what must not happen with this result; ``shows_real``: the page holds real records."""
    sentences = []
    verdicts = judge(report.privacy)
    closed = [verdict for verdict in verdicts if not verdict.allowed]
    if all(verdict.attack == "audit" for verdict in verdicts):
        sentences.append("Privacy has not been audited: do not share the synthetic data or the model yet.")
    elif closed:
        unknown = all(verdict.unknown for verdict in closed)
        found = "is no evidence that nothing leaks" if unknown else "found too much"
        sentences.append(
            f"The privacy audit {found} ({len(closed)} of {len(verdicts)} checks): do not share the synthetic data or "
            "the model."
        )
    if shows_real:
        sentences.append(
            "This page shows records of the real data (marked “Real”, “original” or “training”): do not pass it on."
        )
    for modality, facts in report.data.items():
        if shared := as_dict(facts).get("shared_subjects"):
            count = len(shared) if isinstance(shared, list) else shared
            sentences.append(
                f"{report.title(modality)}: {number(count)} subjects are in more than one part of the data, "
                "so the scores are too good."
            )
    for modality, results in report.fidelity.items():
        copies = results[COPY_DISTANCE].exact_copies or 0 if COPY_DISTANCE in results else 0
        if copies > 0:
            sentences.append(
                f"{report.title(modality)}: copies of training samples are among the synthetic ones "
                f"({number(copies)} found): they must not be shared."
            )
    return sentences


def remarks(report: Report) -> list[str]:
    """Sentences on facts beside the three answers: time, and labels that are left out."""
    data, sentences = report.data, []
    seconds = [entry["seconds"] for entry in _dicts(report.cost) if is_number(entry.get("seconds"))]
    if seconds:
        devices = sorted({str(entry["device"]) for entry in _dicts(report.cost) if entry.get("device")})
        place = f" on {', '.join(devices)}" if devices else ""
        sentences.append(f"The measured phases took {duration(sum(seconds))}{place}.")
    for modality, facts in data.items():
        if labels := as_dict(facts).get("left_out_labels"):
            sentences.append(
                f"{name_of(modality, data)}: left out because another modality lacks the label: {_listed(labels)}."
            )
    return sentences


def data_tables(data: dict) -> list[Table]:
    """Per modality: number of files per label and split, with totals."""
    tables = []
    for modality, facts in data.items():
        counts = {
            label: {split: n if is_number(n) else 0 for split, n in as_dict(row).items()}
            for label, row in as_dict(as_dict(facts).get("counts")).items()
        }
        if not counts:
            continue
        held = list(dict.fromkeys(split for row in counts.values() for split in row))
        splits = [s for s in SPLITS if s in held] + [s for s in held if s not in SPLITS]
        table = [[label, *(row.get(s, 0) for s in splits)] for label, row in counts.items()]
        table.append(["Total", *(sum(column) for column in list(zip(*table, strict=True))[1:])])
        notes = []
        if (subjects := facts.get("subjects")) is not None:
            parts = [f"{name_of(split)} {number(n)}" for split, n in as_dict(subjects).items()] or [number(subjects)]
            notes.append(f"Subjects: {', '.join(parts)}.")
        if labels := facts.get("left_out_labels"):
            notes.append(f"Labels left out: {_listed(labels)}.")
        columns = [Column("Label", numeric=False), *(Column(name_of(s)) for s in splits)]
        rows = [[str(label), *map(number, cells)] for label, *cells in table]
        if len(splits) > 1:
            columns.append(Column("Total"))
            rows = [[*row, number(sum(cells))] for row, (_, *cells) in zip(rows, table, strict=True)]
        tables.append(Table(f"{name_of(modality, data)}: number of files", columns, rows, notes))
    return tables


def condensation_tables(condensation: dict) -> list[Table]:
    """Size of the condensed sets and of the generator beside that of the real images they were made from."""
    images, size, generator = (condensation.get(key) for key in ("real_images", "data_bytes", "generator_bytes"))
    rows = [["Real training images", number(images), NOTHING, byte_size(size), NOTHING]] if images is not None else []
    for per_class, entry in as_dict(condensation.get("ipc")).items():
        count, ratio = (as_dict(entry).get(key) for key in ("images", "ratio"))
        rows.append([condensed_name(per_class), number(count), percent(ratio), NOTHING, NOTHING])
    if is_number(generator):
        share = percent(generator / size) if is_number(size) and size > 0 else NOTHING
        rows.append(["Generator", NOTHING, NOTHING, byte_size(generator), share])
    if not rows:
        return []
    columns = [Column("What", numeric=False), Column("Images"), Column("Of the real images")]
    columns += [Column("Size"), Column("Of the real size")]
    return [Table("Size", columns, rows, _condensation_notes(condensation))]


def _condensation_notes(condensation: dict) -> list[str]:
    notes = []
    if method := condensation.get("method"):
        notes.append(f"Method: {name_of(str(method))}.")
    if prior := condensation.get("input_prior"):
        start = {"class": "class statistics that it holds", "mae": "draws of a masked autoencoder that it holds"}
        start["real"] = "real images, which the receiver lacks"
        notes.append(f"The generator starts from {start.get(str(prior), prior)}.")
    if is_number(parameters := condensation.get("parameters")):
        notes.append(f"The generator has {number(parameters)} parameters.")
    notes = [" ".join(notes)] if notes else []
    if is_number(attention := condensation.get("mean_attention")):
        notes.append(
            f"Mean attention: {number(attention)}, the share of a synthetic image that is taken over from what the "
            "generator starts from (1: all of it)."
        )
    return notes


def cost_tables(cost: dict) -> list[Table]:
    """Time, device, memory and speed of each phase."""
    rows = [
        [
            name_of(phase),
            duration(entry.get("seconds")),
            number(entry.get("device")),
            f"{entry['peak_memory_mb']:,.0f} MB" if is_number(entry.get("peak_memory_mb")) else NOTHING,
            number(entry.get("samples_per_s")),
        ]
        for phase, entry in cost.items()
        if isinstance(entry, dict)
    ]
    columns = [Column("Phase", numeric=False), Column("Time"), Column("Device", numeric=False)]
    columns += [Column("Peak memory"), Column("Samples per second")]
    return [Table("Time and memory", columns, rows)] if rows else []


def _listed(labels: Any) -> str:
    return ", ".join(map(str, labels)) if isinstance(labels, list) else str(labels)


def _dicts(mapping: dict) -> Iterable[dict]:
    return (value for value in mapping.values() if isinstance(value, dict))
