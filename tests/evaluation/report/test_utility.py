"""Table and sentences of utility follow from the scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mmgen.evaluation.report.text import NOTHING
from mmgen.evaluation.report.utility import label_tables, utility_sentences, utility_tables
from mmgen.evaluation.scores import Confusion, Statistic, UtilityScores

COUNTS = {"image": {"counts": {"a": {"train": 9}, "b": {"train": 9}, "c": {"train": 9}, "d": {"train": 9}}}}


def scores(auc: float, n_train: int = 350, **more: Any) -> UtilityScores:
    three = [Statistic(auc, 0.01)] * 3
    return replace(UtilityScores(*three, seeds=3, n_train=n_train), **more)


def condensed(auc: float, subset: float = 0.74, full: float = 0.83) -> dict[str, UtilityScores]:
    return {
        "real": scores(full, 845),
        "random_subset@10": scores(0.6, 70),
        "random_subset@50": scores(subset),
        "synthetic@10": scores(0.99, 70),
        "synthetic@50": scores(auc),
        "synthetic_phase1@50": scores(0.98),
        "synthetic_fresh": scores(0.97, 845),
    }


@pytest.mark.parametrize(("seeds", "words"), [(1, "(1 seed: a rough figure)"), (3, "(mean of 3 seeds)")])
def test_few_seeds_are_named(seeds: int, words: str) -> None:
    results = {"synthetic": UtilityScores(Statistic(0.7), seeds=seeds)}
    assert utility_sentences("Images", "ConvNet", results, 2) == [
        f"Images: a ConvNet trained on synthetic data reaches 0.70 accuracy on real test data {words}."
    ]


def test_acronyms_have_the_article_of_their_first_letters_name() -> None:
    results = {"synthetic": UtilityScores(Statistic(0.7), seeds=3)}
    for name, words in (("MFCC + x", "an MFCC"), ("ViT + x", "a ViT"), ("MLP", "an MLP"), ("Mixer", "a Mixer")):
        assert utility_sentences("Sounds", name, results, 2)[0].startswith(f"Sounds: {words}")


def test_largest_condensed_set_is_compared_by_auc() -> None:
    assert utility_sentences("Images", "ResNet-18", condensed(0.75), 4) == [
        "Images: a ResNet-18 trained on 50 condensed samples a class reaches an AUC of 0.75 on real test data; as many "
        "random real samples give 0.74; all real data give 0.83 (mean of 3 seeds)."
    ]
    alone = {key: condensed(0.75)[key] for key in ("synthetic@50",)}
    assert utility_sentences("Images", "ConvNet", alone, 4) == [
        "Images: a ConvNet trained on 50 condensed samples a class reaches an AUC of 0.75 on real test data "
        "(mean of 3 seeds)."
    ]


def test_a_condensed_set_that_loses_is_said_to_lose() -> None:
    (lost,) = utility_sentences("Images", "ConvNet", condensed(0.69), 4)
    assert "an AUC of 0.69 on real test data and loses to as many random real samples (0.74); all real" in lost
    (near,) = utility_sentences("Images", "ConvNet", condensed(0.72), 4)
    assert "loses" not in near


def test_a_condensed_set_at_chance_is_said_to_teach_nothing() -> None:
    _, sentence = utility_sentences("Images", "ConvNet", condensed(0.52), 4)
    assert sentence == (
        "Images: trained on the condensed set, this ConvNet is no better than guessing (AUC 0.52, chance 0.50): the "
        "condensed set does not teach the labels."
    )
    assert len(utility_sentences("Images", "ConvNet", condensed(0.53), 4)) == 1
    _, blame = utility_sentences("Images", "ConvNet", condensed(0.50, 0.5, full=0.51), 4)
    assert "trained on all real data, this ConvNet is hardly better than guessing (AUC 0.51)" in blame


def test_table_has_a_group_per_classifier_and_auc_first() -> None:
    sets = condensed(0.69)
    sets["synthetic@50"] = scores(0.69, recovery=-0.56)
    (table,) = utility_tables({"image": {"convnet": sets, "resnet18": condensed(0.7)}}, COUNTS)
    names = ["Trained on", "AUC", "Balanced accuracy", "Accuracy", "Recovery", "Training samples", "Seeds"]
    assert [column.name for column in table.columns] == names
    assert table.groups == {0: "ConvNet", 7: "ResNet-18"}
    assert [row[0] for row in table.rows[:7]] == [
        "All real",
        "Random real, 10 a class",
        "Random real, 50 a class",
        "Condensed, 10 a class",
        "Condensed, 50 a class",
        "Condensed, 50 a class, after phase I",
        "Fresh synthetic samples",
    ]
    assert table.rows[4][1:] == ["0.690 ± 0.010"] * 3 + ["-56 %", "350", "3"]
    assert table.rows[3][4] == NOTHING
    chance, recovery = table.notes
    assert chance.startswith("Guessing gives: AUC 0.5, balanced accuracy 0.250 (4 classes).")
    assert recovery.startswith("Recovery:")


def test_differences_and_soft_labels_are_told() -> None:
    made = replace(scores(0.7), labels="soft", improvement_over_random=Statistic(-0.05, 0.01, (-0.0849, 0.01)))
    (table,) = utility_tables({"image": {"resnet18": {"real": scores(0.8), "synthetic": made}}}, {})
    assert [row[0] for row in table.rows] == ["Real", "Synthetic, soft labels"]
    place = [column.name for column in table.columns].index("Above random real")
    assert [row[place] for row in table.rows] == [NOTHING, "-0.050 (-0.085 to 0.010)"]
    assert "Below all real" not in [column.name for column in table.columns]
    assert table.notes[-1].startswith("Below all real, above random real: differences in AUC")


def test_table_without_condensed_sets_keeps_its_names() -> None:
    sets = {"real": scores(0.8, recovery=None), "synthetic": scores(0.7)}
    (table,) = utility_tables({"image": {"resnet18": sets, "convnet": {}}}, {})
    assert [row[0] for row in table.rows] == ["Real", "Synthetic"] and table.groups == {0: "ResNet-18"}
    assert "Recovery" not in [column.name for column in table.columns]
    assert table.notes == ["Guessing gives: AUC 0.5."]


@pytest.mark.parametrize("key", ["synthetic@", "synthetic@x", "synthetic@-1", "synthetic@0", "synthetic@²", "a@b@c"])
def test_odd_names_of_sets_break_nothing(key: str) -> None:
    results = {key: scores(0.7), "synthetic@010": UtilityScores()}
    assert utility_sentences("Images", "ConvNet", results, 2) == []
    (table,) = utility_tables({"image": {"convnet": results}}, {})
    assert len(table.rows) == 2


def test_synthetic_set_is_compared_by_auc_where_there_is_a_subset() -> None:
    results = {"real": scores(0.8), "synthetic": scores(0.7), "random_subset": scores(0.6)}
    assert utility_sentences("Images", "ConvNet", results | {"real+synthetic": scores(0.82)}, 4) == [
        "Images: a ConvNet trained on synthetic data reaches an AUC of 0.70 on real test data; as many random real "
        "samples give 0.60; all real data give 0.80; real and synthetic data together 0.82 (mean of 3 seeds)."
    ]


def test_intervals_and_folds_have_columns() -> None:
    synthetic = replace(scores(0.7, folds=5), auc=Statistic(0.7, 0.02, (0.65, 0.75)))
    (table,) = utility_tables({"image": {"convnet": {"real": scores(0.8), "synthetic": synthetic}}}, {})
    names = [column.name for column in table.columns]
    assert names[1:3] == ["AUC", "95 % interval"] and names[-1] == "Folds × seeds"
    assert table.rows[1][2] == "0.650 to 0.750" and table.rows[1][-1] == "5 × 3"
    assert table.rows[0][2] == NOTHING and table.rows[0][-1] == "3"
    (sentence,) = utility_sentences("Images", "ConvNet", {"synthetic": synthetic}, 4)
    assert sentence.endswith("(mean of 5 folds).")


def test_recall_and_confusion_have_a_table_each() -> None:
    confusion = Confusion(("covid", "healthy"), ((7, 3), (1, 1009)))
    synthetic = scores(0.7, recall={"covid": Statistic(0.7, 0.1)}, confusion=confusion)
    tables = label_tables({"image": {"convnet": {"real": scores(0.7), "synthetic": synthetic}}, "audio": {}}, {})
    (recall, counts) = tables.pop("Images")
    assert not tables
    assert recall.rows == [["Real", NOTHING], ["Synthetic", "0.700 ± 0.100"]] and recall.groups == {0: "ConvNet"}
    assert [column.name for column in counts.columns] == ["True label", "Taken for covid", "Taken for healthy"]
    assert counts.rows == [["covid", "7", "3"], ["healthy", "1", "1,009"]]
    assert "summed over 3 trainings" in counts.caption
