from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from PIL import Image

import mmgen
from mmgen.artifacts import provenance
from mmgen.artifacts.provenance import (
    Costs,
    begin_run,
    config_to_dict,
    git_revision,
    machine,
    package_versions,
    write_config,
)
from mmgen.data.images import ImageSettings
from mmgen.data.loading import PairedData, prepare
from mmgen.data.sources import Source
from mmgen.errors import UserError
from mmgen.training.run import Run


@dataclass(frozen=True)
class Inner:
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True)
class Config:
    images: Path | None = Path("a b/bilder")
    out: Path | None = None
    seed: int = 3
    inner: Inner = field(default_factory=Inner)


def test_a_configuration_becomes_plain_values() -> None:
    values = config_to_dict(Config())
    assert values == {"images": "a b/bilder", "out": None, "seed": 3, "inner": {"betas": [0.9, 0.95]}}
    assert json.loads(json.dumps(values)) == values


def test_config_yaml_holds_what_the_result_came_from(tmp_path: Path) -> None:
    write_config(tmp_path / "new" / "run", config_to_dict(Config()), {"image": "abc"})
    document = yaml.safe_load((tmp_path / "new" / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert list(document) == ["config", "data_fingerprints", "versions", "git_revision", "machine"]
    assert document["config"] == config_to_dict(Config())
    assert document["data_fingerprints"] == {"image": "abc"}
    assert document["versions"]["mmgen"] == mmgen.__version__
    assert document["versions"]["python"] == platform.python_version()


def test_versions_of_absent_packages_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_PACKAGES", ("torch", "no-such-package"))
    versions = package_versions()
    assert versions["no-such-package"] == "absent"
    assert versions["torch"].startswith("2.")


def test_the_machine_is_described_without_names() -> None:
    text = json.dumps(machine())
    assert platform.node() not in text and str(Path.home()) not in text
    assert machine()["threads"] >= 1 and machine()["device"] and machine()["processor"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_new_training_removes_the_audit_of_the_last_one(tmp_path: Path, accelerator: Any, resume: bool) -> None:
    for folder in ("audit", "model"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "privacy.json").write_text('{"audited": true}')
    begin_run(Run(accelerator, tmp_path, resume), {}, PairedData({}, {}, {}), [])
    assert (tmp_path / "audit" / "privacy.json").exists() == resume
    assert json.loads((tmp_path / "model" / "privacy.json").read_text()) == {"audited": resume}
    begin_run(Run(accelerator, tmp_path / "new"), {}, PairedData({}, {}, {}), [])  # nothing to remove
    assert not (tmp_path / "new" / "model").exists()


def test_costs_of_phases_that_end() -> None:
    costs = Costs(torch.device("cpu"))
    with costs.phase("sleep"):
        time.sleep(0.05)
    with pytest.raises(RuntimeError), costs.phase("fail"):
        raise RuntimeError
    assert list(costs) == ["sleep"]
    assert costs["sleep"].keys() == {"seconds", "device", "peak_memory_mb"}
    assert 0.05 <= costs["sleep"]["seconds"] < 5 and costs["sleep"]["device"] == "cpu"
    assert 10 < costs["sleep"]["peak_memory_mb"] < 1e6
    assert json.loads(json.dumps(costs)) == costs


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_revision_is_that_of_the_source_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tmp_path / "checkout"
    source = checkout / "mmgen" / "artifacts" / "provenance.py"
    source.parent.mkdir(parents=True)
    source.write_text("1")
    monkeypatch.setattr(provenance, "__file__", str(source))
    assert git_revision() is None  # no repository
    git(checkout, "init", "-q")
    assert git_revision() is None  # no revision yet
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "first")
    head = git(checkout, "rev-parse", "HEAD")
    assert git_revision() == head
    (checkout / "runs").write_text("not tracked")
    assert git_revision() == head
    source.write_text("2")
    assert git_revision() == head + "+"


def test_somebody_elses_repository_is_not_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "theirs")
    package = tmp_path / "env" / "site-packages" / "mmgen"
    package.mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(package / "artifacts" / "provenance.py"))
    assert git_revision() is None


# -- a run begins, or goes on


def pictures(folder: Path) -> PairedData:
    """Data of a few pictures, which are made where they are not there."""
    for number in range(20):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 9), dtype=np.uint8)).save(path)
    return prepare({"image": Source(folder, ImageSettings(8))})


def begin(accelerator: Accelerator, folder: Path, resume: bool = False) -> None:
    begin_run(Run(accelerator, folder / "run", resume), {"seed": 3}, pictures(folder / "data"), ["stage"])


def test_touched_data_go_on_and_edited_data_of_the_same_size_are_named(
    accelerator: Accelerator, tmp_path: Path
) -> None:
    begin(accelerator, tmp_path)
    os.utime(tmp_path / "data" / "b" / "5.png", (0, 0))
    begin(accelerator, tmp_path, resume=True)
    edited = tmp_path / "data" / "b" / "5.png"
    size = edited.stat().st_size
    Image.fromarray(np.random.default_rng(99).integers(0, 256, (9, 9), dtype=np.uint8)).save(edited)
    assert edited.stat().st_size == size
    for _ in range(2):  # a refusal is no beginning
        with pytest.raises(UserError, match=r"data/b/5\.png changed since the run in .*run began"):
            begin(accelerator, tmp_path, resume=True)
    begin(accelerator, tmp_path)  # anew
    begin(accelerator, tmp_path, resume=True)


@pytest.mark.parametrize(
    "content", [b"", b"config:\n  seed: [3", b"\xff", b"[" * 100_000, b"3", b"[]", b"config: {}", b"x" * (2 << 20)]
)
def test_a_damaged_configuration_is_named(accelerator: Accelerator, tmp_path: Path, content: bytes) -> None:
    begin(accelerator, tmp_path)
    (tmp_path / "run" / "config.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.yaml is damaged, .*; remove it to go on"):
        begin(accelerator, tmp_path, resume=True)
    (tmp_path / "run" / "config.yaml").unlink()
    begin(accelerator, tmp_path, resume=True)


def test_what_an_earlier_run_left_is_set_aside_before_it_is_described_anew(
    accelerator: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(accelerator, tmp_path / "run")
    for part in (run, run.stage("stage")):
        part.checkpoints.save({"update": 1}, 1)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(provenance, "write_config", killed)
    with pytest.raises(KeyboardInterrupt):
        begin(accelerator, tmp_path)
    assert not run.resumable and not run.stage("stage").resumable
