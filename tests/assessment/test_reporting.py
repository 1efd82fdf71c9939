"""Reports that grow: what a later command adds, what it replaces, and that drawing them again changes nothing."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small import digests

from mmgen.assessment.reporting import add_to_report, redraw, together, with_media
from mmgen.errors import UserError
from mmgen.evaluation.report.media import Figure, ReportMedia, Sample
from mmgen.evaluation.report.writing import write_report

SCORE = {"auc": {"mean": 0.8, "std": 0.0}, "balanced_accuracy": {"mean": 0.7, "std": 0.0}, "seeds": 1}
ATTACK = {
    "auc": 0.5, "auc_ci": [0.4, 0.6], "tpr_at_1_fpr": 0.0, "tpr_at_1_fpr_ci": [0.0, 0.0], "accuracy": 0.5,
    "chance": 0.5, "threat_model": "S", "n_members": 40, "n_non_members": 40, "counts": True,
    "roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]},
}  # fmt: skip
TRAINED = {
    "config": {"epochs": 3},
    "data": {"image": {"counts": {"a": {"train": 8, "test": 4}}, "subjects": 9}},
    "utility": {"image": {"vit_lora": {"real": SCORE, "synthetic@10": SCORE}, "convnet": {"real": SCORE}}},
    "fidelity": {"image": {"nearest_training_distance": {"value": 3.0, "real_vs_real": 2.0, "better": None}}},
    "cost": {"phase I": {"seconds": 3.0, "device": "cpu"}},
}
EVALUATED = {
    "data": {"image": {"counts": {"a": {"train": 7, "test": 4, "synthetic": 5}}}},
    "utility": {"image": {"convnet": {"real": SCORE, "synthetic": SCORE}}},
    "fidelity": {"image": {"frechet": {"value": 5.0, "real_vs_real": 2.0, "better": "lower"}}},
}
AUDITED = {"privacy": {"logan_black_box": ATTACK, "domias": ATTACK}}


def figure(title: str, shade: int, section: Any = "figures") -> Figure:
    png = io.BytesIO()
    Image.new("L", (8, 8), shade).save(png, "PNG")
    return Figure(title, "A caption.", "Words.", png.getvalue(), section=section)


def sample(label: str) -> Sample:
    return Sample(label, "real", np.zeros((1, 8, 8), dtype=np.uint8))


def content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def titles(folder: Path) -> list[str]:
    return [entry["title"] for entry in json.loads((folder / "media.json").read_text(encoding="utf-8"))["figures"]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose parts were written by three commands."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    media = ReportMedia([figure("Training", 50), figure("Intensities: image", 60, "fidelity")], [sample("a")])
    write_report(folder / "report", {"run": "mine", "created": "2026-01-02T03:04:05+00:00", **TRAINED}, media)
    add_to_report(folder / "evaluation", EVALUATED, ReportMedia([figure("Intensities: image", 90, "fidelity")]))
    add_to_report(folder / "audit", AUDITED, ReportMedia([figure("Nearest pairs: image", 70, "privacy")]))
    return folder


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "mine"))


def test_parts_of_a_run_come_together_in_its_report(run: Path) -> None:
    parts = {part: digests(run / part) for part in ("evaluation", "audit")}
    assert redraw(run) == run / "report" / "index.html"
    report = content(run / "report")
    assert (report["run"], report["created"]) == ("mine", "2026-01-02T03:04:05+00:00")
    assert report["config"] == TRAINED["config"] and report["cost"] == TRAINED["cost"]
    assert report["privacy"] == AUDITED["privacy"]
    assert report["data"]["image"] == {"counts": EVALUATED["data"]["image"]["counts"], "subjects": 9}
    # What was trained together stays together, and nothing of the run is lost for it.
    assert report["utility"]["image"] == {
        "vit_lora": TRAINED["utility"]["image"]["vit_lora"], "convnet": EVALUATED["utility"]["image"]["convnet"],
    }  # fmt: skip
    assert set(report["fidelity"]["image"]) == {"nearest_training_distance", "frechet"}
    assert {"Training", "Intensities: image", "Nearest pairs: image", "ROC curves of the attacks"} <= set(
        titles(run / "report")
    )
    assert len(titles(run / "report")) == len(set(titles(run / "report")))
    shown, newer = (run / part / "figures" / "intensities-image.png" for part in ("report", "evaluation"))
    assert shown.read_bytes() == newer.read_bytes()
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "DOMIAS" in page and "Fréchet" in page and "do not pass it on" in page
    assert {part: digests(run / part) for part in parts} == parts


def test_drawing_again_changes_nothing(run: Path) -> None:
    redraw(run)
    once = digests(run)
    redraw(run)
    assert digests(run) == once
    redraw(run / "audit")
    assert digests(run) == once


def test_a_run_without_a_report_of_its_own_gets_one(run: Path) -> None:
    shutil.rmtree(run / "report")
    assert redraw(run) == run / "report" / "index.html"
    report = content(run / "report")
    assert report["run"] == "mine" and report["privacy"] == AUDITED["privacy"]
    assert report["utility"] == EVALUATED["utility"]


def test_the_same_folder_keeps_what_an_earlier_command_left(tmp_path: Path) -> None:
    add_to_report(tmp_path / "out", EVALUATED, ReportMedia([figure("One", 50)], [sample("a")]))
    add_to_report(tmp_path / "out", AUDITED, ReportMedia([figure("Two", 60)]))
    report = content(tmp_path / "out")
    assert (
        report["run"] == "out" and report["utility"] == EVALUATED["utility"] and report["privacy"] == AUDITED["privacy"]
    )
    assert titles(tmp_path / "out")[:1] == ["One"] and "Two" in titles(tmp_path / "out")
    cards = json.loads((tmp_path / "out" / "media.json").read_text(encoding="utf-8"))["samples"]
    assert [card["label"] for card in cards] == ["a"]
    add_to_report(tmp_path / "out", {}, ReportMedia(samples=[sample("b")]))
    cards = json.loads((tmp_path / "out" / "media.json").read_text(encoding="utf-8"))["samples"]
    assert [card["label"] for card in cards] == ["b"]


def test_what_is_not_by_modality_is_replaced() -> None:
    old = {"privacy": {"domias": ATTACK, "copies": {"exact": 1}}, "run": "a", "data": "unknown"}
    new = {"privacy": {"domias": ATTACK}, "run": "b", "data": {"image": {"subjects": 3}}}
    assert together(old, new) == new
    assert together(new, {"data": {"audio": {"subjects": 2}}})["data"] == {
        "image": {"subjects": 3},
        "audio": {"subjects": 2},
    }
    assert together(new, {}) == new and old["run"] == "a"


def test_a_figure_keeps_its_place_when_it_is_drawn_anew() -> None:
    first, second, again = figure("One", 50), figure("Two", 50), figure("One", 99)
    shown = with_media(ReportMedia([first, second]), ReportMedia([again]))
    assert shown.figures == [again, second]


@pytest.mark.parametrize("name", ["report.json", "media.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"[1, 2]", b"\xff\xfe{}"])
@pytest.mark.parametrize("part", ["report", "audit"])
def test_a_damaged_report_is_named(run: Path, name: str, damage: bytes, part: str) -> None:
    (run / part / name).write_bytes(damage)
    before = digests(run)
    with pytest.raises(UserError, match=f"{part}/{name} is damaged"):
        redraw(run)
    assert digests(run) == before


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UserError, match=r"There is no report in .*; give the folder of a run"):
            redraw(folder)
    assert not list(tmp_path.iterdir())
