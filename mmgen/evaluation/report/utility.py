"""What the report page says about utility: the table of scores, and sentences on synthetic against real data.

A key of the form ``set@n`` is a training set of n samples a class; ``synthetic@n`` is a condensed set.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmgen.evaluation.report.text import Column, Table, as_dict, is_number, mean, name_of, number, percent, score

SCORES = ("auc", "balanced_accuracy", "accuracy")
# Below this AUC a classifier has learned nothing; and a difference in AUC of less than the second is not called a loss.
CHANCE_AUC, LOSS = 0.52, 0.03


def utility_tables(utility: dict, data: dict) -> list[Table]:
    """Per modality: scores on real test data, a group of rows per classifier, a row per training set."""
    tables = []
    for modality, classifiers in utility.items():
        groups = {
            name_of(classifier): [(name, as_dict(by_set[key])) for key, name in _set_names(as_dict(by_set)).items()]
            for classifier, by_set in as_dict(classifiers).items()
        }
        results = [result for rows in groups.values() for _, result in rows]
        found = dict.fromkeys(key for result in results for key, value in result.items() if mean(value) is not None)
        scores = [s for s in SCORES if s in found] + [s for s in found if s not in SCORES]
        if not scores:
            continue
        recovered = any(is_number(result.get("recovery")) for result in results)
        columns = [Column("Trained on", numeric=False), *(Column(name_of(s)) for s in scores)]
        columns += [Column("Recovery")] * recovered + [Column("Training samples"), Column("Seeds")]
        rows, headings = [], {}
        for classifier, sets in groups.items():
            headings |= {len(rows): classifier} if sets else {}
            for title, result in sets:
                row = [title, *(score(result.get(s)) for s in scores)]
                row += [percent(result.get("recovery"))] * recovered
                rows.append([*row, number(result.get("n_train")), number(result.get("seeds"))])
        notes = _notes(scores, len(as_dict(as_dict(data.get(modality)).get("counts"))), recovered)
        tables.append(Table(f"{name_of(modality, data)}: scores on real test data", columns, rows, notes, headings))
    return tables


def utility_sentences(title: str, classifier: str, results: dict, classes: int) -> list[str]:
    """What one classifier shows: the largest condensed set where there is one, else the synthetic set.

    Args:
        title, classifier: readable names of modality and classifier.
        results: training set -> scores.
        classes: number of labels, 0 if unknown.
    """
    sizes = [_per_class(key) for key in results if key.partition("@")[0] == "synthetic"]
    measured = [n for n in sizes if n and mean(as_dict(results.get(f"synthetic@{n}")).get("auc")) is not None]
    if measured:
        return _condensed_sentences(title, classifier, results, max(measured))
    return _synthetic_sentences(title, classifier, results, classes)


def _condensed_sentences(title: str, classifier: str, results: dict, per_class: int) -> list[str]:
    condensed = as_dict(results[f"synthetic@{per_class}"])
    auc = mean(condensed["auc"])
    subset, full = (mean(as_dict(results.get(key)).get("auc")) for key in (f"random_subset@{per_class}", "real"))
    text = f"{title}: {_a(classifier)} trained on {per_class} condensed samples a class reaches an AUC of {auc:.2f}"
    text += " on real test data"
    loses = subset is not None and auc < subset - LOSS
    text += f" and loses to as many random real samples ({subset:.2f})" if loses else ""
    references = [f"as many random real samples give {subset:.2f}"] if subset is not None and not loses else []
    references += [f"all real data give {full:.2f}"] if full is not None else []
    sentences = ["; ".join([text, *references]) + _seeds(condensed) + "."]
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
    if accuracy is None:
        return []
    text = f"{title}: {_a(classifier)} trained on synthetic data reaches {accuracy:.2f} accuracy on real test data"
    text += f", {reference:.2f} when trained on real data" if reference is not None else ""
    sentences = [text + _seeds(synthetic) + "."]
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


def condensed_name(per_class: int | str) -> str:
    """Readable name of a condensed set of so many samples a class."""
    return f"Condensed, {per_class} a class"


def _set_names(keys: Iterable[str]) -> dict[str, str]:
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
    seeds = result.get("seeds")
    if not is_number(seeds):
        return ""
    return f" (mean of {seeds} seeds)" if seeds >= 3 else f" ({seeds} seed{'s' * (seeds != 1)}: a rough figure)"


def _a(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
