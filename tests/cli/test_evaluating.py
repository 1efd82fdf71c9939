"""``mmgen evaluate`` as it is typed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calling import call, error
from pictures import write_pictures
from small import digests
from tiny_medsynth import LABELS

from mmgen.assessment import evaluating
from mmgen.assessment.evaluating import Measures
from mmgen.errors import UserError

Command = Callable[..., int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    return lambda *arguments: call(monkeypatch, *arguments)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("for an evaluation")
    amounts = {"real": 8, "test": 6, "made": 5}
    return {
        name: write_pictures(root / name, amount, seed, size=12, mode="L")
        for seed, (name, amount) in enumerate(amounts.items())
    }


def test_tables_are_printed_and_a_page_is_drawn(
    command: Command, data: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    real = shutil.copytree(data["real"], tmp_path / "real")
    test = shutil.copytree(data["test"], tmp_path / "test")
    out = tmp_path / "mit Leerzeichen" / "evaluation"
    flags = ("--classifiers", "convnet", "--updates", 2, "--seeds", 1)
    assert command("evaluate", data["made"], "--real", real, "--test", test, "--out", out, *flags) == 0
    text = "\n".join(caplog.messages)
    assert "image, ConvNet, random real subset" in text and "±" not in text
    assert "image: KL divergence of intensities" in text and "Biased: " in text
    assert f"Report    {out / 'index.html'}" in text
    report = json.loads((out / "report.json").read_text())
    assert report["run"] == "mit Leerzeichen" and set(report["utility"]["image"]) == {"convnet"}
    assert report["utility"]["image"]["convnet"]["real"]["updates"] == 2
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "Intensities: image" in page and LABELS[1] in page

    shutil.rmtree(real)
    shutil.rmtree(test)
    before = digests(out)
    assert command("report", out) == 0
    assert digests(out) == before


def test_flags_reach_the_training(command: Command, data: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    sides = ("--real", data["real"], "--test", data["test"], "--out", tmp_path)
    flags = ("--classifiers", "convnet", "resnet18", "--folds", 2, "--seeds", 2, "--updates", 3, "--fast", "--json")
    capsys.readouterr()
    assert command("evaluate", data["made"], *sides, *flags) == 0
    written, done = json.loads((tmp_path / "report.json").read_text()), json.loads(capsys.readouterr().out)
    assert (done["utility"], done["fidelity"]) == (written["utility"], written["fidelity"])
    utility = written["utility"]["image"]
    assert list(utility) == ["convnet"]
    entry = utility["convnet"]["synthetic"]
    assert (entry["updates"], entry["seeds"], entry["folds"]) == (3, 1, 2)


def test_sounds_have_classifiers_of_their_own(
    command: Command, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Measures] = []

    def note(*_: Any, measures: Measures, **__: Any) -> None:
        seen.append(measures)
        raise UserError("that is all")

    monkeypatch.setattr(evaluating, "evaluate", note)
    sides = ("--real", data["real"], "--test", data["test"], "--out", tmp_path)
    for flags in ((), ("--sound-classifiers", "convnet", "mfcc"), ("--classifiers", "--sound-classifiers")):
        assert command("evaluate", data["made"], *sides, *flags) == 2
    assert [(m.classifiers, m.sound_classifiers) for m in seen] == [
        (("resnet18", "convnet"), ("mfcc",)),
        (("resnet18", "convnet"), ("convnet", "mfcc")),
        ((), ()),
    ]
    assert (
        command("evaluate", data["made"], *sides, "--classifiers", "mfcc") == 2 and len(seen) == 3
    )  # none of pictures


def test_closeness_alone(
    command: Command, data: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sides = ("--real", data["real"], "--test", data["test"], "--out", tmp_path)
    assert command("evaluate", data["made"], *sides, "--modality", "image", "--classifiers") == 0
    assert "Utility was not measured." in "\n".join(caplog.messages)


def test_a_label_of_another_name_is_mapped(
    command: Command, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Path(shutil.copytree(data["made"], tmp_path / "made"))
    (made / LABELS[0]).rename(made / "Healthy")
    flags = ("--real", data["real"], "--test", data["test"], "--out", tmp_path / "out", "--classifiers")
    assert command("evaluate", made, *flags) == 2
    sentence = error(capsys)
    assert sentence.startswith("error: The --real data has no 'image' samples of Healthy, which others have;")
    assert command("evaluate", made, *flags, "--label-map", f"healthy={LABELS[0]}") == 0
    counts = json.loads((tmp_path / "out" / "report.json").read_text())["data"]["image"]["counts"]
    assert counts[LABELS[0]] == {"train": 8, "test": 6, "synthetic": 5}


def test_unreadable_pictures_are_left_out_when_asked(
    command: Command, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {name: Path(shutil.copytree(path, tmp_path / name)) for name, path in data.items()}
    for path in paths.values():
        (path / LABELS[0] / "000.png").write_bytes(b"no picture")
    flags = ("--real", paths["real"], "--test", paths["test"], "--out", tmp_path / "out", "--classifiers")
    assert command("evaluate", paths["made"], *flags) == 2
    assert "000.png" in error(capsys)
    assert command("evaluate", paths["made"], *flags, "--skip-bad") == 0
    counts = json.loads((tmp_path / "out" / "report.json").read_text())["data"]["image"]["counts"]
    assert counts[LABELS[0]] == {"train": 7, "test": 5, "synthetic": 4}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--classifiers", "vit_lora"), "give --backbone a timm name"),
        (("--classifiers", "vit_lora", "--fast"), "give --backbone a timm name"),
        (("--features", "nonsense"), "There are no features 'nonsense'"),
        (("--features", "own"), "There is no own encoder"),
        (("--modality", "audio"), "made holds no sounds; correct --modality"),
        (("--max-side", "16"), "max_side of at least 32, got 16"),
        (("--folds", "1"), "at least 2, got 1"),
        (("--label-map", "nonsense"), "write OLD=NEW"),
        (("--real", "gone"), "gone does not exist"),
        (("--real", "a", "b"), "--real needs a path for image"),
        (("--cache-limit", "much"), "'much' is no size"),
    ],
)
def test_mistakes_are_a_sentence_and_exit_code_2(
    command: Command,
    data: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    words: str,
) -> None:
    real = () if "--real" in flags else ("--real", data["real"])
    assert command("evaluate", data["made"], *real, "--test", data["test"], "--out", tmp_path / "out", *flags) == 2
    assert words in error(capsys)
    assert not (tmp_path / "out" / "report.json").exists()


def test_an_empty_or_missing_set(
    command: Command, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    sides = ("--real", data["real"], "--test", data["test"], "--out", tmp_path / "out")
    for name, words in (("empty", "holds neither pictures nor sounds"), ("gone", "There is nothing at")):
        assert command("evaluate", tmp_path / name, *sides) == 2
        assert words in error(capsys)
