"""What is uploaded is a release, to the byte, where and as private as the user said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from calling import call, error

from mmgen.errors import UserError
from mmgen.release.hub import push_to_hub
from mmgen.release.releasing import _write_checksums


class Hub:
    """Takes note of what it is asked for."""

    calls: list[tuple[Any, ...]]
    failure: Exception | None = None

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> str:
        if Hub.failure:
            raise Hub.failure
        Hub.calls.append(("create", repo_id, repo_type, private))
        return f"hub:{repo_type}/{repo_id}"

    def upload_folder(self, *, folder_path: Path, repo_id: str, repo_type: str, delete_patterns: str) -> None:
        Hub.calls.append(("upload", Path(folder_path).name, repo_id, repo_type))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    Hub.calls, Hub.failure = [], None
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return Hub


@pytest.fixture
def release(tmp_path: Path) -> Callable[..., Path]:
    """A folder of this form, as ``mmgen release`` leaves it."""

    def write(*parts: str) -> Path:
        for part in parts:
            (tmp_path / "out" / part).mkdir(parents=True)
            name = "model.safetensors" if part == "model" else "dataset.json"
            (tmp_path / "out" / part / name).write_text(part)
        _write_checksums(tmp_path / "out")
        return tmp_path / "out"

    return write


def test_model_and_data_set_are_uploaded_privately_under_one_name(hub: type[Hub], release: Callable[..., Path]) -> None:
    folder = release("model", "synthetic")
    assert push_to_hub(folder, "a/b") == {"synthetic": "hub:dataset/a/b", "model": "hub:model/a/b"}
    assert sorted(hub.calls) == [
        ("create", "a/b", "dataset", True),
        ("create", "a/b", "model", True),
        ("upload", "model", "a/b", "model"),
        ("upload", "synthetic", "a/b", "dataset"),
    ]


def test_several_data_sets_have_names_of_their_own(hub: type[Hub], release: Callable[..., Path]) -> None:
    pushed = push_to_hub(release("synthetic/ipc10", "synthetic/ipc50"), "a/b", public=True)
    assert list(pushed.values()) == ["hub:dataset/a/b-ipc10", "hub:dataset/a/b-ipc50"]
    assert {made[3] for made in hub.calls if made[0] == "create"} == {False}


def changed(folder: Path) -> None:
    (folder / "synthetic" / "dataset.json").write_text("other")


def more(folder: Path) -> None:
    (folder / "synthetic" / "patients.csv").write_text("A. Turing")


def fewer(folder: Path) -> None:
    (folder / "model" / "model.safetensors").unlink()


def linked(folder: Path) -> None:
    os.symlink("/etc/hostname", folder / "synthetic" / "link")


def linked_folder(folder: Path) -> None:
    os.symlink("/etc", folder / "synthetic" / "etc")


def no_release(folder: Path) -> None:
    (folder / "release.json").write_text('{"files": []}')


@pytest.mark.parametrize("fault", [changed, more, fewer, linked, linked_folder, no_release])
def test_nothing_is_uploaded_of_what_is_not_as_it_was_released(
    hub: type[Hub], release: Callable[..., Path], fault: Callable[[Path], None]
) -> None:
    folder = release("model", "synthetic")
    fault(folder)
    with pytest.raises(UserError, match="release"):
        push_to_hub(folder, "a/b")
    assert hub.calls == []


def test_a_run_is_no_release(hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert call(monkeypatch, "push", tmp_path, "--to", "a/b") == 2
    assert "is no release" in error(capsys) and hub.calls == []


def test_a_hub_that_refuses_is_one_sentence(
    hub: type[Hub], release: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    hub.failure = RuntimeError("401 Unauthorized.\nInvalid token")
    assert call(monkeypatch, "push", release("model"), "--to", "a/b") == 2
    assert "hf auth login" in error(capsys)
