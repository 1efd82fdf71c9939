"""A report read back gives the same page, and what is missing or damaged is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from odd_json import odd_texts

from mmgen.errors import UserError
from mmgen.evaluation.report import figures
from mmgen.evaluation.report.media import Figure, ReportMedia, Sample
from mmgen.evaluation.report.reading import read_media, read_report
from mmgen.evaluation.report.writing import write_report

COUNTS = {"covid": {"train": 70, "test": 30}, "healthy": {"train": 60, "test": 30}}
SCORES = {
    "auc": {"mean": 0.7, "std": 0.1, "ci95": [0.5, 0.9]},
    "recall": {"covid": {"mean": 0.5}},
    "confusion": {"labels": ["covid", "healthy"], "counts": [[3, 1], [2, 2]]},
    "seeds": 3,
    "n_train": 100,
}
ATTACK = {
    "auc": 0.5,
    "auc_ci": [0.4, 0.6],
    "tpr_at_1_fpr": 0.01,
    "threat_model": "S",
    "n_members": 50,
    "n_non_members": 50,
    "roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]},
}
REPORT = {
    "run": "demo",
    "created": "2026-01-05T12:30:00+00:00",
    "config": {"preset": "tiny", "lr": 1e-3},
    "data": {"image": {"counts": COUNTS, "subjects": 100, "left_out_labels": ["pneumonia"], "shared_subjects": 2}},
    "condensation": {
        "method": "dm",
        "input_prior": "class",
        "real_images": 130,
        "generator_bytes": 10,
        "ipc": {"3": {}},
    },
    "utility": {"image": {"resnet18": {"real": SCORES, "synthetic@3": SCORES, "random_subset@3": SCORES}}},
    "fidelity": {"image": {"kid": {"value": 0.1, "real_vs_real": 0.1, "better": "lower", "range": [0, None]}}},
    "privacy": {
        "domias/image": ATTACK,
        "copies/image": {"exact": 0, "near": 1, "of": 60, "pairs": [{"synthetic": 1, "training": 2, "distance": 0.5}]},
        "pass_through/image": {"share": 0.0, "patches": 12, "how": "8 x 8 patches"},
    },
    "cost": {"train": {"seconds": 12.5, "device": "cpu", "peak_memory_mb": 900.0, "samples_per_s": 12.0}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    image, log_mel = rng.integers(0, 256, (1, 12, 10), dtype=np.uint8), rng.normal(size=(6, 8))
    png = figures.histograms(image, image // 2, "pixel value")
    media = ReportMedia(
        [Figure("Same", "One.", "A.", png, True, "privacy"), Figure("same", "Two.", "B.", png)],
        [Sample("a", "real", image, log_mel, 3 * log_mel[0]), Sample("b", "synthetic", image)],
    )
    write_report(tmp_path, {"run": "caf\udce9", "privacy": {"pass_through": {"share": 0.2}}}, media)
    return tmp_path


def test_page_is_the_same_when_it_is_drawn_again(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write_report(folder, read_report(folder), read_media(folder))
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert set(before) == {"index.html", "report.json", "media.json", "same.png", "same-2.png"}
    assert b"do not pass it on" in before["index.html"]


def test_new_numbers_keep_figures_and_samples(folder: Path) -> None:
    index = write_report(folder, read_report(folder) | {"privacy": {}}, read_media(folder))
    page = index.read_text()
    assert "has not been audited" in page and "taken over from" not in page
    assert page.count("<img") == 5 and page.count("<audio") == 1


@pytest.mark.parametrize("read", [read_report, read_media])
def test_a_missing_report_is_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(UserError, match=r"There is no report at .*json; evaluate the run first"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b'{"figures": [{}], "samples": []}'])
def test_damaged_files_are_named(folder: Path, content: bytes) -> None:
    (folder / "media.json").write_bytes(content)
    with pytest.raises(UserError, match=r"media.json is damaged"):
        read_media(folder)
    (folder / "report.json").write_bytes(content[:2])
    with pytest.raises(UserError, match=r"report.json is damaged"):
        read_report(folder)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"utility": {"image": 3}}, "the utility section, image is not an object but '3'; measure it again"),
        (
            {"fidelity": {"image": {"frechet": {"value": "big"}}}},
            "the fidelity section, image, frechet, value is not",
        ),
    ],
)
def test_results_of_another_form_are_named(folder: Path, section: dict, message: str) -> None:
    (folder / "report.json").write_text(json.dumps(section))
    with pytest.raises(UserError, match=rf"report.json is damaged: {message}"):
        read_report(folder)


@pytest.mark.parametrize(("key", "value"), [("picture", "https://example.org/x.png"), ("source", "fake"), ("sound", 3)])
def test_samples_that_the_page_must_not_show_are_refused(folder: Path, key: str, value: object) -> None:
    media = json.loads((folder / "media.json").read_text())
    media["samples"][0][key] = value
    (folder / "media.json").write_text(json.dumps(media))
    with pytest.raises(UserError, match="damaged"):
        read_media(folder)


def test_figures_are_sought_in_their_folder_only(folder: Path) -> None:
    media = json.loads((folder / "media.json").read_text())
    media["figures"][0]["file"] = "../../secret.png"
    (folder / "media.json").write_text(json.dumps(media))
    (folder.parent / "secret.png").write_bytes((folder / "figures" / "same.png").read_bytes())
    with pytest.raises(UserError, match=r"figures.secret.png of the report is missing"):
        read_media(folder)


def test_a_figure_that_is_no_picture_is_named(folder: Path) -> None:
    (folder / "figures" / "same.png").write_bytes(b"no")
    with pytest.raises(UserError, match=r"same.png is damaged"):
        read_media(folder)


def test_whatever_report_json_holds_is_a_page_or_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(tmp_path, REPORT, ReportMedia())
    named = 0
    for text in odd_texts(json.loads(path.read_text()), 150):
        path.write_bytes(text)
        try:
            write_report(tmp_path, read_report(tmp_path), ReportMedia())
        except UserError as error:
            named += 1
            assert str(error).startswith(f"{path} is damaged") and "\n" not in str(error)
    assert named > 20


def test_whatever_media_json_holds_is_media_or_one_sentence(folder: Path) -> None:
    path = folder / "media.json"
    media = json.loads(path.read_text())
    for sample in media["samples"]:  # which need not be long here
        sample |= {key: sample[key][:40] for key in ("picture", "spectrogram", "sound")}
    named = drawn = 0
    for text in odd_texts(media, 300):
        path.write_bytes(text)
        try:
            found = read_media(folder)
        except UserError as error:
            named += 1
            assert str(folder) in str(error) and "\n" not in str(error)
        else:
            drawn += 1
            texts = [text for card in found.cards for text in (card.label, card.source, card.picture)]
            assert all(isinstance(text, str) for text in texts)
    assert named > 100 and drawn > 5


@pytest.mark.parametrize("damage", ["cut", "pipe"])
def test_a_damaged_figure_is_named(folder: Path, damage: str) -> None:
    figure = folder / "figures" / "same.png"
    content = figure.read_bytes()
    figure.unlink()
    os.mkfifo(figure) if damage == "pipe" else figure.write_bytes(content[:20])
    with pytest.raises(UserError, match=r"same\.png (is damaged|of the report is missing)"):
        read_media(folder)
