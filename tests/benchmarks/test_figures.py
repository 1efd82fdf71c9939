"""The papers' figures from small invented reports: what is in the files, and what is said of what is not."""

from __future__ import annotations

import copy
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small import PROJECT

SCRIPT = PROJECT / "benchmarks" / "figures.py"
COST = {"evaluate": {"seconds": 65.0, "device": "cuda"}}


def scores(auc: float, accuracy: float, seeds: int = 3) -> dict[str, Any]:
    found = {"auc": {"mean": auc, "std": 0.01}, "accuracy": {"mean": accuracy, "std": 0.02}}
    return found | {"seeds": seeds}


def attack(accuracy: float, **more: Any) -> dict[str, Any]:
    entry = {"auc": 0.5, "auc_ci": [0.4, 0.6], "accuracy": accuracy, "chance": 0.5, "counts": True}
    return entry | {"n_members": 30, "n_non_members": 31} | more


def kl(value: float, real: float) -> dict[str, Any]:
    return {"kl_intensity": {"value": value, "real_vs_real": real, "better": "lower"}}


def mae_report() -> dict[str, Any]:
    curve = {"mask_ratios": [0.1, 0.9], "cross-modal": [0.8, 0.3], "single-modal": [0.7, 0.2]}
    measures = {
        "masked_patch_error": {"value": 0.3},
        "sample_variance": {"value": 0.5, "real_vs_real": 0.6},
        "variance_by_mask_ratio": curve,
    }
    sets = {"real": scores(0.8, 0.7), "synthetic": scores(0.75, 0.65)}
    return {
        "data": {"image": {"counts": {"covid": {}, "healthy": {}}}, "audio": {"counts": {"covid": {}, "healthy": {}}}},
        "utility": {"image": {"resnet18": sets}, "audio": {"resnet18": sets}},
        "fidelity": {"image": measures | kl(0.25, 0.01), "audio": copy.deepcopy(measures) | kl(0.125, 0.02)},
        "privacy": {},
        "cost": COST,
    }


def gan_report(*labels: str) -> dict[str, Any]:
    sets = {"real": scores(0.9, 0.8, 1), "synthetic@50": scores(0.85, 0.7, 1), "synthetic_fresh": scores(0.88, 0.7)}
    return {
        "data": {"image": {"counts": {label: {} for label in labels}, "shared_subjects": 7}},
        "utility": {"image": {"vit_lora": sets, "convnet": sets}},
        "fidelity": {"image": kl(0.5, 0.03)},
        "privacy": {},
        "cost": COST,
    }


ISIC = gan_report("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
ATTACKS = {
    "logan_black_box": attack(0.53),
    "logan_black_box_paper": attack(0.41, counts=False),
    "logan_white_box": attack(0.62),
    "logan_white_box_paper": attack(0.94, counts=False),
    "domias": attack(0.77),
}


def without(report: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A report without some sections or measures: what need not be drawn takes no time."""
    kept = {key: value for key, value in report.items() if key not in keys}
    measures = kept.get("fidelity", {}).items()
    return kept | {"fidelity": {m: {k: v for k, v in of.items() if k not in keys} for m, of in measures}}


def put(folder: Path, report: dict[str, Any] | None = None, privacy: dict[str, Any] | None = None) -> Path:
    """A run of these reports."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"report/report.json": report, "audit/privacy.json": None if privacy is None else {"privacy": privacy}}
    for name, content in parts.items():
        if content is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Run the script on these runs; the folder it writes."""
    monkeypatch.syspath_prepend(SCRIPT.parent)  # as where a script is started

    def call(*runs: Path) -> Path:
        out = tmp_path / "out"
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--runs", *map(str, runs), "--out", str(out)])
        run_path(str(SCRIPT), run_name="__main__")
        return out

    return call


@pytest.fixture
def refused(draw: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the script says when it refuses these runs."""

    def call(*runs: Path) -> str:
        with pytest.raises(SystemExit) as stop:
            draw(*runs)
        assert stop.value.code == 2
        return capfd.readouterr().err.strip()

    return call


def rows(path: Path) -> list[list[str]]:
    """Cells of the table in a Markdown file, heads and rule left out; every row has as many as the head."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert all(len(row) == len(cells[0]) for row in cells)
    return cells[2:]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_all_figures_of_two_runs(draw: Callable[..., Path], tmp_path: Path) -> None:
    out = draw(put(tmp_path / "mae", mae_report(), ATTACKS), put(tmp_path / "gan", ISIC, ATTACKS))
    tables = {"kl.md", "generalisation.md", "logan.md", "index.md"}
    pictures = {"variance.png", "generalisation.png", "logan.png"}
    assert {path.name for path in out.iterdir()} == tables | pictures
    texts = {name: (out / name).read_text(encoding="utf-8") for name in tables}
    linked = pictures | {"generalisation.md", "logan.md"}
    assert texts["index.md"].count("From: ") == 4 and all(f"({name})" in texts["index.md"] for name in linked)
    assert rows(out / "index.md") == rows(out / "kl.md")
    assert not any(str(tmp_path) in text for text in texts.values())
    assert all(pixels(out / name).std() > 10 for name in pictures)
    split = "; 7 subjects are on both sides of the split)."
    assert f"From: mae (cuda, 1 min 05 s), gan (cuda, 1 min 05 s{split}" in texts["kl.md"]
    assert f"From: mae (device and seconds unknown), gan (device and seconds unknown{split}" in texts["logan.md"]
    # Nothing is said of a run that lacks nothing.
    assert texts["index.md"].endswith("## What runs lack\n\n* gan: no variance by masking ratio\n")


def test_what_runs_lack_is_named(draw: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    mae = without(mae_report(), "utility")
    for measures in mae["fidelity"].values():
        del measures["variance_by_mask_ratio"]["single-modal"]
    sounds = {"logan_black_box/image": attack(0.5), "logan_black_box/audio": attack(0.6)}
    runs = {
        "mae": put(tmp_path / "mae", mae, sounds),
        "gan": put(tmp_path / "gan", without(ISIC, "utility")),
        "refused": put(tmp_path / "refused", None, {"refused": "No members."}),
    }
    index = (draw(*runs.values()) / "index.md").read_text(encoding="utf-8")
    for name, lacking in (
        ("mae", "no single-modal variance, no utility, no white-box LOGAN"),
        ("gan", "no variance by masking ratio, no utility, no audit"),
        ("refused", "no KL divergence, no variance by masking ratio, no utility, no audit (No members)"),
    ):
        assert f"* {name}: {lacking}\n" in index and f"{runs[name]}: {lacking}" in caplog.messages
    assert "refused (" not in index  # it is the origin of nothing


def test_kl_stands_beside_real_data_and_the_paper(draw: Callable[..., Path], tmp_path: Path) -> None:
    mae, gan = without(mae_report(), "utility", "variance_by_mask_ratio"), without(ISIC, "utility")
    reports = {"a|b": mae, "gan": gan, "phantoms": mae | {"config": {"images": None}}}
    out = draw(*(put(tmp_path / name, report) for name, report in reports.items()))
    paper, none = ["6.84", "5.0 × 10⁻⁴"], ["–", "–"]
    assert rows(out / "kl.md") == [
        ["a|b", "Images", "0.25", "0.01", *paper],
        ["a|b", "Sounds", "0.125", "0.02", *paper],
        ["gan", "Images", "0.5", "0.03", *none],
        ["phantoms", "Images", "0.25", "0.01", *none],
        ["phantoms", "Sounds", "0.125", "0.02", *none],
    ]


def test_scores_stand_beside_those_of_the_paper(draw: Callable[..., Path], tmp_path: Path) -> None:
    other = gan_report("mel", "nv", "else")
    alzheimer = gan_report("Mild_Demented", "Moderate_Demented", "Non_Demented", "Very_Mild_Demented")
    runs = {"isic": ISIC, "alzheimer": alzheimer, "other": other}
    runs["mae"] = without(mae_report(), "variance_by_mask_ratio")
    table = rows(draw(*(put(tmp_path / name, report) for name, report in runs.items())) / "generalisation.md")
    found = {tuple(row[:4]): row[4:] for row in table}
    assert len(found) == len(table) == 3 * 6 + 4
    assert found["isic", "Images", "ViT + LoRA", "Condensed, 50 a class"] == ["0.850", "0.700", "0.831", "0.855", "1"]
    assert found["isic", "Images", "ViT + LoRA", "Fresh synthetic samples"][2:] == ["–", "–", "3"]
    assert found["alzheimer", "Images", "ViT + LoRA", "All real"] == ["0.900", "0.800", "0.972", "0.988", "1"]
    assert found["isic", "Images", "ConvNet", "All real"][2:4] == ["–", "–"]
    assert found["other", "Images", "ViT + LoRA", "All real"][2:4] == ["–", "–"]
    assert found["mae", "Sounds", "ResNet-18", "Synthetic"] == ["0.750 ± 0.010", "0.650 ± 0.020", "–", "0.620", "3"]
    assert found["mae", "Images", "ResNet-18", "Synthetic"][2:4] == ["–", "–"]


def test_logan_has_both_boxes_against_real_and_synthetic(draw: Callable[..., Path], tmp_path: Path) -> None:
    table = rows(draw(put(tmp_path / "gan", without(ISIC, "utility"), ATTACKS)) / "logan.md")
    real, synthetic = "held-out real records", "synthetic records"
    assert [row[2:7] for row in table] == [
        ["LOGAN, white box", real, "0.620", "0.500", "–"],
        ["LOGAN, black box", real, "0.530", "0.500", "–"],
        ["LOGAN, white box, as in the paper", synthetic, "0.940", "0.500", "below chance"],
        ["LOGAN, black box, as in the paper", synthetic, "0.410", "0.500", "below chance"],
    ]
    assert table[0][7:] == ["0.500 (0.400 to 0.600)", "30 / 31"]


def test_an_audit_replaces_what_the_report_had(draw: Callable[..., Path], tmp_path: Path) -> None:
    phantoms = without(mae_report(), "utility", "variance_by_mask_ratio") | {"config": {"images": None}}
    run = put(tmp_path / "mae", phantoms | {"privacy": {"logan_white_box": attack(0.11)}})
    assert rows(draw(run) / "logan.md")[0][4] == "0.110"
    (run / "audit").mkdir()
    audited = {"config": {}, "fidelity": {}, "privacy": {"logan_white_box": attack(0.22)}}
    (run / "audit" / "report.json").write_text(json.dumps(audited), encoding="utf-8")
    out = draw(run)
    assert rows(out / "logan.md")[0][4] == "0.220"
    assert [row[4] for row in rows(out / "kl.md")] == ["–", "–"]  # still known as phantoms
    assert rows(draw(put(run, None, {"logan_white_box": attack(0.33)})) / "logan.md")[0][4] == "0.330"


def test_pictures_show_every_run_and_its_values(draw: Callable[..., Path], tmp_path: Path) -> None:
    reports = [mae_report(), mae_report()]
    reports[1]["utility"]["image"] = {"resnet18": {"real": scores(0.6, 0.5)}}  # sounds are as they were
    reports[1]["fidelity"]["audio"]["variance_by_mask_ratio"]["single-modal"] = [0.1, 0.75]
    out = draw(*(put(tmp_path / name, report, ATTACKS) for name, report in zip("ab", reports, strict=True)))
    halves = {path.stem: np.split(pixels(path), 2) for path in out.glob("*.png")}
    heading = slice(51)  # with the run's name
    for first, second in halves.values():
        assert (first[heading] != second[heading]).any()
        assert first[heading].min() < 100 and second[heading].min() < 100
    np.testing.assert_array_equal(*(half[51:] for half in halves["logan"]))
    for stem in ("variance", "generalisation"):
        assert (halves[stem][0][51:] != halves[stem][1][51:]).any()


def test_a_json_file_will_do(draw: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "small.run.json"
    file.write_text(json.dumps(without(ISIC, "utility")), encoding="utf-8")
    (tmp_path / "odd.json").write_text(json.dumps({"rows": [1], "utility": None}), encoding="utf-8")
    out = draw(file, tmp_path / "odd.json")
    assert [row[0] for row in rows(out / "kl.md")] == ["small.run"]
    assert "* odd: no KL divergence" in (out / "index.md").read_text(encoding="utf-8")


def test_runs_of_one_name_are_told_apart(draw: Callable[..., Path], tmp_path: Path) -> None:
    report = without(ISIC, "utility")
    out = draw(put(tmp_path / "x" / "run", report), put(tmp_path / "y" / "run", report))
    assert [row[0] for row in rows(out / "kl.md")] == ["x/run", "y/run"]


def test_what_cannot_be_shown_is_refused_in_one_sentence(refused: Callable[..., str], tmp_path: Path) -> None:
    good, empty = put(tmp_path / "good", ISIC), put(tmp_path / "empty")
    damaged = tmp_path / "bad.json"
    damaged.write_text("{", encoding="utf-8")
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    crooked = mae_report()
    crooked["fidelity"]["audio"]["variance_by_mask_ratio"]["single-modal"] = [0.5]
    for runs, words in (
        ([empty], f"nothing to show in {empty}; evaluate or audit"),
        ([tmp_path / "none"], f"no run at {tmp_path / 'none'};"),
        ([damaged], f"{damaged} is damaged"),
        ([tmp_path / "list.json"], "list.json holds no sections"),
        ([good, good], f"names {good} twice"),
        ([put(tmp_path / "crooked", crooked)], "crooked do not fit their masking ratios"),
        ([], "--runs names no run"),
    ):
        said = refused(*runs)
        assert said.startswith("error: ") and words in said and len(said.splitlines()) == 1
        assert not (tmp_path / "out").exists()
