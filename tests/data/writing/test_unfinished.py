from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import digests

from mmgen.data.writing import unfinished as module
from mmgen.data.writing.unfinished import INCOMPLETE, alone_in, prepare_folder
from mmgen.errors import UserError

RUN = {"seed": 3, "labels": ["covid", "肺炎"], "mask ratio": {"image": 0.75}, "batch size": 32}


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("something")


def finish(folder: Path) -> None:
    (folder / "dataset.json").write_text('{"synthetic": true}')
    (folder / INCOMPLETE).unlink()


def test_an_empty_or_missing_folder_is_marked(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new" / "deeper"):
        assert not prepare_folder(folder, False, RUN)
        assert [path.name for path in folder.iterdir()] == [INCOMPLETE]


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "set", False, RUN)
    fill(tmp_path / "set", "images/1.png")
    finish(tmp_path / "set")
    before = digests(tmp_path / "set")
    with pytest.raises(UserError, match="is not empty; choose another --out, or add --overwrite"):
        prepare_folder(tmp_path / "set", False, RUN)
    assert digests(tmp_path / "set") == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_same_run_goes_on(tmp_path: Path, overwrite: bool) -> None:
    prepare_folder(tmp_path, False, RUN)
    fill(tmp_path, "images/covid/000000.png", "images/covid/.tmp-0123abcd-000001.png", ".tmp-00000000-README.md")
    before = digests(tmp_path)
    again = {key: RUN[key] for key in reversed(RUN)} | {"labels": ("covid", "肺炎")}  # as JSON they are equal
    assert prepare_folder(tmp_path, overwrite, again)
    assert digests(tmp_path) == {name: digest for name, digest in before.items() if ".tmp-" not in name}


def test_another_run_is_told_what_differs(tmp_path: Path) -> None:
    prepare_folder(tmp_path, False, RUN)
    fill(tmp_path, "images/covid/000000.png")
    before = digests(tmp_path)
    other = {**RUN, "seed": 4, "batch size": 8, "format": "folder"}
    with pytest.raises(UserError) as caught:
        prepare_folder(tmp_path, False, other)
    assert "differs in seed (3, now 4), batch size (32, now 8), format (null, now folder);" in str(caught.value)
    assert "--overwrite" in str(caught.value) and "--out" in str(caught.value)
    assert digests(tmp_path) == before
    assert not prepare_folder(tmp_path, True, other)
    assert [path.name for path in tmp_path.iterdir()] == [INCOMPLETE]
    assert prepare_folder(tmp_path, False, other)


def test_overwrite_clears_a_finished_data_set_of_the_same_run(tmp_path: Path) -> None:
    prepare_folder(tmp_path, False, RUN)
    fill(tmp_path, "images/covid/000000.png", ".hidden/file")
    finish(tmp_path)
    assert not prepare_folder(tmp_path, True, RUN)
    assert [path.name for path in tmp_path.iterdir()] == [INCOMPLETE]


def test_a_kill_while_an_old_set_is_cleared_leaves_nothing_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_folder(tmp_path, False, RUN)
    fill(tmp_path, "images/covid/000000.png", "audio/covid/000000.flac")
    finish(tmp_path)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare_folder(tmp_path, True, RUN)
    monkeypatch.undo()
    assert (tmp_path / "images").is_dir()
    with pytest.raises(UserError, match=r"interrupted data set .* --overwrite"):
        prepare_folder(tmp_path, False, RUN)
    assert not prepare_folder(tmp_path, True, RUN)
    assert [path.name for path in tmp_path.iterdir()] == [INCOMPLETE]


def test_a_mark_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    fill(tmp_path, f".tmp-0123abcd-{INCOMPLETE}")
    assert not prepare_folder(tmp_path, False, RUN)
    assert (tmp_path / INCOMPLETE).is_file()


def test_links_in_an_old_data_set_are_removed_not_followed(tmp_path: Path) -> None:
    fill(tmp_path / "mine", "thesis.txt")
    prepare_folder(tmp_path / "set", False, RUN)
    os.symlink(tmp_path / "mine", tmp_path / "set" / "images")
    os.symlink(tmp_path / "mine" / "thesis.txt", tmp_path / "set" / "README.md")
    assert not prepare_folder(tmp_path / "set", True, {**RUN, "seed": 9})
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "something"


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.txt": "years of work"},
        {"dataset.json": '{"modality": {"0": "CT"}, "numTraining": 900}'},  # nnU-Net's
        {"dataset.json": '{"synthetic": false}'},
        {"dataset.json": "[1]"},
        {"dataset.json": "not JSON"},
        {"INCOMPLETE": "mine"},
        {"INCOMPLETE": "[1]"},
        {"INCOMPLETE": '{"note": "mine", "run": {}}'},
        {"INCOMPLETE": json.dumps({"note": module._NOTE, "run": 3})},
        {"INCOMPLETE": "[" * 100_000},
        {"metadata.csv": "file_name,label\n", "README.md": "mine"},
    ],
    ids=lambda files: str(files)[:60],
)
def test_overwrite_deletes_nothing_that_is_no_data_set(files: dict[str, str], tmp_path: Path) -> None:
    for name, text in {"patients/1.png": "a picture", **files}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = digests(tmp_path)
    with pytest.raises(UserError, match="no synthetic data set and are not deleted"):
        prepare_folder(tmp_path, True, RUN)
    assert digests(tmp_path) == before


def test_a_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("mine")
    with pytest.raises(UserError, match="is a file"), alone_in(tmp_path / "set"):
        pass


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    with (
        alone_in(tmp_path / "set"),
        pytest.raises(UserError, match=r"Another run is writing to .*set.*; wait"),
        alone_in(tmp_path / "set"),
    ):
        pass
    with alone_in(tmp_path / "set"):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from mmgen.data.writing.unfinished import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_process_that_holds_a_folder_is_named_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "run"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError) as refused, alone_in(tmp_path / "run"):
            pass
        holder.kill()
    assert f"Another run is writing to {tmp_path / 'run'} (process {holder.pid}); wait" in str(refused.value)
    with alone_in(tmp_path / "run"):
        pass


def test_without_a_list_of_locks_the_process_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (None, "", "1: FLOCK\n", f"1: FLOCK  ADVISORY  WRITE 0 fe:00:{tmp_path.stat().st_ino} 0 EOF\n"):

        def read_text(path: Path, content: str | None = content) -> str:
            if content is None:
                raise PermissionError
            return content

        with alone_in(tmp_path), monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", read_text)
            with pytest.raises(UserError, match=rf"^Another run is writing to {tmp_path}; wait"), alone_in(tmp_path):
                pass


def test_only_a_folder_that_got_content_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with alone_in(tmp_path / "mine"), alone_in(tmp_path / "new"), alone_in(tmp_path / "used"):
        (tmp_path / "used" / "file").write_text("")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "used"]


def test_what_killed_runs_left_is_removed_but_not_what_another_run_is_writing_below(tmp_path: Path) -> None:
    left = [".tmp-0123abcd-config.yaml", "model/.tmp-0123abcd-files/model.safetensors", "a/b/.tmp-ffffffff-x"]
    written = ["audit/.tmp-0123abcd-privacy.json", "audit/measured/.tmp-0123abcd-x"]
    fill(tmp_path, *left, *written, "model/README.md")
    with alone_in(tmp_path / "audit"), alone_in(tmp_path, tidy=True):
        assert sorted(digests(tmp_path)) == sorted([*written, "model/README.md"])
    with alone_in(tmp_path, tidy=True):
        assert sorted(digests(tmp_path)) == ["model/README.md"]
