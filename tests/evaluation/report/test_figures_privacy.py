"""Figures of privacy: files that open, with what they must and must not show."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.privacy.results import MembershipResult
from mmgen.evaluation.report import figures_privacy as figures
from mmgen.evaluation.report.figures_privacy import pair_grid, power_figure, privacy_figures
from mmgen.evaluation.report.reading import Report

ROC = {"fpr": [0.0, 0.01, 0.2, 1.0], "tpr": [0.0, 0.05, 0.5, 1.0]}


def attack(**more: Any) -> dict[str, Any]:
    return {"auc": 0.6, "accuracy": 0.55, "chance": 0.5, "roc": ROC} | more


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def roc_figure(section: dict) -> bytes:
    return figures.roc_figure(PrivacySection.from_json(section))


def logan_bars(sections: dict[str, dict]) -> bytes:
    results = {
        method: {key: MembershipResult.from_json(entry) for key, entry in section.items()}
        for method, section in sections.items()
    }
    return figures.logan_bars(results)


def test_roc_figure_has_a_row_per_modality() -> None:
    one = pixels(roc_figure({"domias": attack()}))
    two = pixels(roc_figure({"domias/image": attack(), "domias/audio": attack(), "copies/image": {"roc": ROC}}))
    assert two.shape[0] == pytest.approx(2 * one.shape[0], abs=2)


def test_roc_figure_shows_the_curves() -> None:
    other = attack(roc={"fpr": [0.0, 0.9, 1.0], "tpr": [0.0, 0.1, 1.0]})
    assert (pixels(roc_figure({"domias": attack()})) != pixels(roc_figure({"domias": other}))).any()


@pytest.mark.parametrize("roc", [None, {"fpr": [0.0], "tpr": [0.0]}, {"fpr": [0.0, 1.0], "tpr": [0.0, None]}])
def test_entries_without_a_curve_are_left_out(roc: object) -> None:
    with pytest.raises(ValueError, match="no ROC curve"):
        roc_figure({"domias": attack(roc=roc)})
    assert privacy_figures(Report.from_json({"privacy": {"domias": attack(roc=roc)}})) == []


def test_logan_bars_are_of_logan_and_of_every_method() -> None:
    one = {"logan_black_box": attack(), "domias": attack()}
    assert (pixels(logan_bars({"A": one})) != pixels(logan_bars({"A": one, "B": one}))).any()
    np.testing.assert_array_equal(
        pixels(logan_bars({"A": one})), pixels(logan_bars({"A": {"logan_black_box": attack()}}))
    )
    with pytest.raises(ValueError, match="no LOGAN"):
        logan_bars({"A": {"domias": attack()}})


def test_privacy_figures_say_in_words_what_they_show() -> None:
    attacks = {"logan_white_box/image": attack(), "domias/image": attack()}
    report = Report.from_json({"run": "demo", "privacy": attacks})
    roc, bars = privacy_figures(report)
    assert "LOGAN, white box, images; DOMIAS, images" in roc.alt
    assert bars.alt == "Bars of accuracy: LOGAN, white box, images 0.55."
    assert {figure.section for figure in (roc, bars)} == {"privacy"} and not roc.shows_real
    assert privacy_figures(Report.from_json({})) == []
    assert [figure.png for figure in privacy_figures(report)] == [roc.png, bars.png]


def test_pairs_of_pictures_and_of_spectrograms() -> None:
    rng = np.random.default_rng(0)
    images, mels = rng.integers(0, 256, (4, 1, 9, 8), dtype=np.uint8), rng.normal(size=(4, 6, 20))
    few = pixels(pair_grid(images[:1], images[1:2], ["near copy, 3.1"]))
    many = pixels(pair_grid(images, images[::-1], ["$x_$"] * 4))
    assert many.shape[1] > 2 * few.shape[1] and many.shape[0] > 1.5 * few.shape[0]
    assert pixels(pair_grid(mels, mels, [""] * 4)).shape[0] < many.shape[0]
    with pytest.raises(ValueError, match="at least one"):
        pair_grid([], [], [])
    with pytest.raises(ValueError, match="as many"):
        pair_grid(images, images[:2], [""] * 4)


def test_differences_stand_at_the_right_of_their_pairs() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 9, 8), dtype=np.uint8)
    dark = np.zeros_like(images)
    two, three = (pixels(pair_grid(images, images, ["a", "b"], 2, more)) for more in (None, dark))
    assert three.shape[1] > 1.3 * two.shape[1]
    assert (pixels(pair_grid(images, images, ["a", "b"], 2, images)) != three).any()
    with pytest.raises(ValueError, match="as many"):
        pair_grid(images, images, ["a", "b"], 2, dark[:1])


def test_what_a_search_finds_is_drawn_with_the_weakest_first() -> None:
    search = {"power": {"shift": 0.98, "average of two": 0.61}}
    (figure,) = privacy_figures(Report.from_json({"privacy": {"disguised_copies/image": search}}))
    assert (
        figure.alt == "Bars of the share found: disguised copies, images: average of two 61 %; "
        "disguised copies, images: shift 98 %."
    )
    assert figure.section == "privacy" and not figure.shows_real
    both = PrivacySection.from_json({"disguised_copies/image": search, "disguised_copies/audio": search})
    assert pixels(power_figure(both)).shape[0] > 1.5 * pixels(figure.png).shape[0]
    with pytest.raises(ValueError, match="no power"):
        power_figure(PrivacySection.from_json({"disguised_copies": {"power": {}}}))
