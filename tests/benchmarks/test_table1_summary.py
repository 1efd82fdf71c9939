"""What the table says of invented rows, and what ``figures.py`` draws of them: numbers worked out by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from PIL import Image
from small import PROJECT

ISIC = ["AK", "BCC", "BKL", "DF", "MEL", "NV", "SCC", "VASC"]
WANTED = {
    "methods": ["dm", "dcgan", "medsynth"],
    "ipc": [10, 50],
    "classifiers": ["resnet18", "vit_lora"],
    "seeds": 3,
    "fresh": ["dcgan"],
}
# 0.14, 0.15 and 0.16; 0.04, 0.05 and 0.06: mean, and 4.303 deviations of the mean to either side.
SHOWN = ["+0.150 (+0.125 to +0.175)", "+0.050 (+0.025 to +0.075)"]
SIZES = {"full": 800, "fresh": 640}


def row(method: str, ipc: int | None, auc: float, seed: int = 0, **more: Any) -> dict[str, Any]:
    """A row of a folder with 800 real images of 8 classes."""
    size = SIZES["full"] if method == "full" else SIZES["fresh"] if ipc is None else 8 * ipc
    fields = {"method": method, "ipc": ipc, "fresh": ipc is None and method != "full", "classifier": "resnet18"}
    fields |= {"seed": seed, "auc": auc, "accuracy": auc - 0.1, "balanced_accuracy": auc - 0.2, "seconds": 30.0}
    fields |= {"n_train": size, "n_real": 800, "n_test": 100, "condensation_ratio": size / 800, "classes": 8}
    fields |= {"labels": ISIC, "updates": 100, "batch_size": 32, "max_side": 32, "device": "cpu"}
    return fields | {"fit_seconds": None if method in ("full", "random") else 65.0} | more


ROWS = [
    *(row("full", None, auc, seed) for seed, auc in enumerate((0.88, 0.9, 0.92))),
    *(row("random", 50, auc, seed) for seed, auc in enumerate((0.7, 0.7, 0.7))),
    *(row("dm", 50, auc, seed) for seed, auc in enumerate((0.74, 0.75, 0.76))),
    *(row("dcgan", 50, auc, seed) for seed, auc in enumerate((0.6, 0.7))),
    row("dcgan", None, 0.8),
    row("medsynth", 50, 0.85, classifier="vit_lora"),
    row("full", None, 0.7, classifier="vit_lora"),
    row("random", 50, 0.695, classifier="vit_lora"),
]


def folder_of(path: Path, rows: list[dict[str, Any]] = ROWS, wanted: dict[str, Any] = WANTED) -> Path:
    """What a run of table1.py leaves."""
    path.mkdir(parents=True)
    (path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    counts = {label: {"train": 100} for label in rows[0]["labels"]} if rows else {}
    about = {"name": "skin", "data": {"image": {"counts": counts, "shared_subjects": 7}}}
    settings = {"budget": "small", "image_size": 64, "split_column": "honest"}
    book = {"settings": settings, "wanted": wanted, "about": about}
    (path / "config.json").write_text(json.dumps(book), encoding="utf-8")
    return path


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module."""
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    import table1_summary

    return table1_summary


@pytest.fixture
def entries(summary: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Of all sets, by classifier, method, images a class and whether they are fresh."""
    from table1_rows import Wanted

    found = summary.summarise(ROWS, Wanted.read(WANTED))
    by_set = {(e["classifier"], e["method"], e["ipc"], e["fresh"]): e for e in found}
    assert len(by_set) == len(found) == 2 * (1 + 2 + 3 * 2 + 1)
    return by_set


def test_means_deviations_ratios_and_recovery(entries: dict[tuple[Any, ...], dict[str, Any]]) -> None:
    dm = entries["resnet18", "dm", 50, False]
    assert dm["auc"]["mean"] == pytest.approx(0.75) and dm["auc"]["std"] == pytest.approx(0.01)
    assert dm["accuracy"]["mean"] == pytest.approx(0.65) and dm["balanced_accuracy"]["mean"] == pytest.approx(0.55)
    assert dm["ratio"] == 0.5 and dm["n_train"] == 400 and dm["fit_seconds"] == 65
    assert dm["recovery"] == pytest.approx((0.75 - 0.7) / (0.9 - 0.7))
    assert entries["resnet18", "dcgan", 50, False]["recovery"] == pytest.approx(-0.25)
    for key in (("full", None, False), ("random", 50, False), ("dcgan", None, True), ("medsynth", 50, False)):
        assert entries["resnet18", *key]["recovery"] is None
    assert entries["vit_lora", "medsynth", 50, False]["recovery"] is None  # all real images are no better than random
    assert entries["resnet18", "dcgan", None, True]["ratio"] == 0.8
    assert (dm["seeds"], entries["resnet18", "dcgan", 50, False]["seeds"]) == (3, 2)
    # Training by training, so that the chance of a seed does not widen the interval.
    low, high = dm["improvement_over_random"]["ci95"]
    assert dm["improvement_over_random"]["mean"] == pytest.approx(0.05) and low < 0.05 < high
    assert dm["hard_label_recovery"]["mean"] == pytest.approx(0.15)
    assert entries["resnet18", "dcgan", 50, False]["improvement_over_random"]["mean"] == pytest.approx(-0.05)  # of two
    assert entries["resnet18", "random", 50, False]["improvement_over_random"] is None
    missing = entries["resnet18", "dm", 10, False]
    assert missing["seeds"] == 0 and missing["auc"] is None and missing["recovery"] is None


def test_the_papers_scores_stand_beside_the_classifier_that_it_used(
    entries: dict[tuple[Any, ...], dict[str, Any]], summary: Any
) -> None:
    shown = {key: (e["paper"]["auc"], e["paper"]["accuracy"]) for key, e in entries.items() if e["paper"]}
    assert shown == {
        ("resnet18", "dm", 50, False): (0.7790, 0.4124),
        ("resnet18", "dcgan", None, True): (0.8257, 0.8492),
        ("vit_lora", "full", None, False): (0.8619, 0.8895),
        ("vit_lora", "medsynth", 50, False): (0.8312, 0.8554),
    }
    from table1_rows import Wanted

    others = summary.summarise([one | {"labels": ["a", "b"]} for one in ROWS], Wanted.read(WANTED))
    assert not any(entry["paper"] for entry in others)
    assert "Paper" in summary.markdown(list(entries.values()), "x", [])
    assert "Paper" not in summary.markdown(others, "x", [])


def test_the_papers_table_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    import paper_numbers

    assert set(paper_numbers.TABLE1) == {"alzheimer", "isic"}
    methods = {(method, ipc) for method in ("dm", "it_gan", "dim", "medsynth") for ipc in (50, 100)}
    for table in paper_numbers.TABLE1.values():
        assert set(table) == methods | {("dcgan", None), ("full", None)}
    assert paper_numbers.table1("alzheimer", "resnet18", "dim", 100) == (0.9028, 0.9113)
    for nowhere in (
        ("alzheimer", "vit_lora", "dim", 100),
        ("isic", "resnet18", "dim", 10),
        (None, "resnet18", "dm", 50),
    ):
        assert paper_numbers.table1(*nowhere) is None
    assert (
        paper_numbers.dataset_of(["Mild_Demented", "ModerateDemented", "Non Demented", "verymilddemented"])
        == "alzheimer"
    )
    assert paper_numbers.dataset_of(["mel", "nv"]) is None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a script of benchmarks/ with these arguments."""
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")

    def call(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        run_path(str(PROJECT / "benchmarks" / name), run_name="__main__")

    return call


def cells(text: str, heading: str) -> dict[str, list[str]]:
    """The table under a heading: rows by their first cell."""
    part = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in part.splitlines() if line.startswith("|")]
    assert len({len(line) for line in rows}) == 1
    return {line[0]: line[1:] for line in rows}


def test_the_page_shows_what_is_there_and_what_is_missing(
    started: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder_of(tmp_path / "out")
    started("table1.py", "--print-only", "--out", out)
    text = capsys.readouterr().out
    assert text == (out / "table1.md").read_text(encoding="utf-8")
    assert text.startswith("# Methods of condensation on skin\n\n800 training and 100 test images of 8 classes, ")
    assert "split by column honest" in text and "budget small" in text
    resnet, vit, both = (cells(text, heading) for heading in ("ResNet-18", "ViT + LoRA", "AUC"))
    heads = [
        "Ratio",
        "AUC",
        "Accuracy",
        "Balanced accuracy",
        "Recovery",
        "Real minus set",
        "Set minus random",
        "Seeds",
        "Fit",
        "Paper, AUC",
        "Paper, accuracy",
    ]
    assert resnet["Trained on"] == vit["Trained on"] == heads
    assert list(both)[2:] == list(resnet)[2:] == list(vit)[2:]
    assert list(both)[2:5] == ["All real", "Random real, 10 a class", "Random real, 50 a class"]
    dm = [
        "50 %",
        "0.750 ± 0.010",
        "0.650 ± 0.010",
        "0.550 ± 0.010",
        "25 %",
        *SHOWN,
        "3",
        "1 min 05 s",
        "0.779",
        "0.412",
    ]
    assert resnet["DM, 50 a class"] == dm
    assert resnet["DM, 10 a class"] == ["–"] * 7 + ["0 of 3"] + ["–"] * 3
    assert resnet["DCGAN, 50 a class"][1] == "0.650 ± 0.071 (2 of 3 seeds)"
    scores = [f"{score} (1 of 3 seeds)" for score in ("0.800", "0.700", "0.600")]
    assert resnet["DCGAN, fresh"] == ["80 %", *scores, "–", "+0.080", "–", "1 of 3", "1 min 05 s", "0.826", "0.849"]
    assert both["MedSynth, 50 a class"] == ["yes", "–", "0.850 (1 of 3 seeds)"]
    assert {name: cell[0] for name, cell in both.items() if name.startswith(("DM", "Random", "DCGAN"))} == {
        **dict.fromkeys(
            ("DM, 10 a class", "DM, 50 a class", "Random real, 10 a class", "Random real, 50 a class"), "no"
        ),
        **dict.fromkeys(("DCGAN, 10 a class", "DCGAN, 50 a class", "DCGAN, fresh"), "yes"),
    }
    kept = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert len(kept["entries"]) == 20 and kept["settings"]["budget"] == "small" and kept["about"]["name"] == "skin"


def test_an_audit_stands_beside_its_generator(summary: Any, tmp_path: Path) -> None:
    from table1_rows import Wanted

    assert summary.audits_of(tmp_path) == {}
    numbers = {"auc": 0.62, "auc_ci": [0.6, 0.64], "threat_model": "W", "n_members": 50, "n_non_members": 50}
    about = {
        "audited": True,
        "of": {"data_sets": {}},
        "privacy": {"domias": numbers, "teacher": numbers | {"auc": 0.6}},
    }
    (tmp_path / "fits" / "dcgan" / "audit").mkdir(parents=True)
    (tmp_path / "fits" / "dcgan" / "audit" / "privacy.json").write_text(json.dumps(about))
    audits = summary.audits_of(tmp_path)
    assert audits == {"dcgan": "does not pass; 0.62 (0.60 to 0.64)"}
    both = cells(summary.markdown(summary.summarise(ROWS, Wanted.read(WANTED)), "x", [], audits), "AUC")
    assert {name for name, row in both.items() if row[-1] == audits["dcgan"]} == {
        *(f"DCGAN, {count} a class" for count in (10, 50)),
        "DCGAN, fresh",
    }


def test_a_folder_without_rows_is_refused(
    started: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    empty = folder_of(tmp_path / "empty", [])
    for arguments in (
        ("table1.py", "--print-only", "--out", empty),
        ("table1.py", "--print-only", "--out", tmp_path / "none"),
        ("figures.py", "--runs", empty, "--out", tmp_path / "figures"),
    ):
        with pytest.raises(SystemExit):
            started(*arguments)
        assert capfd.readouterr().err.startswith("error: There are no rows in ")
    assert not (empty / "table1.md").exists() and not (tmp_path / "figures").exists()


def test_figures_are_drawn_from_rows(started: Callable[..., None], tmp_path: Path) -> None:
    ten = [row(method, 10, 0.55) for method in ("random", "dm")]
    more = folder_of(tmp_path / "more", [*ROWS, *ten])
    few = folder_of(tmp_path / "few", [row("full", None, 0.9), *ten])
    started("figures.py", "--runs", more, few, "--out", tmp_path / "figures")
    names = {"generalisation.md", "generalisation.png", "index.md"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == names
    index = (tmp_path / "figures" / "index.md").read_text(encoding="utf-8")
    assert "more (cpu, 8 min 30 s; 7 subjects are on both sides of the split), few" in index
    assert "What runs lack" not in index
    text = (tmp_path / "figures" / "generalisation.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")]
    found = {tuple(line[i] for i in (0, 2, 3)): line[4:] for line in lines}
    assert found["more", "ResNet-18", "DM, 50 a class"] == ["0.750 ± 0.010", "0.650 ± 0.010", "0.779", "0.412", "3"]
    assert found["more", "ResNet-18", "DCGAN, fresh"] == ["0.800", "0.700", "0.826", "0.849", "1"]
    assert found["more", "ViT + LoRA", "MedSynth, 50 a class"] == ["0.850", "0.750", "0.831", "0.855", "1"]
    assert found["more", "ResNet-18", "Random real, 10 a class"][0] == "0.550"
    with Image.open(tmp_path / "figures" / "generalisation.png") as picture:
        assert picture.width > 600 and picture.height > 600  # one above the other


def test_the_chart_shows_sets_of_one_size(summary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import figures
    from reported_runs import read_runs

    drawn: list[dict[str, list[str]]] = []

    def draw(utility: dict[str, Any], data: dict[str, Any]) -> list[Any]:
        drawn.append({name: list(sets) for groups in utility.values() for name, sets in groups.items()})
        return []

    monkeypatch.setattr(figures, "utility_figures", draw)
    ten = [row(method, 10, 0.55) for method in ("random", "dm")]
    folders = folder_of(tmp_path / "more", [*ROWS, *ten]), folder_of(tmp_path / "few", [row("full", None, 0.9), *ten])
    shown = figures.generalisation(read_runs(folders))
    assert drawn[0]["ResNet-18"] == ["real", "random_subset@50", "DM@50", "DCGAN@50"]
    assert drawn[1]["ResNet-18"] == ["real", "random_subset@10", "DM@10"]
    assert not shown.lacking and set(shown.origins) == {"more", "few"}
