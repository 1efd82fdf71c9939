"""Utility on the report page: the table of scores, and sentences on synthetic against real data.

A key of the form ``set@n`` is a training set of n samples a class; ``synthetic@n`` is a condensed set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmgen.evaluation.report.text import NOTHING, Column, Table, as_dict, interval, name_of, number, percent, score
from mmgen.evaluation.scores import Statistic, Utility, UtilityScores

Scores = Mapping[str, UtilityScores]
SCORES = ("auc", "balanced_accuracy", "accuracy")
DIFFERENCES = {"hard_label_recovery": "Below all real", "improvement_over_random": "Above random real"}
# Below this AUC a classifier has learned nothing; and a difference in AUC of less than the second is not called a loss.
CHANCE_AUC, LOSS = 0.52, 0.03


def utility_tables(utility: Utility, data: dict) -> list[Table]:
    """Per modality: scores on real test data, a group of rows per classifier, a row per training set."""
    tables = []
    for modality, classifiers in utility.items():
        groups = {name_of(key): _named(by_set) for key, by_set in classifiers.items()}
        results = [result for sets in groups.values() for _, result in sets]
        scores = [key for key in SCORES if any(getattr(result, key) is not None for result in results)]
        if not scores:
            continue
        recovered = any(result.recovery is not None for result in results)
        differences = [key for key in DIFFERENCES if any(getattr(result, key) is not None for result in results)]
        ends = any(_interval(result) != NOTHING for result in results)
        columns = [Column("Trained on", numeric=False)]
        for key in scores:
            columns += [Column(name_of(key))] + [Column("95 % interval")] * (ends and key == "auc")
        columns += [Column("Recovery")] * recovered + [Column(DIFFERENCES[key]) for key in differences]
        columns += [Column("Training samples"), Column("Folds × seeds" if any(r.folds for r in results) else "Seeds")]
        rows, headings = [], {}
        for classifier, sets in groups.items():
            headings |= {len(rows): classifier} if sets else {}
            for title, result in sets:
                row = [title]
                for key in scores:
                    row += [score(getattr(result, key))] + [_interval(result)] * (ends and key == "auc")
                row += [percent(result.recovery)] * recovered
                row += [_difference(getattr(result, key)) for key in differences]
                rows.append([*row, number(result.n_train), _repeats(result)])
        notes = _notes(scores, len(as_dict(as_dict(data.get(modality)).get("counts"))), recovered, differences)
        tables.append(Table(f"{name_of(modality, data)}: scores on real test data", columns, rows, notes, headings))
    return tables


def label_tables(utility: Utility, data: dict) -> dict[str, list[Table]]:
    """Modality -> recall of every label, and what test samples were taken for, a table per classifier and set."""
    by_modality = {}
    for modality, classifiers in utility.items():
        entries = [
            (name_of(classifier), title, result)
            for classifier, by_set in classifiers.items()
            for title, result in _named(by_set)
        ]
        tables = [_confusion_table(classifier, title, r) for classifier, title, r in entries if r.confusion is not None]
        if any(result.recall for *_, result in entries):
            tables.insert(0, _recall_table(entries))
        if tables:
            by_modality[name_of(modality, data)] = tables
    return by_modality


def utility_sentences(title: str, classifier: str, results: Scores, classes: int) -> list[str]:
    """Sentences on one classifier: the largest condensed set where there is one, else the synthetic set.

    Args:
        title, classifier: readable names of modality and classifier.
        results: training set -> scores.
        classes: number of labels, 0 if unknown.
    """
    if condensed := _largest_condensed(results):
        return _condensed_sentences(title, classifier, results, condensed)
    return _synthetic_sentences(title, classifier, results, classes)


def compared_sets(results: Scores) -> tuple[str, str]:
    """Keys of the synthetic set that is spoken of, the largest condensed one where there is one, and of as many random
    real samples."""
    size = _largest_condensed(results)
    return (f"synthetic@{size}", f"random_subset@{size}") if size else ("synthetic", "random_subset")


def mean_of(results: Scores, key: str, name: str = "auc") -> float | None:
    """Mean of a score of a training set, if it was measured."""
    statistic = getattr(results[key], name) if key in results else None
    return None if statistic is None else statistic.mean


def _largest_condensed(results: Scores) -> int:
    """Samples a class of the largest condensed set with an AUC, 0 if there is none."""
    sizes = [_per_class(key) for key in results if key.partition("@")[0] == "synthetic"]
    return max((n for n in sizes if n and mean_of(results, f"synthetic@{n}") is not None), default=0)


def _condensed_sentences(title: str, classifier: str, results: Scores, per_class: int) -> list[str]:
    condensed, subset = f"synthetic@{per_class}", f"random_subset@{per_class}"
    auc, random, full = (mean_of(results, key) for key in (condensed, subset, "real"))
    start = f"{title}: {_a(classifier)} trained on {per_class} condensed samples a class"
    sentences = [_against_references(start, auc, random, full) + _seeds(results[condensed]) + "."]
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


def _synthetic_sentences(title: str, classifier: str, results: Scores, classes: int) -> list[str]:
    accuracy, balanced = (mean_of(results, "synthetic", name) for name in ("accuracy", "balanced_accuracy"))
    real_accuracy, real_balanced = (mean_of(results, "real", name) for name in ("accuracy", "balanced_accuracy"))
    auc, random, full = (mean_of(results, key) for key in ("synthetic", "random_subset", "real"))
    start = f"{title}: {_a(classifier)} trained on synthetic data"
    if auc is not None and random is not None:
        text = _against_references(start, auc, random, full, mean_of(results, "real+synthetic"))
    elif accuracy is not None:
        text = f"{start} reaches {accuracy:.2f} accuracy on real test data"
        text += f", {real_accuracy:.2f} when trained on real data" if real_accuracy is not None else ""
    else:
        return []
    sentences = [text + _seeds(results["synthetic"]) + "."]
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


def _recall_table(entries: list[tuple[str, str, UtilityScores]]) -> Table:
    labels = list(dict.fromkeys(label for *_, result in entries for label in result.recall))
    rows, groups = [], {}
    for classifier, title, result in entries:
        groups |= {} if classifier in groups.values() else {len(rows): classifier}
        rows.append([title, *(score(result.recall.get(label)) for label in labels)])
    columns = [Column("Trained on", numeric=False), *map(Column, labels)]
    return Table("Recall: share of the test samples of each label that are recognised", columns, rows, groups=groups)


def _confusion_table(classifier: str, title: str, result: UtilityScores) -> Table:
    labels = result.confusion.labels
    columns = [Column("True label", numeric=False), *(Column(f"Taken for {label}") for label in labels)]
    rows = [[label, *map(number, row)] for label, row in zip(labels, result.confusion.counts, strict=True)]
    repeats = _repeats(result)
    summed = f", summed over {repeats} trainings" if repeats not in (NOTHING, "1") else ""
    return Table(f"{classifier} trained on “{title}”: number of test samples{summed}", columns, rows)


def _interval(result: UtilityScores) -> str:
    return NOTHING if result.auc is None else interval(result.auc.ci95)


def _repeats(result: UtilityScores) -> str:
    """How often a classifier was trained: seeds, or folds times seeds."""
    if not result.folds:
        return number(result.seeds)
    return number(result.folds) + ("" if result.seeds is None else f" × {number(result.seeds)}")


def condensed_name(per_class: int | str) -> str:
    """Readable name of a condensed set of so many samples a class."""
    return f"Condensed, {per_class} a class"


def set_names(keys: Iterable[str]) -> dict[str, str]:
    """Readable names of training sets by key."""
    names = {key: _set_name(key) for key in keys}
    if "real" in names and any(_per_class(key) for key in names):
        names["real"] = "All real"
    return names


def _named(results: Scores) -> list[tuple[str, UtilityScores]]:
    """Readable names of training sets, and their scores."""
    return [(f"{title}{of_labels(results[key])}", results[key]) for key, title in set_names(results).items()]


def of_labels(result: UtilityScores) -> str:
    """End of a training set's name: ", soft labels" where these were learnt, nothing otherwise."""
    return ", soft labels" if result.labels == "soft" else ""


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


def _difference(statistic: Statistic | None) -> str:
    """A difference in AUC, and its interval where there is one."""
    if statistic is None:
        return NOTHING
    ends = interval(statistic.ci95)
    return f"{statistic.mean:.3f}" + ("" if ends == NOTHING else f" ({ends})")


def _notes(scores: list[str], classes: int, recovered: bool, differences: list[str]) -> list[str]:
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
    if differences:
        notes.append(
            "Below all real, above random real: differences in AUC of trainings with the same seed, with their 95 % "
            "interval; an interval that holds 0 shows no difference."
        )
    return notes


def _seeds(result: UtilityScores) -> str:
    if result.folds is not None and result.folds > 1:
        return f" (mean of {result.folds} folds)"
    if (seeds := result.seeds) is None:
        return ""
    return f" (mean of {seeds} seeds)" if seeds >= 3 else f" ({seeds} seed{'s' * (seeds != 1)}: a rough figure)"


def _a(name: str) -> str:
    # An acronym is said letter by letter: an MFCC.
    vowel = name[:1] in "AEFHILMNORSX" if name[:2].isupper() else name[:1].lower() in "aeiou"
    return f"{'an' if vowel else 'a'} {name}"
