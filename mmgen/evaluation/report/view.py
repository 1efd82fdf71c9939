"""What the report page says: sentences and tables computed from the content of ``report.json``.

Input is the cleaned report (plain JSON values, see ``report.py``); nothing here knows HTML. Parts that are missing
or have another form than expected are left out of the page, never guessed: they remain in ``report.json``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmgen.evaluation.report.text import (
    NOTHING,
    Column,
    Table,
    as_dict,
    byte_size,
    duration,
    is_number,
    mean,
    name_of,
    number,
    percent,
    score,
)
from mmgen.evaluation.report.utility import condensed_name, utility_sentences

SPLITS = ("train", "val", "test", "all")


def warnings(report: dict, shows_real: bool) -> list[str]:
    """Sentences about what must not happen with this result; ``shows_real``: the page holds real records."""
    sentences = []
    if not report["privacy"]:
        sentences.append("Privacy has not been audited: do not share the synthetic data or the model yet.")
    if shows_real:
        sentences.append(
            "This page shows records of the real data (marked “Real”, “original” or “training”): do not pass it on."
        )
    for modality, facts in report["data"].items():
        if shared := as_dict(facts).get("shared_subjects"):
            count = len(shared) if isinstance(shared, list) else shared
            sentences.append(
                f"{name_of(modality, report['data'])}: {number(count)} subjects are in more than one part of the data, "
                "so the scores are too good."
            )
    for modality, metrics in report["fidelity"].items():
        copies = as_dict(as_dict(metrics).get("nearest_training_distance")).get("exact_copies")
        if is_number(copies) and copies > 0:
            sentences.append(
                f"{name_of(modality, report['data'])}: copies of training samples are among the synthetic ones "
                f"({number(copies)} found): they must not be shared."
            )
    return sentences


def summary(report: dict) -> list[str]:
    """Plain sentences with the main results: utility and fidelity by modality, privacy, cost, labels left out."""
    data, sentences = report["data"], []
    for modality in dict.fromkeys([*report["utility"], *report["fidelity"]]):
        title = name_of(modality, data)
        classes = len(as_dict(as_dict(data.get(modality)).get("counts")))
        for classifier, results in as_dict(report["utility"].get(modality)).items():
            sentences += utility_sentences(title, name_of(classifier), as_dict(results), classes)
        sentences += _fidelity_sentences(title, as_dict(report["fidelity"].get(modality)))
    sentences += _privacy_sentences(report["privacy"])
    seconds = [entry["seconds"] for entry in _dicts(report["cost"]) if is_number(entry.get("seconds"))]
    if seconds:
        devices = sorted({str(entry["device"]) for entry in _dicts(report["cost"]) if entry.get("device")})
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
        counts = {label: as_dict(row) for label, row in as_dict(as_dict(facts).get("counts")).items()}
        if not counts:
            continue
        found = list(dict.fromkeys(split for row in counts.values() for split in row))
        splits = [s for s in SPLITS if s in found] + [s for s in found if s not in SPLITS]
        table = [[label, *(row.get(s) or 0 for s in splits)] for label, row in counts.items()]
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
        start = {"class": "class statistics that it holds", "real": "real images, which the receiver lacks"}
        notes.append(f"The generator starts from {start.get(prior, prior)}.")
    if is_number(parameters := condensation.get("parameters")):
        notes.append(f"The generator has {number(parameters)} parameters.")
    notes = [" ".join(notes)] if notes else []
    if is_number(attention := condensation.get("mean_attention")):
        notes.append(
            f"Mean attention: {number(attention)}, the share of a synthetic image that is taken over from what the "
            "generator starts from (1: all of it)."
        )
    return notes


def fidelity_tables(fidelity: dict, data: dict) -> list[Table]:
    """Per modality: each measure beside the same measure for real data, other references and the better direction."""
    columns = [Column("Measure", numeric=False), Column("Value"), Column("Real against real")]
    columns += [Column("Other references", numeric=False), Column("Better", numeric=False)]
    tables = []
    for modality, metrics in fidelity.items():
        rows = [
            [
                title,
                number(entry["value"]),
                number(entry.get("real_vs_real")),
                ", ".join(f"{name_of(k).lower()} {number(v)}" for k, v in _references(entry)) or NOTHING,
                {"lower": "↓ lower", "higher": "↑ higher"}.get(entry.get("better"), number(entry.get("better"))),
            ]
            for title, entry in _measures(as_dict(metrics))
        ]
        if rows:
            tables.append(Table(f"{name_of(modality, data)}: closeness to real data", columns, rows))
    return tables


def privacy_tables(privacy: dict) -> list[Table]:
    """Attacks with their success and their threat model; chance is an AUC of 0.5."""
    rows = [
        [
            name_of(attack),
            number(entry.get("threat_model")),
            score(entry.get("auc")),
            " to ".join(map(score, entry.get("auc_ci") or [None])),
            score(entry.get("tpr_at_1_fpr")),
            score(entry.get("tpr_at_01_fpr")),
            score(entry.get("accuracy")),
            score(entry.get("chance")),
            f"{number(entry.get('n_members'))} / {number(entry.get('n_non_members'))}",
        ]
        for attack, entry in privacy.items()
        if isinstance(entry, dict)
    ]
    names = ("AUC", "95 % interval", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "Accuracy", "Chance", "Members / others")
    columns = [Column("Attack", numeric=False), Column("Threat model", numeric=False), *map(Column, names)]
    return [Table("Attacks on the training data", columns, rows)] if rows else []


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


def _fidelity_sentences(title: str, metrics: dict) -> list[str]:
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


def _privacy_sentences(privacy: dict) -> list[str]:
    aucs = {name: entry["auc"] for name, entry in privacy.items() if is_number(as_dict(entry).get("auc"))}
    if not aucs:
        return []
    strongest = max(aucs, key=aucs.__getitem__)
    best = aucs[strongest]
    return [f"Privacy: the strongest attack is {name_of(strongest)} with an AUC of {best:.2f} (0.50: chance)."]


def _measures(metrics: dict) -> list[tuple[str, dict]]:
    """(name, entry) of every measure; a metric without a value of its own may hold several that have one."""
    found = []
    for key, metric in metrics.items():
        parts = {"": metric} if "value" in as_dict(metric) else {f", {k}": v for k, v in as_dict(metric).items()}
        found += [(name_of(key) + part, entry) for part, entry in parts.items() if "value" in as_dict(entry)]
    return found


def _references(entry: dict) -> list[tuple[str, Any]]:
    known = ("value", "real_vs_real", "better")
    return [(k, v) for k, v in entry.items() if k not in known and (is_number(v) or mean(v) is not None)]


def _listed(labels: Any) -> str:
    return ", ".join(map(str, labels)) if isinstance(labels, list) else str(labels)


def _dicts(mapping: dict) -> Iterable[dict]:
    return (value for value in mapping.values() if isinstance(value, dict))
