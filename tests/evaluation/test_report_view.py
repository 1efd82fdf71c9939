"""Sentences and tables of the report follow from its numbers."""

from __future__ import annotations

import pytest

from mmgen.evaluation import report_view
from mmgen.evaluation.report_view import NOTHING


@pytest.mark.parametrize(("seeds", "words"), [(1, "(1 seed: a rough figure)"), (3, "(mean of 3 seeds)")])
def test_few_seeds_are_named(seeds: int, words: str) -> None:
    report = {section: {} for section in ("data", "utility", "fidelity", "privacy", "cost")}
    report["utility"] = {"image": {"convnet": {"synthetic": {"accuracy": {"mean": 0.7}, "seeds": seeds}}}}
    assert report_view.summary(report) == [
        f"Images: a ConvNet trained on synthetic data reaches 0.70 accuracy on real test data {words}."
    ]


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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NOTHING),
        (0, "0"),
        (0.0, "0"),
        (True, "True"),
        (12345, "12,345"),
        (1234.5, "1,234"),
        (0.25, "0.25"),
        (-0.00012, "-1.2 \u00d7 10⁻⁴"),
        ({"mean": 0.5, "std": 0.1}, "0.5 ± 0.1"),
        ({"mean": None}, NOTHING),
    ],
)
def test_numbers_as_text(value: object, text: str) -> None:
    assert report_view.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.21, "4.2 s"), (60, "1 min 00 s"), (185.4, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_as_text(seconds: float, text: str) -> None:
    assert report_view.duration(seconds) == text
