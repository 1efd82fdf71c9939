"""``mmgen condense`` with every method but MedSynth, which has its own tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from condensing import IMAGES, call, error, rows_of, run_of
from tiny_condensers import TINY_SETTINGS, use_tiny_methods
from torch import nn

from mmgen.artifacts.models import load_model
from mmgen.data.phantoms import LESIONS, write_phantom_images
from mmgen.data.samples import Samples, set_fingerprint
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.evaluation import teacher
from mmgen.evaluation.teacher import TEACHERS
from mmgen.evaluation.utility import trained_classifier
from mmgen.models.modality import Modality

RIVALS = tuple(method for method in TINY_SETTINGS if method != "medsynth")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    use_tiny_methods(monkeypatch)
    return lambda *arguments: call(monkeypatch, *arguments)


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_images(tmp_path_factory.mktemp("data"), "lesions", subjects_per_class=10, image_size=32)


@pytest.mark.parametrize("method", RIVALS)
def test_each_method_leaves_a_set_that_its_model_makes_again(
    method: str, lesions: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    out = tmp_path / "set"
    assert command("condense", lesions, "--method", method, "--ipc", 2, "--out", out) == 0
    assert verify_dataset(out) == [] and len(rows_of(out)) == 2 * len(LESIONS)
    about = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    model = load_model(run_of(out))
    assert about["generator"]["method"] == model.method == method
    real = method not in ("dcgan", "dim", "mae")
    assert about["copies_real_data"] == real == model.may_hold_real_pixels
    assert about["input_prior"] == ("stored" if real else "noise")
    card = (run_of(out) / "model" / "README.md").read_text(encoding="utf-8")
    assert "| image | " in card and "* audit: not audited" in card and "{" not in card
    assert (run_of(out) / "model" / "preview.png").is_file() != real
    assert command("generate", run_of(out), "--per-class", 2, "--out", tmp_path / "again") == 0
    stored, again = (read_dataset(folder, IMAGES)["image"].values[:] for folder in (out, tmp_path / "again"))
    assert np.array_equal(stored, again)


def test_a_subset_is_said_to_be_real_images(
    lesions: Path, command: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = ["--method", "subset", "--selection", "k_center", "--ipc", 1, "--out", tmp_path / "set"]
    assert command("condense", lesions, *flags) == 0
    assert "real images: it is for comparison here and may not be shared" in caplog.text
    card = (run_of(tmp_path / "set") / "model" / "README.md").read_text(encoding="utf-8")
    assert "These are real images of people: do not share them." in card and "is a picture of a person" not in card


def test_what_a_method_cannot_do_is_refused_at_the_start(
    lesions: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags, words in (
        (
            ["--method", "dm", "--gan-weight", 2, "--skip-phase1"],
            "--skip-phase1, --gan-weight belong to the method medsynth, not to dm",
        ),
        (["--method", "dim", "--selection", "herding"], "--selection belongs to the method subset, not to dim"),
        (["--method", "subset", "--ipc", 10_000], "There are fewer than 10000 images of"),
    ):
        assert command("condense", lesions, "--ipc", 1, *flags, "--out", tmp_path / "set") == 2, words
        assert words in error(capsys)
    assert not (tmp_path / "set").exists()


def test_more_images_than_a_model_holds_are_refused(
    lesions: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("condense", lesions, "--method", "dm", "--ipc", 1, "--out", tmp_path / "set") == 0
    flags = ["--per-class", 3, "--out", tmp_path / "more"]
    assert command("generate", run_of(tmp_path / "set"), *flags) == 2
    assert "There are fewer than 3 images of" in error(capsys)


def test_an_ended_fit_is_gone_on_with(lesions: Path, command: Callable[..., int], tmp_path: Path) -> None:
    flags = ["--method", "dim", "--ipc", 2, "--run", tmp_path / "run"]
    assert command("condense", lesions, *flags, "--out", tmp_path / "set") == 0
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    steps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "run").rglob("last.pt"))]
    assert command("condense", lesions, *flags, "--resume", "latest", "--out", tmp_path / "again") == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "run").rglob("last.pt"))] == steps


def test_a_run_is_not_gone_on_with_on_other_data(
    lesions: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = write_phantom_images(tmp_path / "others", "lesions", subjects_per_class=10, image_size=32, seed=1)
    flags = ["--method", "dcgan", "--ipc", 1, "--run", tmp_path / "run"]
    assert command("condense", lesions, *flags, "--out", tmp_path / "set") == 0
    assert command("condense", others, *flags, "--resume", "latest", "--out", tmp_path / "more") == 2
    assert "holds a run on other data" in error(capsys)


@pytest.fixture
def quick_teacher(monkeypatch: pytest.MonkeyPatch) -> list[Samples]:
    """Teachers of few updates; what they were taught."""
    taught: list[Samples] = []

    def note(modality: Modality, train: Samples, *arguments: Any) -> nn.Module:
        taught.append(train)
        return trained_classifier(modality, train, *arguments)

    monkeypatch.setitem(TEACHERS, "quick", replace(TEACHERS["quick"], updates=10))  # type: ignore[index]
    monkeypatch.setattr(teacher, "trained_classifier", note)
    return taught


@pytest.mark.parametrize("method", ["subset", "dcgan"])
def test_a_condensed_set_with_soft_labels_is_evaluated_on_them(
    method: str, lesions: Path, command: Callable[..., int], quick_teacher: list[Samples], tmp_path: Path
) -> None:
    flags = ("--method", method, "--ipc", 2, "--out", tmp_path / "set", "--format", "webdataset")
    assert command("condense", lesions, *flags, "--soft-labels") == 0
    (taught,) = quick_teacher
    facts = json.loads((run_of(tmp_path / "set") / "model" / "card.json").read_text(encoding="utf-8"))
    assert facts["members"] == {"image": set_fingerprint(taught.values)}  # the training part alone
    assert (run_of(tmp_path / "set") / "teacher" / "metrics.jsonl").is_file()
    assert verify_dataset(tmp_path / "set") == []
    samples = read_dataset(tmp_path / "set", IMAGES, soft_labels=True)["image"]
    assert samples.probabilities.shape == (2 * len(LESIONS), len(LESIONS))
    if method == "subset":  # real images, which the teacher knows: rows belong to their images
        assert (samples.probabilities.argmax(1) == samples.labels).mean() > 0.5

    sides = ("--real", lesions, "--test", lesions, "--classifiers", "convnet", "--updates", 1, "--seeds", 1)
    assert command("evaluate", tmp_path / "set", *sides, "--labels", "soft", "--out", tmp_path / "out") == 0
    scores = json.loads((tmp_path / "out" / "report.json").read_text())["utility"]["image"]["convnet"]
    assert {name: entry.get("labels") for name, entry in scores.items()} == {
        "real": None, "synthetic": "soft", "real+synthetic": "soft", "random_subset": "soft",
    }  # fmt: skip
    assert ", soft labels" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_soft_labels_that_are_not_there_are_a_sentence(
    lesions: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("condense", lesions, "--method", "subset", "--ipc", 1, "--out", tmp_path / "set") == 0
    sides = ("--real", lesions, "--test", lesions, "--labels", "soft", "--out", tmp_path / "out")
    capsys.readouterr()
    assert command("evaluate", tmp_path / "set", *sides) == 2
    assert "has no soft labels (labels.safetensors)" in error(capsys)
    assert command("evaluate", lesions, *sides) == 2
    assert "leave out --labels soft" in error(capsys)
