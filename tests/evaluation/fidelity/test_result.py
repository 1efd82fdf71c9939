"""Results of measures as dataclasses: near or far, and there and back as JSON."""

from __future__ import annotations

from typing import Any

import pytest

from mmgen.errors import UserError
from mmgen.evaluation.fidelity.result import FidelityResult, PatchError, fidelity_from_json
from mmgen.evaluation.typed_json import from_json

MEASURED = FidelityResult(0.5, 0.4, "lower", (0.0, None), 40, "pixels", "Biased.")
NOT_MEASURED = FidelityResult(None, None, None, (0.0, 1.0), 2, None, "Too few.")
ERROR = PatchError(0.3, baseline=0.9, ratio=1 / 3, mean_sample_baseline=0.8, single_modal=0.4)
COPIES = FidelityResult(30.0, 28.0, exact_copies=2)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"value": 0.029, "real_vs_real": 0.01, "better": "lower"}, "near"),
        ({"value": 0.031, "real_vs_real": 0.01, "better": "lower"}, "far"),
        ({"value": 0.0, "real_vs_real": 0.01, "better": "lower"}, "near"),
        ({"value": 0.02, "real_vs_real": -0.001, "better": "lower"}, "far"),
        ({"value": -0.02, "real_vs_real": 0.001, "better": "lower"}, "near"),
        ({"value": 0.7, "real_vs_real": 0.3, "better": "lower", "range": [0, 1]}, "far"),
        ({"value": 0.6, "real_vs_real": 0.3, "better": "lower", "range": [0, 1]}, "near"),
        ({"value": 0.44, "real_vs_real": 0.9, "better": "higher"}, "far"),
        ({"value": 5.0, "real_vs_real": 0.9, "better": "higher"}, "near"),
        ({"value": 0.1, "real_vs_real": 0.3, "better": None}, "far"),
        ({"value": 0.61, "real_vs_real": 0.3, "better": None}, "far"),
        ({"value": 0.59, "real_vs_real": 0.3, "better": None}, "near"),
        ({"value": 0.16, "real_vs_real": 0.3, "better": None}, "near"),
        ({"value": None, "real_vs_real": 0.3, "better": "lower"}, None),
        ({"value": 0.3, "better": "lower"}, None),
    ],
)
def test_near_and_far_are_relative_to_real_against_real(entry: dict, expected: str | None) -> None:
    assert from_json(FidelityResult, entry, "x").closeness == expected


def test_an_error_is_relative_to_its_baseline() -> None:
    far = from_json(PatchError, {"value": 0.3, "ratio": 1.01}, "x")
    assert (far.closeness, ERROR.closeness, PatchError(0.3).closeness) == ("far", "near", None)


def test_results_come_back_from_json_in_the_order_of_reports() -> None:
    section = {
        "masked_patch_error": ERROR,
        "frechet": MEASURED,
        "ms_ssim": NOT_MEASURED,
        "nearest_training_distance": COPIES,
    }
    content = {name: result.to_json() for name, result in section.items()}
    assert [list(entry) for entry in content.values()] == [
        ["value", "baseline", "ratio", "mean_sample_baseline", "better", "single_modal"],
        ["value", "real_vs_real", "better", "range", "samples", "features", "note"],
        ["value", "real_vs_real", "better", "range", "note", "samples"],
        ["value", "real_vs_real", "better", "exact_copies"],
    ]
    curves = {"variance_by_mask_ratio": {"mask_ratios": [0.5], "cross-modal": [0.1]}}
    assert fidelity_from_json({"image": content | curves}) == {"image": section}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"image": []}, "the fidelity section, image is not an object"),
        ({"image": {"frechet": 2.5}}, "the fidelity section, image, frechet is not an object but '2.5'"),
        ({"image": {"frechet": {"value": "x"}}}, "frechet, value is not a number but 'x'"),
        ({"image": {"frechet": {"value": True}}}, "value is not a number but 'True'"),
        ({"image": {"frechet": {"value": 1, "better": "<b>"}}}, "better is not one of lower, higher"),
        ({"image": {"frechet": {"value": 1, "range": [0, "1"]}}}, "range is not a number"),
        ({"image": {"nearest_training_distance": {"value": 1, "exact_copies": "no"}}}, "exact_copies is not a whole"),
    ],
)
def test_another_form_is_refused_in_one_sentence(content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fidelity_from_json(content)
