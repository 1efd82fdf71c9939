"""Sentences and tables of the report follow from its numbers."""

from __future__ import annotations

from typing import Any

from mmgen.evaluation.report import view as report_view
from mmgen.evaluation.report.reading import Report
from mmgen.evaluation.report.text import NOTHING


def warnings(**sections: Any) -> list[str]:
    return report_view.warnings(Report.from_json(sections), shows_real=False)


def test_data_table_has_totals_in_split_order() -> None:
    counts = {"a": {"test": 3, "train": 10}, "b": {"train": 1200, "val": 2}}
    (table,) = report_view.data_tables({"image": {"counts": counts, "subjects": {"train": 5, "test": 2}}})
    assert [column.name for column in table.columns] == ["Label", "Train", "Validation", "Test", "Total"]
    assert table.rows == [
        ["a", "10", "0", "3", "13"],
        ["b", "1,200", "2", "0", "1,202"],
        ["Total", "1,210", "2", "3", "1,215"],
    ]
    assert table.notes == ["Subjects: Train 5, Test 2."]


def test_size_table_sets_condensed_sets_and_generator_beside_the_real_images() -> None:
    (table,) = report_view.condensation_tables(
        {
            "method": "medsynth",
            "input_prior": "class",
            "real_images": 845,
            "data_bytes": 10_000_000,
            "generator_bytes": 25_000_000,
            "ipc": {"10": {"images": 70, "ratio": 70 / 845}, "50": {"images": 350, "ratio": None}},
            "mean_attention": 0.21,
            "parameters": 2_450_123,
        }
    )
    assert [len(row) for row in table.rows] == [len(table.columns)] * 4
    assert table.rows == [
        ["Real training images", "845", NOTHING, "10.0 MB", NOTHING],
        ["Condensed, 10 a class", "70", "8.28 %", NOTHING, NOTHING],
        ["Condensed, 50 a class", "350", NOTHING, NOTHING, NOTHING],
        ["Generator", NOTHING, NOTHING, "25.0 MB", "250 %"],
    ]
    method, attention = table.notes
    assert method.startswith("Method: MedSynth.") and "class statistics" in method and "2,450,123" in method
    assert attention.startswith("Mean attention: 0.21")


def test_size_table_of_an_incomplete_section() -> None:
    assert report_view.condensation_tables({}) == []
    assert report_view.condensation_tables({"method": "medsynth"}) == []
    (table,) = report_view.condensation_tables({"generator_bytes": 500, "data_bytes": 0, "ipc": [1]})
    assert table.rows == [["Generator", NOTHING, NOTHING, "500 B", NOTHING]] and table.notes == []


def test_copies_of_training_images_are_warned_of() -> None:
    def warned(copies: int) -> list[str]:
        entry = {"value": 30.0, "real_vs_real": 28.0, "better": None, "exact_copies": copies}
        fidelity = {"image": {"nearest_training_distance": entry}}
        privacy = {"pass_through": {"share": 0.0}}
        return warnings(privacy=privacy, fidelity=fidelity)

    assert warned(0) == []
    assert warned(2) == [
        "Images: copies of training samples are among the synthetic ones (2 found): they must not be shared."
    ]


def test_a_closed_gate_is_warned_of() -> None:
    leak = {"pass_through/image": {"share": 0.1}, "pass_through/audio": {"share": 0.0}}
    (sentence,) = report_view.warnings(
        Report.from_json({"privacy": leak, "data": {}, "fidelity": {}}), shows_real=False
    )
    assert sentence.startswith("The privacy audit found too much (1 of 2 checks)")
    short = {"effort": {"fast": True}, "pass_through": {"share": 0.0}}
    (sentence,) = warnings(privacy=short, fidelity={})
    assert sentence.startswith("The privacy audit is no evidence that nothing leaks (1 of 2 checks): do not share")
    (sentence,) = report_view.warnings(
        Report.from_json({"privacy": {"refused": "x"}, "data": {}, "fidelity": {}}), shows_real=False
    )
    assert "has not been audited" in sentence
