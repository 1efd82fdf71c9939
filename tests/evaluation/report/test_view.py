"""Sentences and tables of the report follow from its numbers."""

from __future__ import annotations

from mmgen.evaluation.report import view as report_view
from mmgen.evaluation.report.text import NOTHING


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


def test_fidelity_table_shows_reference_and_direction() -> None:
    metrics = {
        "kl_intensity": {"value": 0.42, "real_vs_real": 5e-4, "better": "lower"},
        "masked_patch_error": {"value": 0.3, "baseline": 0.9, "ratio": 1 / 3, "better": "lower"},
        "variance": {"cross-modal": {"value": 0.4, "real_vs_real": 0.8, "better": "higher"}, "ratios": [0.5]},
        "curve": [1, 2, 3],
    }
    (table,) = report_view.fidelity_tables({"image": metrics, "audio": {}}, {})
    assert table.rows == [
        ["KL divergence of intensities", "0.42", "5.0 \u00d7 10⁻⁴", NOTHING, "↓ lower"],
        ["Error on hidden patches", "0.3", NOTHING, "baseline 0.9, ratio 0.333", "↓ lower"],
        ["Variance, cross-modal", "0.4", "0.8", NOTHING, "↑ higher"],
    ]


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
        return report_view.warnings({"privacy": {"a": {}}, "data": {}, "fidelity": fidelity}, shows_real=False)

    assert warned(0) == []
    assert warned(2) == [
        "Images: copies of training samples are among the synthetic ones (2 found): they must not be shared."
    ]


def test_distance_to_training_images_has_no_better_direction() -> None:
    entry = {"value": 30.0, "real_vs_real": 28.0, "better": None, "exact_copies": 0}
    (table,) = report_view.fidelity_tables({"image": {"nearest_training_distance": entry}}, {})
    assert table.rows == [
        ["Distance to the nearest training image", "30", "28", "exact copies of training images 0", NOTHING]
    ]
