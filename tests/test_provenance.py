from __future__ import annotations

import json
import platform
import re
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import mmgen
from mmgen import provenance
from mmgen.data.images import IMAGE_SUFFIXES
from mmgen.data.manifest import read_manifest
from mmgen.data.prepare import fingerprint
from mmgen.provenance import config_to_dict, git_revision, machine, package_versions, write_config


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


def test_the_fingerprint_changes_with_the_data(phantom_files: dict[str, Path]) -> None:
    manifest = read_manifest(phantom_files["image"], IMAGE_SUFFIXES)
    same = read_manifest(phantom_files["image"], IMAGE_SUFFIXES)
    mark = fingerprint(manifest)
    assert re.fullmatch("[0-9a-f]{64}", mark) and mark == fingerprint(same)
    flipped = manifest.labels.copy()
    flipped[0] = 1 - flipped[0]
    others = [
        manifest.select(np.arange(1, len(manifest))),
        manifest.with_splits(None),
        replace(manifest, labels=flipped),
        replace(manifest, label_names=("covid", "well")),
    ]
    assert len({mark, *map(fingerprint, others)}) == 5


def test_the_fingerprint_sees_another_file_size(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(b"12")
    manifest = read_manifest(tmp_path, IMAGE_SUFFIXES)
    mark = fingerprint(manifest)
    (tmp_path / "a" / "1.png").write_bytes(b"123")
    assert fingerprint(manifest) != mark


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_revision_is_that_of_the_source_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tmp_path / "checkout"
    source = checkout / "mmgen" / "provenance.py"
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
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "env" / "site-packages" / "mmgen" / "provenance.py"))
    (tmp_path / "env" / "site-packages").mkdir(parents=True)
    assert git_revision() is None
