"""Table, lights and sentences of fidelity follow from values and their references."""

from __future__ import annotations

from mmgen.evaluation.fidelity.result import Fidelity, fidelity_from_json
from mmgen.evaluation.report.fidelity import fidelity_sentences, fidelity_tables
from mmgen.evaluation.report.text import NOTHING, Mark


def of_images(entries: dict) -> Fidelity:
    return fidelity_from_json({"image": entries})


NEAR, FAR = Mark("green", "Near"), Mark("amber", "Far")


def test_table_shows_reference_and_direction() -> None:
    metrics = {
        "kl_intensity": {"value": 0.42, "real_vs_real": 5e-4, "better": "lower"},
        "masked_patch_error": {"value": 0.3, "baseline": 0.9, "ratio": 1 / 3, "better": "lower"},
        "sample_variance": {"value": 0.4, "real_vs_real": 0.6, "better": "higher"},
        "variance_by_mask_ratio": {"mask_ratios": [0.5]},
    }
    (table,) = fidelity_tables(of_images(metrics) | {"audio": {}}, {})
    assert table.rows == [
        ["KL divergence of intensities", "0.42", "5.0 \u00d7 10⁻⁴", NOTHING, "↓\u00a0lower", FAR],
        ["Error on hidden patches", "0.3", NOTHING, "baseline 0.9, ratio 0.333", "↓\u00a0lower", NEAR],
        ["Variance over samples (diversity)", "0.4", "0.6", NOTHING, "↑\u00a0higher", NEAR],
    ]


def test_columns_and_notes_that_nothing_fills_are_left_out() -> None:
    entry = {"value": None, "real_vs_real": None, "better": "lower", "note": "Too few samples."}
    (table,) = fidelity_tables(of_images({"frechet": entry}), {})
    assert table.rows == [["Fréchet distance", NOTHING, NOTHING, "↓\u00a0lower"]]
    assert table.notes == ["Fréchet distance: Too few samples."]


def test_range_features_and_samples_are_said() -> None:
    entry = {"value": 0.5, "real_vs_real": 0.9, "better": "higher", "range": [0.0, 1.0], "samples": 40}
    metrics = {"precision": entry | {"features": "pixels"}, "density": entry | {"range": [0.0, None], "samples": 30}}
    (table,) = fidelity_tables(of_images(metrics), {})
    assert [row[-2] for row in table.rows] == ["0 to 1", "0 and up"]
    assert table.notes == [
        "Precision: in the feature space pixels.",
        "Samples on either side: 40 (Precision); 30 (Density).",
    ]


def test_distance_to_training_images_has_no_better_direction() -> None:
    entry = {"value": 30.0, "real_vs_real": 28.0, "better": None, "exact_copies": 0}
    (table,) = fidelity_tables(of_images({"nearest_training_distance": entry}), {})
    name = "Distance to the nearest training image"
    assert table.rows == [[name, "30", "28", "exact copies of training images 0", NOTHING, NEAR]]


def test_sharpness_is_one_sentence_of_four_values_and_four_verdicts() -> None:
    values = {"spectrum_coarse": 1.27, "spectrum_middle": 0.82, "spectrum_fine": 0.31, "spectrum_finest": 2.65}
    metrics = {name: {"value": value, "real_vs_real": 0.97, "better": None} for name, value in values.items()}
    metrics["seams"] = {"value": 4.2, "real_vs_real": 1.1, "better": None}
    metrics["kl_intensity"] = {"value": 0.4, "real_vs_real": 0.1, "better": "lower"}
    results = of_images(metrics)["image"]
    sharpness, intensities, seams = fidelity_sentences("Images", results)
    assert sharpness.startswith("Images: sharpness: ") and "0.3 and 0.5 cycles a pixel" in sharpness
    assert "have 1.27 / 0.82 / 0.31 / 2.65 times" in sharpness and "0.97 / 0.97 / 0.97 / 0.97 times" in sharpness
    assert "are 0.4 apart" in intensities and seams.endswith(": seams between patches 4.2 against 1.1.")
    (table,) = fidelity_tables({"image": results}, {})
    assert [row[0] for row in table.rows if row[-1] == NEAR] == [
        "Sharpness, 0.02 to 0.1 cycles a pixel",
        "Sharpness, 0.1 to 0.2 cycles a pixel",
    ]
    assert not fidelity_sentences("Images", of_images({"spectrum_fine": {"value": None, "better": None}})["image"])


def test_sentences_sort_measures_into_far_and_near() -> None:
    metrics = {
        "kernel_distance": {"value": 0.02, "real_vs_real": 0.001, "better": "lower"},
        "precision": {"value": 0.3, "real_vs_real": 0.9, "better": "higher"},
        "recall": {"value": 0.8, "real_vs_real": 0.9, "better": "higher"},
        "frechet": {"value": None, "real_vs_real": None, "better": "lower"},
    }
    assert fidelity_sentences("Images", of_images(metrics)["image"]) == [
        "Images: far from what real data reach among themselves: kernel distance (KID) 0.02 against 0.001; precision "
        "0.3 against 0.9.",
        "Images: near what real data reach among themselves: recall.",
    ]
