"""What the report page says: sentences and tables computed from the content of ``report.json``.

Input is the cleaned report (plain JSON values, see ``report.py``); nothing here knows HTML. Parts that are missing
or have another form than expected are left out of the page, never guessed: they remain in ``report.json``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

NOTHING = "\u2013"  # en dash
SPLITS = ("train", "val", "test", "all")
SCORES = ("accuracy", "balanced_accuracy", "auc")
NAMES = {
    "image": "Images",
    "audio": "Sounds",
    "resnet18": "ResNet-18",
    "densenet121": "DenseNet-121",
    "convnet": "ConvNet",
    "vit_lora": "ViT + LoRA",
    "auc": "AUC",
    "real": "Real",
    "synthetic": "Synthetic",
    "real+synthetic": "Real + synthetic",
    "random_subset": "Random real subset",
    "kl_intensity": "KL divergence of intensities",
    "masked_patch_error": "Error on hidden patches",
    "val": "Validation",
    "all": "All",
}


@dataclass(frozen=True)
class Column:
    """One column of a table; numbers are set to the right."""

    name: str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table of finished text; the first cell of a row is its heading."""

    caption: str
    columns: list[Column]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def name_of(key: str, data: dict | None = None) -> str:
    """Readable name of a key: the ``title`` of its entry in ``data`` if there is one, else a known or derived name."""
    title = _dict(_dict(data).get(key)).get("title")
    derived = key.replace("_", " ")
    return title or NAMES.get(key) or derived[:1].upper() + derived[1:]


def number(value: Any) -> str:
    """A value as short text: three significant digits, ``mean ± std`` for ``{"mean", "std"}``, a dash for None."""
    if isinstance(value, dict):
        spread = value.get("std")
        return number(value.get("mean")) + (f" ± {number(spread)}" if spread is not None else "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NOTHING if value is None else str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if 0 < abs(value) < 1e-3:
        digits, exponent = f"{value:.1e}".split("e")
        return f"{digits} \u00d7 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return f"{value:.3g}"


def score(value: Any) -> str:
    """A score in 0..1 with three decimals, ``mean ± std`` where there are several seeds."""
    if isinstance(value, dict):
        mean, std = _mean(value), value.get("std")
        return NOTHING if mean is None else f"{mean:.3f}" + (f" ± {std:.3f}" if _is_number(std) else "")
    return f"{value:.3f}" if _is_number(value) else NOTHING


def duration(seconds: Any) -> str:
    """Seconds as ``4.2 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    if not _is_number(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def warnings(report: dict, shows_real: bool) -> list[str]:
    """Sentences about what must not happen with this result; ``shows_real``: the page holds real records."""
    sentences = []
    if not report["privacy"]:
        sentences.append("Privacy has not been audited: do not share the synthetic data or the model yet.")
    if shows_real:
        sentences.append("This page shows records of the real data (marked “Real” or “original”): do not pass it on.")
    for modality, facts in report["data"].items():
        if shared := _dict(facts).get("shared_subjects"):
            count = len(shared) if isinstance(shared, list) else shared
            sentences.append(
                f"{name_of(modality, report['data'])}: {number(count)} subjects are in more than one part of the data, "
                "so the scores are too good."
            )
    return sentences


def summary(report: dict) -> list[str]:
    """Plain sentences with the main results: utility and fidelity by modality, privacy, cost, labels left out."""
    data, sentences = report["data"], []
    for modality in dict.fromkeys([*report["utility"], *report["fidelity"]]):
        title = name_of(modality, data)
        classes = len(_dict(_dict(data.get(modality)).get("counts")))
        for classifier, results in _dict(report["utility"].get(modality)).items():
            sentences += _utility_sentences(title, name_of(classifier), _dict(results), classes)
        sentences += _fidelity_sentences(title, _dict(report["fidelity"].get(modality)))
    sentences += _privacy_sentences(report["privacy"])
    seconds = [entry["seconds"] for entry in _dicts(report["cost"]) if _is_number(entry.get("seconds"))]
    if seconds:
        devices = sorted({str(entry["device"]) for entry in _dicts(report["cost"]) if entry.get("device")})
        place = f" on {', '.join(devices)}" if devices else ""
        sentences.append(f"The measured phases took {duration(sum(seconds))}{place}.")
    for modality, facts in data.items():
        if labels := _dict(facts).get("left_out_labels"):
            sentences.append(
                f"{name_of(modality, data)}: left out because another modality lacks the label: {_listed(labels)}."
            )
    return sentences


def data_tables(data: dict) -> list[Table]:
    """Per modality: number of files per label and split, with totals."""
    tables = []
    for modality, facts in data.items():
        counts = {label: _dict(row) for label, row in _dict(_dict(facts).get("counts")).items()}
        if not counts:
            continue
        found = list(dict.fromkeys(split for row in counts.values() for split in row))
        splits = [s for s in SPLITS if s in found] + [s for s in found if s not in SPLITS]
        table = [[label, *(row.get(s) or 0 for s in splits)] for label, row in counts.items()]
        table.append(["Total", *(sum(column) for column in list(zip(*table, strict=True))[1:])])
        notes = []
        if (subjects := facts.get("subjects")) is not None:
            parts = [f"{name_of(split)} {number(n)}" for split, n in _dict(subjects).items()] or [number(subjects)]
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


def utility_tables(utility: dict, data: dict) -> list[Table]:
    """Per modality: scores on real test data, one row per classifier and training set."""
    tables = []
    for modality, classifiers in utility.items():
        results = [
            (f"{name_of(classifier)}, {name_of(source).lower()}", _dict(result))
            for classifier, by_source in _dict(classifiers).items()
            for source, result in _dict(by_source).items()
        ]
        found = dict.fromkeys(k for _, result in results for k, v in result.items() if _mean(_dict(v)) is not None)
        scores = [s for s in SCORES if s in found] + [s for s in found if s not in SCORES]
        if not scores:
            continue
        columns = [Column("Classifier, trained on", numeric=False), *(Column(name_of(s)) for s in scores)]
        columns += [Column("Training samples"), Column("Seeds")]
        rows = [
            [title, *(score(result.get(s)) for s in scores), number(result.get("n_train")), number(result.get("seeds"))]
            for title, result in results
        ]
        tables.append(Table(f"{name_of(modality, data)}: scores on real test data", columns, rows))
    return tables


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
            for title, entry in _measures(_dict(metrics))
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
            f"{entry['peak_memory_mb']:,.0f} MB" if _is_number(entry.get("peak_memory_mb")) else NOTHING,
            number(entry.get("samples_per_s")),
        ]
        for phase, entry in cost.items()
        if isinstance(entry, dict)
    ]
    columns = [Column("Phase", numeric=False), Column("Time"), Column("Device", numeric=False)]
    columns += [Column("Peak memory"), Column("Samples per second")]
    return [Table("Time and memory", columns, rows)] if rows else []


def _utility_sentences(title: str, classifier: str, results: dict, classes: int) -> list[str]:
    synthetic, real = _dict(results.get("synthetic")), _dict(results.get("real"))
    accuracy, reference = _mean(_dict(synthetic.get("accuracy"))), _mean(_dict(real.get("accuracy")))
    if accuracy is None:
        return []
    article = "an" if classifier[:1].lower() in "aeiou" else "a"
    text = f"{title}: {article} {classifier} trained on synthetic data reaches {accuracy:.2f} accuracy"
    text += " on real test data"
    text += f", {reference:.2f} when trained on real data" if reference is not None else ""
    seeds = synthetic.get("seeds")
    if _is_number(seeds):
        text += f" (mean of {seeds} seeds)" if seeds >= 3 else f" ({seeds} seed{'s' * (seeds != 1)}: a rough figure)"
    sentences = [text + "."]
    balanced = _mean(_dict(synthetic.get("balanced_accuracy")))
    real_balanced = _mean(_dict(real.get("balanced_accuracy")))
    if real_balanced is not None and classes > 1 and real_balanced <= 1 / classes + 0.05:
        sentences.append(
            f"{title}: trained on real data, this {classifier} is hardly better than guessing (balanced accuracy "
            f"{real_balanced:.2f}), so the comparison says little."
        )
    elif balanced is not None and classes > 1 and balanced <= 1 / classes + 0.02:
        sentences.append(
            f"{title}: this {classifier} is no better than guessing (balanced accuracy {balanced:.2f}, "
            f"chance {1 / classes:.2f}): the synthetic data does not teach the labels."
        )
    return sentences


def _fidelity_sentences(title: str, metrics: dict) -> list[str]:
    sentences = []
    ratio = _dict(metrics.get("masked_patch_error")).get("ratio")
    if _is_number(ratio) and ratio < 1:
        sentences.append(
            f"{title}: the model fills in hidden patches with {100 * ratio:.0f} % of the error of predicting "
            "the mean patch (lower is better)."
        )
    elif _is_number(ratio):
        sentences.append(
            f"{title}: the model fills in hidden patches no better than the mean patch does "
            f"({ratio:.2f} times its error): train longer or on more data."
        )
    kl = _dict(metrics.get("kl_intensity"))
    if _is_number(kl.get("value")) and _is_number(kl.get("real_vs_real")):
        sentences.append(
            f"{title}: the intensities of synthetic and real data are {number(kl['value'])} apart (KL divergence, "
            f"lower is better); two halves of the real data are {number(kl['real_vs_real'])} apart."
        )
    return sentences


def _privacy_sentences(privacy: dict) -> list[str]:
    aucs = {name: entry["auc"] for name, entry in privacy.items() if _is_number(_dict(entry).get("auc"))}
    if not aucs:
        return []
    strongest = max(aucs, key=aucs.__getitem__)
    best = aucs[strongest]
    return [f"Privacy: the strongest attack is {name_of(strongest)} with an AUC of {best:.2f} (0.50: chance)."]


def _measures(metrics: dict) -> list[tuple[str, dict]]:
    """(name, entry) of every measure; a metric without a value of its own may hold several that have one."""
    found = []
    for key, metric in metrics.items():
        parts = {"": metric} if "value" in _dict(metric) else {f", {k}": v for k, v in _dict(metric).items()}
        found += [(name_of(key) + part, entry) for part, entry in parts.items() if "value" in _dict(entry)]
    return found


def _references(entry: dict) -> list[tuple[str, Any]]:
    known = ("value", "real_vs_real", "better")
    return [(k, v) for k, v in entry.items() if k not in known and (_is_number(v) or _mean(_dict(v)) is not None)]


def _listed(labels: Any) -> str:
    return ", ".join(map(str, labels)) if isinstance(labels, list) else str(labels)


def _mean(value: dict) -> float | None:
    return value["mean"] if _is_number(value.get("mean")) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _dict(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _dicts(mapping: dict) -> Iterable[dict]:
    return (value for value in mapping.values() if isinstance(value, dict))
