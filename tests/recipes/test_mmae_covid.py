from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import quick_recipe
import yaml
from accelerate.state import AcceleratorState
from small import PROJECT, digests, run
from tiny import QUICK_ATTACKS

from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.models import load_model, model_digest, model_settings
from mmgen.assessment import auditing
from mmgen.assessment.inputs import read_sides
from mmgen.cli.config import parse_config
from mmgen.cli.mae_flags import MAEFlags
from mmgen.cli.main import run_command
from mmgen.data.samples import set_fingerprint
from mmgen.data.sources import Reading
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.unfinished import alone_in
from mmgen.presets import PRESETS

SCRIPT = PROJECT / "recipes" / "mmae_covid.py"
FLAGS = ["--epochs", "1", "--no-single-modal", "--per-class", "4"]

# Whole runs: minutes where other processes use the cores.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    spec = util.spec_from_file_location("mmae_covid", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["mmae_covid"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def command(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the recipe with these arguments in this process; its exit code."""
    monkeypatch.setitem(PRESETS, "tiny", quick_recipe.QUICK)
    monkeypatch.setattr(auditing, "FAST", QUICK_ATTACKS)

    def call(*arguments: object) -> int:
        AcceleratorState._reset_state(reset_partial_state=True)  # Accelerate's state is global
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        try:
            run_command(recipe.main)
        except SystemExit as stop:
            return int(stop.code or 0)
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)
        return 0

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A whole run on phantoms, as a user starts it: its folder, and the lines it printed."""
    out = tmp_path_factory.mktemp("recipe") / "run"
    done = run(PROJECT / "tests" / "scripts" / "quick_recipe.py", SCRIPT, *FLAGS, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout.strip().splitlines()


def report_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))


def files_of(out: Path) -> set[str]:
    return {re.sub(r"events\.out.*", "events.out", name) for name in digests(out)}


# -- a whole run


def test_a_run_writes_every_file_of_its_folder(finished: tuple[Path, list[str]]) -> None:
    out, _ = finished
    samples = [f"{label}/{number:06d}" for label in ("covid", "healthy") for number in range(4)]
    folders = {"images": "png", "audio": "flac", "spectrograms": "npy"}
    of_audit = (
        "accuracy-of-the-logan-attacks",
        "roc-curves-of-the-attacks",
        "what-the-search-for-disguised-copies-finds",
        "nearest-pairs-image",
        "nearest-pairs-audio",
    )
    of_utility = ("generalisation-to-real-data-images", "generalisation-to-real-data-sounds")
    of_model = ("reconstruction-of-unseen-samples", "learning", "variance-against-masking-ratio")
    of_fidelity = ("intensities-image", "intensities-audio", "sharpness-image", "sharpness-audio")
    figures = (*of_model, *of_utility, *of_fidelity, *of_audit)
    kinds = ("", "_from_nothing", "_from_others")
    expected = {
        "config.yaml",
        "contents.npz",
        "metrics.jsonl",
        "tensorboard/events.out",
        *(f"checkpoints/{name}.pt" for name in ("last", "best", "step_00000010")),
        *(f"previews/{name}{kind}_0001.png" for name in ("image", "audio") for kind in kinds),
        *(
            f"model/{name}"
            for name in (
                "config.json",
                "model.safetensors",
                "README.md",
                "card.json",
                "privacy.json",
                "utility.json",
                "preview.png",
            )
        ),
        *(f"synthetic/{name}" for name in ("metadata.csv", "dataset.json", "README.md")),
        *(f"synthetic/{folder}/{sample}.{suffix}" for folder, suffix in folders.items() for sample in samples),
        *(f"report/figures/{name}.png" for name in figures),
        *(f"report/{name}" for name in ("report.json", "media.json", "index.html")),
        "audit/privacy.json",
    }
    # Whether there are pairs of disguised copies to be shown, after a training of seconds, is not promised.
    passed_over = ("phantoms/", "audit/measured/", "report/figures/disguised-copies-")
    assert {name for name in files_of(out) if not name.startswith(passed_over)} == expected


def test_the_last_lines_name_report_data_set_and_model(finished: tuple[Path, list[str]]) -> None:
    out, lines = finished
    last = [line.split(maxsplit=1) for line in lines[-3:]]
    assert last == [
        ["Report", str(out / "report" / "index.html")],
        ["Data", f"set  {out / 'synthetic'}"],
        ["Model", str(out / "model")],
    ]


def test_the_report_has_its_stable_keys(finished: tuple[Path, list[str]]) -> None:
    out, _ = finished
    report = report_of(out)
    assert list(report) == [
        "run",
        "created",
        "config",
        "data",
        "condensation",
        "utility",
        "fidelity",
        "privacy",
        "cost",
    ]
    assert report["run"] == "run" and report["config"]["seed"] == 0
    assert report["data"].keys() == report["utility"].keys() == report["fidelity"].keys() == {"image", "audio"}
    for name in ("image", "audio"):
        assert {"counts", "samples", "subjects", "shared_subjects"} <= report["data"][name].keys()
        assert report["data"][name]["shared_subjects"] == 0
        ((classifier, scores),) = report["utility"][name].items()
        assert classifier == {"image": "resnet18", "audio": "mfcc"}[name]
        for entry in (scores[source] for source in ("real", "synthetic")):
            assert all(0 <= entry[score]["mean"] <= 1 for score in ("accuracy", "balanced_accuracy", "auc"))
        assert scores["synthetic"]["n_train"] == 8
        kl = report["fidelity"][name]["kl_intensity"]
        assert kl["better"] == "lower" and min(kl["value"], kl["real_vs_real"]) >= 0
    for phase in ("data", "train", "generate", "evaluate"):
        cost = report["cost"][phase]
        assert cost["seconds"] > 0 and cost["device"] in ("cpu", "cuda") and cost["peak_memory_mb"] > 0
    assert report["cost"]["train"]["samples_per_s"] > 0
    assert len(numbers_of(report["fidelity"])) > 60 and all(map(math.isfinite, numbers_of(report["fidelity"])))


def numbers_of(value: Any) -> list[float]:
    """All numbers in a section, in order; None is what could not be measured on so little."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_of(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers_of(item)]
    return [] if isinstance(value, str | None) else [value]


def test_the_page_needs_nothing_else(finished: tuple[Path, list[str]]) -> None:
    page = (finished[0] / "report" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "data:audio/flac" in page and "data:image/png" in page


def test_the_configuration_is_resolved(finished: tuple[Path, list[str]]) -> None:
    document = yaml.safe_load((finished[0] / "config.yaml").read_text(encoding="utf-8"))
    assert document["config"]["per_class"] == 4 and document["config"]["seed"] == 0
    assert document["config"]["sizes"]["epochs"] == 1
    assert document["config"]["sizes"]["image"]["size"] == PRESETS["tiny"].image.size
    assert document["data_fingerprints"].keys() == {"image", "audio"}
    assert {"torch", "mmgen", "python"} <= document["versions"].keys() and "git_revision" in document


def test_there_is_a_line_an_epoch(finished: tuple[Path, list[str]]) -> None:
    rows = [json.loads(line) for line in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0]
    keys = {"loss/image", "loss/audio", "xi", "samples_per_s", "seconds", "peak_memory_mb", "validation/error/image"}
    assert keys <= rows[0].keys()


def test_data_set_and_model_are_usable_and_belong_together(finished: tuple[Path, list[str]]) -> None:
    model = load_model(finished[0])
    samples = read_dataset(finished[0] / "synthetic", model_settings(model))
    assert {name: len(values) for name, values in samples.items()} == {"image": 8, "audio": 8}
    with (finished[0] / "synthetic" / "metadata.csv").open(encoding="utf-8", newline="") as file:
        assert {row["model"] for row in csv.DictReader(file)} == {model_digest(model)}
    card = (finished[0] / "model" / "README.md").read_text(encoding="utf-8")
    assert "Audited on" in card and "copies of images" in card and "* error on hidden patches, image: " in card


def test_whoever_audits_the_run_on_its_data_has_its_members(finished: tuple[Path, list[str]]) -> None:
    out, lines = finished
    paths = {"image": out / "phantoms" / "images", "audio": out / "phantoms" / "audio"}
    members, _ = read_sides(paths, paths, model_settings(load_model(out)), ("train", "test"), Reading())
    named = {name: set_fingerprint(samples.values) for name, samples in members.samples.items()}
    of = json.loads((out / "audit" / "privacy.json").read_text())["of"]
    assert CardFacts.read(out / "model").members == of["members"] == named and len({*named.values()}) == 2
    assert any("the attacks were short; audit in full before a release" in line for line in lines)


def test_nothing_shareable_names_a_file_of_the_data(finished: tuple[Path, list[str]]) -> None:
    out, _ = finished
    sources = [path for path in (out / "phantoms").rglob("*") if path.suffix in (".png", ".wav")]
    assert len(sources) > 200
    shared = [path for folder in ("model", "synthetic") for path in (out / folder).rglob("*") if path.suffix != ".png"]
    content = b"".join(path.read_bytes() for path in shared if path.suffix in (".json", ".md", ".csv"))
    assert not [path.name for path in sources if path.stem.encode() in content]
    assert str(out.parent).encode() not in content


def test_a_finished_run_can_be_resumed(
    finished: tuple[Path, list[str]], command: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    out, _ = finished
    files, before, measured = files_of(out), digests(out), numbers_of(report_of(out)["fidelity"])
    caplog.set_level("INFO")
    assert command(*FLAGS, "--out", out, "--resume", "latest") == 0
    assert "at update 10 of 10" in caplog.text
    after = digests(out)
    assert files_of(out) == files
    kept = [name for name in before if name.startswith(("checkpoints/", "synthetic/", "model/", "metrics"))]
    kept.remove("model/privacy.json")  # says when it was written
    assert len(kept) > 30
    assert {name for name in kept if after[name] != before[name]} == set()
    assert numbers_of(report_of(out)["fidelity"]) == pytest.approx(measured, rel=1e-3)


@pytest.mark.slow
def test_two_processes_go_all_the_way(tmp_path: Path) -> None:
    script = PROJECT / "tests" / "scripts" / "quick_recipe.py"
    done = run(script, SCRIPT, *FLAGS, "--out", tmp_path / "run", processes=2)
    assert done.returncode == 0, done.stderr
    assert report_of(tmp_path / "run")["utility"].keys() == {"image", "audio"}
    assert done.stdout.strip().splitlines()[-1].startswith("Model ")


@pytest.mark.slow
def test_two_processes_are_refused_a_folder_that_is_held_and_do_not_wait(tmp_path: Path) -> None:
    with alone_in(tmp_path / "run"):
        done = run(SCRIPT, *FLAGS, "--out", tmp_path / "run", processes=2, timeout=120)
    assert done.returncode != 0 and list(tmp_path.iterdir()) == []
    assert f"error: Another run is writing to {tmp_path / 'run'} (process {os.getpid()})" in done.stderr


@pytest.mark.slow
def test_single_modal_models_stand_in_the_report(tmp_path: Path) -> None:
    done = run(PROJECT / "tests" / "scripts" / "quick_recipe.py", SCRIPT, "--epochs", "1", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    fidelity = report_of(tmp_path / "run")["fidelity"]
    for name in ("image", "audio"):
        assert fidelity[name]["masked_patch_error"]["single_modal"] > 0
        assert "single-modal" in fidelity[name]["variance_by_mask_ratio"]
        assert (tmp_path / "run" / "single_modal" / name / "metrics.jsonl").is_file()


# -- flags


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--images", "here"], "Give both --images and --audio, or neither for phantoms."),
        (["--audio", "here"], "Give both --images and --audio, or neither for phantoms."),
        (["--images", "no/such", "--audio", "no/such"], "no/such"),
        (["--config", "no/such.yaml"], "no/such.yaml"),
    ],
)
def test_mistakes_are_a_sentence_and_exit_code_2(
    command: Callable[..., int], tmp_path: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*flags, "--out", tmp_path / "run") == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ") and words in message and "\n" not in message
    assert not (tmp_path / "run").exists()


def test_resuming_what_was_never_started_is_refused(
    command: Callable[..., int], phantom_files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = ["--images", phantom_files["image"], "--audio", phantom_files["audio"]]
    assert command(*sources, "--out", tmp_path / "run", "--resume", "latest") == 2
    message = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert message.startswith("error: There is no checkpoint")
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_settings_is_refused_and_changes_nothing(
    finished: tuple[Path, list[str]], command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(finished[0])
    assert command(*FLAGS, "--mask-ratio", "0.5", "--out", finished[0], "--resume", "latest") == 2
    assert "other settings or data" in capsys.readouterr().err
    assert digests(finished[0]) == before


def test_two_trainings_do_not_share_a_folder(
    finished: tuple[Path, list[str]], command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = finished
    before = digests(out)
    with alone_in(out):
        for flags in ([], ["--resume", "latest"]):
            assert command(*FLAGS, "--out", out, *flags) == 2
            assert f"error: Another run is writing to {out} (process {os.getpid()}); wait" in capsys.readouterr().err
    assert digests(out) == before


def test_resuming_on_data_that_were_edited_is_refused_and_names_them(
    finished: tuple[Path, list[str]], command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied, all files have other times; one has another content of the same size."""
    out = shutil.copytree(finished[0], tmp_path / "run")
    edited = next((out / "phantoms" / "audio" / "train").rglob("*.wav"))
    content = bytearray(edited.read_bytes())
    content[100] ^= 1
    edited.write_bytes(content)
    assert command(*FLAGS, "--out", out, "--resume", "latest") == 2
    message = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert message.startswith(f"error: {edited} changed since the run in {out} began")


def test_a_number_that_nobody_meant_is_refused_before_training(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--per-class", 10**12, "--out", tmp_path / "run") == 2
    assert "samples take at least" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_help_lists_the_flags() -> None:
    done = run(SCRIPT, "--help", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    flags = ("images", "audio", "preset", "epochs", "batch-size", "mask-ratio", "fusion-query", "loss-coupling")
    for flag in (*flags, "per-class", "seed", "out", "resume", "mixed-precision"):
        assert f"--{flag} " in done.stdout


def test_the_papers_settings_are_flags() -> None:
    path = str(PROJECT / "recipes" / "configs" / "paper.yaml")
    config, paper = parse_config(MAEFlags, ["--config", path]), PRESETS["paper"]
    assert (config.preset, config.epochs, config.batch_size, config.lr) == ("paper", 20, 128, 1e-3)
    assert (paper.epochs, paper.batch_size, paper.lr) == (config.epochs, config.batch_size, config.lr)
    assert config.fusion_query == paper.fusion_query == "other"
    assert config.mask_ratio == 0.75 and config.loss_coupling == "decoupled" and config.image_weights is None
    assert parse_config(MAEFlags, ["--config", path, "--epochs", "2"]).epochs == 2
    # The file sets flags and nothing else, so without it the defaults hold.
    assert parse_config(MAEFlags, []) == MAEFlags()
