from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import yaml
from accelerate.state import AcceleratorState
from small import PROJECT, digests, run

from mmgen import presets
from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.models import load_model, model_digest
from mmgen.assessment.inputs import read_sides
from mmgen.condensation import medsynth
from mmgen.condensation.condenser import Length
from mmgen.condensation.own_backbone import BackboneConfig
from mmgen.condensation.representatives import representatives
from mmgen.data.images import ImageSettings
from mmgen.data.phantoms import BRAINS, LESIONS, write_phantom_images
from mmgen.data.samples import set_fingerprint
from mmgen.data.sources import Reading
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.unfinished import alone_in
from mmgen.data.writing.verify import verify_dataset
from mmgen.evaluation.utility import UtilityConfig
from mmgen.models.medsynth import MedSynthGenerator

# Whole runs: minutes where other processes use the cores.
pytestmark = pytest.mark.timeout(600)

ISIC, ALZHEIMER = (PROJECT / "recipes" / f"medsynth_{name}.py" for name in ("isic", "alzheimer"))
QUICK = replace(
    medsynth.PRESETS["quick"],
    width=8,
    blocks=1,
    critic_width=8,
    own_backbone=BackboneConfig(8, 12, 1, 1, 12, 1, 1, updates=10, batch_size=8),
    classifier_updates=10,
    gan=replace(medsynth.PRESETS["quick"].gan, batch_size=4),
    warmup=4,
    phase1=Length(2),
    phase2=Length(2),
)
SCALE = presets.Scale(32, (3,), UtilityConfig(updates=1, seeds=1, max_side=32, balance="sampling"))
FLAGS = ("--classifiers", "vit_lora", "convnet", "--ipc", "3", "2")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a recipe with these arguments in this process, on a small scale; its exit code."""
    return lambda script, *arguments: call(monkeypatch, script, *arguments)


def call(monkeypatch: pytest.MonkeyPatch, script: Path, *arguments: object) -> int:
    monkeypatch.setitem(medsynth.PRESETS, "quick", QUICK)
    monkeypatch.setitem(presets.SCALES, "quick", SCALE)
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    monkeypatch.syspath_prepend(str(script.parent))
    AcceleratorState._reset_state(reset_partial_state=True)  # Accelerate's state is global
    try:
        run_path(str(script), run_name="__main__")
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    return 0


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few phantom lesions, in a folder whose name has a space and another script."""
    root = tmp_path_factory.mktemp("кожа и data")
    return write_phantom_images(root / "lesions", "lesions", subjects_per_class=16, image_size=32)


@pytest.fixture(scope="module")
def finished(lesions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run on phantom lesions."""
    out = tmp_path_factory.mktemp("recipe") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, ISIC, *FLAGS, "--data", lesions, "--out", out) == 0
    return out


def report_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))


# -- a whole run


def test_a_run_leaves_what_its_readme_promises(finished: Path) -> None:
    names = {re.sub(r"events\.out.*", "events.out", name) for name in digests(finished)}
    for stage in ("backbone", "classifier", "warmup", "phase1", "phase2", "networks"):
        assert {f"{stage}/metrics.jsonl", f"{stage}/checkpoints/last.pt"} <= names
    model = (
        "config.json",
        "model.safetensors",
        "README.md",
        "card.json",
        "preview.png",
        "privacy.json",
        "utility.json",
    )
    assert {f"model/{name}" for name in model} == {name for name in names if name.startswith("model/")}
    assert any(name.startswith("phase1/previews/generated") for name in names)
    assert {"config.yaml", "report/index.html", "report/report.json"} <= names
    for count in (2, 3):
        pictures = [name for name in names if name.startswith(f"synthetic/ipc{count}/images/")]
        assert len(pictures) == count * len(LESIONS)
        assert verify_dataset(finished / "synthetic" / f"ipc{count}") == []


def test_the_report_has_every_set_beside_its_references(finished: Path) -> None:
    report = report_of(finished)
    utility = report["utility"]["image"]
    assert list(utility) == ["vit_lora", "convnet"]
    for scores in utility.values():
        sets = [f"{kind}@{count}" for count in (2, 3) for kind in ("random_subset", "synthetic")]
        assert list(scores) == ["real", *sets, "synthetic_phase1@3", "synthetic_fresh"]
        assert all(0 <= entry[score]["mean"] <= 1 for entry in scores.values() for score in ("auc", "accuracy"))
        assert scores["synthetic@3"]["n_train"] == scores["random_subset@3"]["n_train"] == 3 * len(LESIONS)
    size = report["condensation"]
    train = sum(row["train"] for row in report["data"]["image"]["counts"].values())
    assert size["real_images"] == train and size["ipc"]["3"]["ratio"] == pytest.approx(3 * len(LESIONS) / train)
    assert size["generator_bytes"] == (finished / "model" / "model.safetensors").stat().st_size
    assert 0 < size["mean_attention"] < 1
    nearest = report["fidelity"]["image"]["nearest_training_distance"]
    assert nearest["value"] > 0 and nearest["real_vs_real"] > 0 and nearest["exact_copies"] == 0
    trainings = {"pretrain backbone", "tune classifier", "phase I", "phase II"}
    assert {"data", *trainings, "generate", "evaluate", "audit"} == set(report["cost"])


def test_the_run_is_audited(finished: Path, lesions: Path) -> None:
    privacy = report_of(finished)["privacy"]
    attacks = {"closest_record", "domias", "logan_black_box", "logan_white_box"}
    assert attacks | {"copies", "pass_through"} <= privacy.keys()
    assert privacy["logan_white_box"]["threat_model"] == "W" and privacy["closest_record"]["threat_model"] == "G"
    assert privacy["copies"]["exact"] == 0 and privacy["pass_through"]["share"] == 0
    found = json.loads((finished / "audit" / "privacy.json").read_text())
    shared = json.loads((finished / "model" / "privacy.json").read_text())
    digest = model_digest(load_model(finished))
    assert found["of"]["model"] == shared["of"]["model"] == digest
    assert found["of"]["data_sets"].keys() == {"synthetic/ipc2", "synthetic/ipc3"}
    # Whoever audits the run on the same data with the same seed has the same members.
    again, _ = read_sides(*[{"image": lesions}] * 2, {"image": ImageSettings(32, 3)}, ("train", "test"), Reading())
    members = {"image": set_fingerprint(again.samples["image"].values)}
    assert CardFacts.read(finished / "model").members == found["of"]["members"] == shared["of"]["members"] == members
    card = (finished / "model" / "README.md").read_text(encoding="utf-8")
    assert f"Fingerprint of the members: image {members['image']}." in card
    assert "* red: effort: the attacks were short; audit in full before a release" in card
    assert "pairs" in found["privacy"]["copies"] and "pairs" not in shared["privacy"]["copies"]
    assert not (finished / "model" / "measured").exists()


def test_data_bytes_are_those_of_the_training_images(finished: Path, lesions: Path) -> None:
    counts = report_of(finished)["data"]["image"]["counts"]
    files = sum(path.stat().st_size for path in (lesions / "train").rglob("*.png"))
    assert report_of(finished)["condensation"]["data_bytes"] < files  # a part of them is for validation
    assert sum(row["train"] + row["val"] for row in counts.values()) == len(list((lesions / "train").rglob("*.png")))


def test_the_sets_are_what_the_generator_draws(finished: Path) -> None:
    generator = load_model(finished)
    assert isinstance(generator, MedSynthGenerator) and generator.class_names == tuple(sorted(LESIONS))
    stored = read_dataset(finished / "synthetic" / "ipc3", {"image": ImageSettings(32, 3)})["image"]
    chosen = representatives(generator, 3, medsynth.PRESETS["quick"].choose_from)
    assert np.array_equal(stored.values[:], chosen.values)
    assert stored.labels.tolist() == chosen.labels.tolist()
    with (finished / "synthetic" / "ipc3" / "metadata.csv").open(encoding="utf-8", newline="") as file:
        assert {row["model"] for row in csv.DictReader(file)} == {model_digest(generator)}


def test_nothing_shareable_names_the_data(finished: Path, lesions: Path) -> None:
    shared = [path for folder in ("model", "synthetic") for path in (finished / folder).rglob("*") if path.is_file()]
    text = b"".join(path.read_bytes() for path in shared if path.suffix in (".json", ".md", ".csv"))
    sources = list((lesions / "train").rglob("*.png"))
    assert len(sources) > 40 and not [path.name for path in sources if path.stem.encode() in text]
    assert str(lesions).encode() not in text and str(finished.parent).encode() not in text
    card = (finished / "model" / "README.md").read_text(encoding="utf-8")
    assert "Audited on" in card and "not audited" not in card and "* real pixels in the output" not in card
    assert "condensation ratio at 3 images a class" in card and "vit_lora" in card


def test_the_page_shows_classes_neighbours_and_training(finished: Path) -> None:
    page = (finished / "report" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    for title in ("Synthetic images by class", "Nearest training images", "Training"):
        assert title in page


def test_a_finished_run_goes_on_without_training_again(
    finished: Path, lesions: Path, command: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    before = digests(finished)
    caplog.set_level("INFO")
    assert command(ISIC, *FLAGS, "--data", lesions, "--out", finished, "--resume", "latest") == 0
    assert caplog.text.count("Resumed") == 6
    after = digests(finished)
    kept = [name for name in before if name.startswith(("model/", "synthetic/")) or name.endswith("last.pt")]
    kept.remove("model/privacy.json")  # says when it was written
    assert len(kept) > 20 and [name for name in kept if after[name] != before[name]] == []


def test_a_stage_that_had_not_begun_starts_on_resuming(
    finished: Path, lesions: Path, command: Callable[..., int], tmp_path: Path
) -> None:
    """As if the run had been killed after phase I."""
    import shutil

    out = tmp_path / "run"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "phase2")
    assert command(ISIC, *FLAGS, "--data", lesions, "--out", out, "--resume", "latest") == 0
    assert digests(out)["model/model.safetensors"] == digests(finished)["model/model.safetensors"]


def test_grey_slices_from_real_images_without_phase_one(command: Callable[..., int], tmp_path: Path) -> None:
    """The other recipe, on its own phantoms, in the paper's form; an ablation of phase I."""
    out = tmp_path / "run"
    flags = ("--input-prior", "real", "--skip-phase1", "--ipc", "2", "--classifiers", "convnet")
    assert command(ALZHEIMER, *flags, "--out", out) == 0
    report = report_of(out)
    assert list(report["data"]["image"]["counts"]) == sorted(BRAINS)
    assert "synthetic_phase1@2" not in report["utility"]["image"]["convnet"]
    assert not (out / "phase1").exists() and not (out / "warmup").exists() and not (out / "model/preview.png").exists()
    stored = read_dataset(out / "synthetic" / "ipc2", {"image": ImageSettings(32, 1)})["image"]
    assert stored.values[:].shape == (2 * len(BRAINS), 1, 32, 32)
    assert "treat them as real data" in (out / "synthetic" / "ipc2" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_two_processes_go_all_the_way(tmp_path: Path, lesions: Path) -> None:
    flags = ("--epochs-phase1", "1", "--epochs-phase2", "1", "--classifiers", "convnet", "--data", lesions)
    done = run(ISIC, *flags, "--out", tmp_path / "run", processes=2)
    assert done.returncode == 0, done.stderr
    assert report_of(tmp_path / "run")["utility"]["image"]["convnet"]["synthetic@10"]["n_train"] == 40


# -- flags


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data", "no/such"], "no/such"),
        (["--image-size", "40"], "multiple of 16"),
        (["--ipc", "0"], "--ipc must be at least 1"),
        (["--ipc", "1", "1000000000000"], "2,000,000,000,000 samples take at least"),
        (["--choose-from", "1000000000000"], "where memory has"),
        (["--skip-phase1", "--epochs-phase2", "0"], "at least one of them must be trained"),
        (["--epochs-phase1", "-1"], "--epochs-phase1 must be 0 or more"),
        (["--resume", "latest"], "There is no checkpoint"),
        (["--config", "no/such.yaml"], "no/such.yaml"),
    ],
)
def test_mistakes_are_a_sentence_and_exit_code_2(
    command: Callable[..., int], tmp_path: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(ISIC, *flags, "--out", tmp_path / "run") == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ") and words in message and "\n" not in message
    assert not (tmp_path / "run").exists()


def test_two_trainings_do_not_share_a_folder(
    finished: Path, lesions: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(finished)
    with alone_in(finished):
        assert command(ISIC, *FLAGS, "--data", lesions, "--out", finished, "--resume", "latest") == 2
        assert f"Another run is writing to {finished} (process" in capsys.readouterr().err
    assert digests(finished) == before


def test_one_class_and_few_images_are_refused_before_training(
    command: Callable[..., int], lesions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [f"{name}=" for name in LESIONS[1:]]
    assert command(ISIC, "--data", lesions, "--label-map", *others, "--out", tmp_path / "run") == 2
    assert "at least two labels" in capsys.readouterr().err
    assert command(ISIC, "--data", lesions, "--prior-floor", "500", "--out", tmp_path / "run") == 2
    assert "fewer than 500 images" in capsys.readouterr().err
    assert not (tmp_path / "run" / "backbone").exists()


def test_the_configuration_is_resolved(finished: Path) -> None:
    document = yaml.safe_load((finished / "config.yaml").read_text(encoding="utf-8"))
    assert document["config"]["ipc"] == [3, 2] and document["config"]["fit"]["width"] == QUICK.width
    assert document["data_fingerprints"].keys() == {"image"}


@pytest.mark.parametrize("script", [ISIC, ALZHEIMER])
def test_help_lists_the_flags(script: Path) -> None:
    done = run(script, "--help", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    flags = (
        "data",
        "layout",
        "split-column",
        "subset-column",
        "preset",
        "image-size",
        "ipc",
        "input-prior",
        "backbone",
    )
    for flag in (*flags, "epochs-phase1", "epochs-phase2", "skip-phase1", "seed", "out", "resume", "mixed-precision"):
        assert f"--{flag}" in done.stdout
