"""What the report page says about utility: the table of scores, and sentences on synthetic against real data.

A key of the form ``set@n`` is a training set of n samples a class; ``synthetic@n`` is a condensed set.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmgen.evaluation.report.text import (
    NOTHING,
    Column,
    Table,
    as_dict,
    interval,
    is_number,
    mean,
    name_of,
    number,
    percent,
    score,
)

SCORES = ("auc", "balanced_accuracy", "accuracy")
# Below this AUC a classifier has learned nothing; and a difference in AUC of less than the second is not called a loss.
CHANCE_AUC, LOSS = 0.52, 0.03


def utility_tables(utility: dict, data: dict) -> list[Table]:
    """Per modality: scores on real test data, a group of rows per classifier, a row per training set."""
    tables = []
    for modality, classifiers in utility.items():
        groups = {
            name_of(classifier): [(name, as_dict(by_set[key])) for key, name in set_names(as_dict(by_set)).items()]
            for classifier, by_set in as_dict(classifiers).items()
        }
        results = [result for rows in groups.values() for _, result in rows]
        found = dict.fromkeys(key for result in results for key, value in result.items() if mean(value) is not None)
        scores = [s for s in SCORES if s in found] + [s for s in found if s not in SCORES]
        if not scores:
            continue
        recovered = any(is_number(result.get("recovery")) for result in results)
        ends = any(_interval(result) != NOTHING for result in results)
        repeated = "Folds × seeds" if any(result.get("folds") for result in results) else "Seeds"
        columns = [Column("Trained on", numeric=False)]
        for key in scores:
            columns += [Column(name_of(key))] + [Column("95 % interval")] * (ends and key == "auc")
        columns += [Column("Recovery")] * recovered
        columns += [Column("Training samples"), Column(repeated)]
        rows, headings = [], {}
        for classifier, sets in groups.items():
            headings |= {len(rows): classifier} if sets else {}
            for title, result in sets:
                row = [title]
                for key in scores:
                    row += [score(result.get(key))] + [_interval(result)] * (ends and key == "auc")
                row += [percent(result.get("recovery"))] * recovered
                rows.append([*row, number(result.get("n_train")), _repeats(result)])
        notes = _notes(scores, len(as_dict(as_dict(data.get(modality)).get("counts"))), recovered)
        tables.append(Table(f"{name_of(modality, data)}: scores on real test data", columns, rows, notes, headings))
    return tables


def label_tables(utility: dict, data: dict) -> dict[str, list[Table]]:
    """Modality -> recall of every label, and what test samples were taken for, a table per classifier and set."""
    found = {}
    for modality, classifiers in utility.items():
        entries = [
            (name_of(classifier), set_name, as_dict(by_set[key]))
            for classifier, by_set in as_dict(classifiers).items()
            for key, set_name in set_names(as_dict(by_set)).items()
        ]
        tables = [_recall_table(entries), *(_confusion_table(*entry) for entry in entries)]
        if tables := [table for table in tables if table is not None]:
            found[name_of(modality, data)] = tables
    return found


def utility_sentences(title: str, classifier: str, results: dict, classes: int) -> list[str]:
    """What one classifier shows: the largest condensed set where there is one, else the synthetic set.

    Args:
        title, classifier: readable names of modality and classifier.
        results: training set -> scores.
        classes: number of labels, 0 if unknown.
    """
    condensed = _largest_condensed(results)
    if condensed:
        return _condensed_sentences(title, classifier, results, condensed)
    return _synthetic_sentences(title, classifier, results, classes)


def compared_sets(results: dict) -> tuple[str, str]:
    """Keys of the synthetic set that is spoken of, the largest condensed one where there is one, and of as many random
    real samples."""
    size = _largest_condensed(results)
    return (f"synthetic@{size}", f"random_subset@{size}") if size else ("synthetic", "random_subset")


def _largest_condensed(results: dict) -> int:
    """Samples a class of the largest condensed set with an AUC, 0 if there is none."""
    sizes = [_per_class(key) for key in results if key.partition("@")[0] == "synthetic"]
    measured = [n for n in sizes if n and mean(as_dict(results.get(f"synthetic@{n}")).get("auc")) is not None]
    return max(measured, default=0)


def _condensed_sentences(title: str, classifier: str, results: dict, per_class: int) -> list[str]:
    condensed = as_dict(results[f"synthetic@{per_class}"])
    auc, subset, full = _aucs(results, f"synthetic@{per_class}", f"random_subset@{per_class}")
    start = f"{title}: {_a(classifier)} trained on {per_class} condensed samples a class"
    sentences = [_against_references(start, auc, subset, full) + _seeds(condensed) + "."]
    if full is not None and full <= CHANCE_AUC:
        sentences.append(
            f"{title}: trained on all real data, this {classifier} is hardly better than guessing (AUC {full:.2f}), so "
            "the comparison says little."
        )
    elif auc <= CHANCE_AUC:
        sentences.append(
            f"{title}: trained on the condensed set, this {classifier} is no better than guessing (AUC {auc:.2f}, "
            "chance 0.50): the condensed set does not teach the labels."
        )
    return sentences


def _synthetic_sentences(title: str, classifier: str, results: dict, classes: int) -> list[str]:
    synthetic, real = as_dict(results.get("synthetic")), as_dict(results.get("real"))
    accuracy, reference = mean(synthetic.get("accuracy")), mean(real.get("accuracy"))
    auc, subset, full = _aucs(results, "synthetic", "random_subset")
    start = f"{title}: {_a(classifier)} trained on synthetic data"
    if auc is not None and subset is not None:
        both = mean(as_dict(results.get("real+synthetic")).get("auc"))
        sentences = [_against_references(start, auc, subset, full, both) + _seeds(synthetic) + "."]
    elif accuracy is not None:
        text = f"{start} reaches {accuracy:.2f} accuracy on real test data"
        text += f", {reference:.2f} when trained on real data" if reference is not None else ""
        sentences = [text + _seeds(synthetic) + "."]
    else:
        return []
    balanced, real_balanced = mean(synthetic.get("balanced_accuracy")), mean(real.get("balanced_accuracy"))
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


def _aucs(results: dict, synthetic: str, subset: str) -> tuple[float | None, float | None, float | None]:
    """AUC of a synthetic set, of as many random real samples, and of all real data."""
    auc, random, full = (mean(as_dict(results.get(key)).get("auc")) for key in (synthetic, subset, "real"))
    return auc, random, full


def _against_references(
    start: str, auc: float, subset: float | None, full: float | None, both: float | None = None
) -> str:
    text = f"{start} reaches an AUC of {auc:.2f} on real test data"
    loses = subset is not None and auc < subset - LOSS
    text += f" and loses to as many random real samples ({subset:.2f})" if loses else ""
    references = [f"as many random real samples give {subset:.2f}"] if subset is not None and not loses else []
    references += [f"all real data give {full:.2f}"] if full is not None else []
    references += [f"real and synthetic data together {both:.2f}"] if full is not None and both is not None else []
    return "; ".join([text, *references])


def _recall_table(entries: list[tuple[str, str, dict]]) -> Table | None:
    recalls = [(classifier, name, as_dict(entry.get("recall"))) for classifier, name, entry in entries]
    labels = list(dict.fromkeys(label for _, _, recall in recalls for label in recall))
    if not labels:
        return None
    rows, groups, last = [], {}, None
    for classifier, name, recall in recalls:
        groups |= {len(rows): classifier} if classifier != last else {}
        last = classifier
        rows.append([name, *(score(recall.get(label)) for label in labels)])
    columns = [Column("Trained on", numeric=False), *map(Column, labels)]
    return Table("Recall: share of the test samples of each label that are recognised", columns, rows, groups=groups)


def _confusion_table(classifier: str, name: str, entry: dict) -> Table | None:
    confusion = as_dict(entry.get("confusion"))
    labels, counts = confusion.get("labels"), confusion.get("counts")
    square = isinstance(labels, list) and isinstance(counts, list) and len(counts) == len(labels)
    if not square or any(not isinstance(row, list) or len(row) != len(labels) for row in counts):
        return None
    columns = [Column("True label", numeric=False), *(Column(f"Taken for {label}") for label in labels)]
    rows = [[str(label), *map(number, row)] for label, row in zip(labels, counts, strict=True)]
    repeats = _repeats(entry)
    summed = f", summed over {repeats} trainings" if repeats not in (NOTHING, "1") else ""
    return Table(f"{classifier} trained on “{name}”: number of test samples{summed}", columns, rows)


def _interval(result: dict) -> str:
    return interval(as_dict(result.get("auc")).get("ci95"))


def _repeats(result: dict) -> str:
    """How often a classifier was trained: seeds, or folds times seeds."""
    folds, seeds = result.get("folds"), result.get("seeds")
    if not folds:
        return number(seeds)
    return f"{number(folds)} × {number(seeds)}" if is_number(seeds) else number(folds)


def condensed_name(per_class: int | str) -> str:
    """Readable name of a condensed set of so many samples a class."""
    return f"Condensed, {per_class} a class"


def set_names(keys: Iterable[str]) -> dict[str, str]:
    """Readable names of training sets by key."""
    names = {key: _set_name(key) for key in keys}
    if "real" in names and any(_per_class(key) for key in names):
        names["real"] = "All real"
    return names


def _set_name(key: str) -> str:
    per_class = _per_class(key)
    if per_class is None:
        return name_of(key)
    kind = key.partition("@")[0]
    if kind == "synthetic":
        return condensed_name(per_class)
    if kind == "synthetic_phase1":
        return f"{condensed_name(per_class)}, after phase I"
    return f"{'Random real' if kind == 'random_subset' else name_of(kind)}, {per_class} a class"


def _per_class(key: str) -> int | None:
    """The n of ``set@n``; None for any other key."""
    count = key.rpartition("@")[2] if "@" in key else ""
    return int(count) if count.isascii() and count.isdigit() else None


def _notes(scores: list[str], classes: int, recovered: bool) -> list[str]:
    chances = ["AUC 0.5"] if "auc" in scores else []
    if "balanced_accuracy" in scores and classes > 1:
        chances.append(f"balanced accuracy {score(1 / classes)} ({classes} classes)")
    notes = [f"Guessing gives: {', '.join(chances)}."] if chances else []
    if "auc" in scores and classes > 2:
        notes[0] += " AUC is the mean over the classes, each against all others."
    if recovered:
        notes.append(
            "Recovery: how much of the way from as many random real samples (0 %) to all real data (100 %) the AUC "
            "goes; below 0 % the set loses to random real samples."
        )
    return notes


def _seeds(result: dict) -> str:
    folds, seeds = result.get("folds"), result.get("seeds")
    if is_number(folds) and folds > 1:
        return f" (mean of {folds} folds)"
    if not is_number(seeds):
        return ""
    return f" (mean of {seeds} seeds)" if seeds >= 3 else f" ({seeds} seed{'s' * (seeds != 1)}: a rough figure)"


def _a(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
