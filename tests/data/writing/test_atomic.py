from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmgen.data.writing.atomic import is_temporary, new_file, new_files, new_folder, remove_temporaries
from mmgen.errors import UserError


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_appears_whole(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "here and там" / "肺.txt"
    with new_file(path, sync) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
        assert [is_temporary(Path(name).name) for name in files(tmp_path)] == [True]
        file.write(b" and half")
    assert path.read_bytes() == b"half and half" and len(files(tmp_path)) == 1


def test_an_earlier_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "a") as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_bytes() == b"old" and files(tmp_path) == ["a"]
    with new_file(tmp_path / "a") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    with new_file(tmp_path / "a") as first, new_file(tmp_path / "a") as second:
        first.write(b"1")
        second.write(b"22")
        first.write(b"1")
    assert (tmp_path / "a").read_bytes() in (b"11", b"22") and files(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("where", ["replace", "fsync"])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, where: str
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(number, "full")

    (tmp_path / "old").write_bytes(b"old")
    monkeypatch.setattr(os, where, full)
    words = r"disk is full: .*/new cannot be written; free space and run"
    with pytest.raises(UserError, match=words), new_file(tmp_path / "new", sync=True) as file:
        file.write(b"1")
    assert files(tmp_path) == ["old"]


def test_other_faults_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"), new_file(tmp_path / "file" / "below") as file:
        file.write(b"1")
    with pytest.raises(ValueError, match="mine"), new_file(tmp_path / "a"):
        raise ValueError("mine")


def test_only_what_looks_like_a_leftover_is_removed(tmp_path: Path) -> None:
    keep = [".tmp", ".tmp-1", ".tmp-mine.png", "a/.tmp-0123abcg-x", "x.tmp-0123abcd-x", "a/000000.png"]
    remove = [".tmp-0123abcd-README.md", "a/b/.tmp-00000000-000000.png", "a/.tmp-ffffffff-.tmp-x"]
    for name in keep + remove:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    remove_temporaries(tmp_path)
    assert files(tmp_path) == sorted(keep)
    remove_temporaries(tmp_path / "missing")


FILLING = """
import sys, time
from pathlib import Path
from mmgen.data.writing.atomic import new_folder

with new_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("secret")
    print(folder.name, flush=True)
    time.sleep(100)
"""


def test_what_a_killed_process_left_of_a_folder_is_removed(tmp_path: Path) -> None:
    """And nothing else: neither what a living one writes, nor what is another's."""
    others = [".tmp-0123abcd-other", ".tmp-0123abcd-out-2", ".tmp-mine-out", "0123abcd-out"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / ".tmp-0123abcd-out").write_text("a file")
    os.mkfifo(tmp_path / ".tmp-0123abce-out")
    files_here = [".tmp-0123abcd-out", ".tmp-0123abce-out"]
    command = [sys.executable, "-c", FILLING, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = process.stdout.readline().strip()
        try:
            with new_folder(tmp_path / "out") as folder:
                (folder / "whole").write_text("1")
                assert (tmp_path / left / "half").exists()
        finally:
            process.kill()
    assert {path.name for path in tmp_path.iterdir()} == {*others, *files_here, left, "out"}
    (tmp_path / "out" / "whole").unlink()
    with new_folder(tmp_path / "out"):
        assert not (tmp_path / left).exists()
    assert {path.name for path in tmp_path.iterdir()} == {*others, *files_here, "out"}


def test_disks_that_lock_nothing_keep_what_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    (tmp_path / ".tmp-0123abcd-out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("1")
    assert {path.name for path in tmp_path.iterdir()} == {".tmp-0123abcd-out", "out"}


def test_a_folder_that_another_process_removes_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    lock, tries = fcntl.flock, []

    def removing(descriptor: int, operation: int) -> None:
        tries.append(descriptor)
        if len(tries) == 1:
            next(tmp_path.glob(".tmp-*")).rmdir()
        if len(tries) == 2:
            raise BlockingIOError
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removing)
    with new_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("1")
    assert len(tries) == 3 and (tmp_path / "out" / "whole").exists()


def test_files_that_belong_together_replace_earlier_ones_together(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "other").write_bytes(b"mine")
    with new_files(tmp_path) as new:
        (new / "a").write_bytes(b"new")
        (new / "b").write_bytes(b"new")
        assert (tmp_path / "a").read_bytes() == b"old" and not (tmp_path / "b").exists()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new", "b": b"new", "other": b"mine"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError("I/O error: full (os error 28)"), None])
def test_of_files_that_belong_together_none_comes_alone(tmp_path: Path, error: Exception | None) -> None:
    (tmp_path / "a").write_bytes(b"old")
    expected = (KeyboardInterrupt, None) if error is None else (UserError, "The disk is full")
    with pytest.raises(expected[0], match=expected[1]), new_files(tmp_path) as new:
        (new / "a").write_bytes(b"new")
        raise error or KeyboardInterrupt
    assert files(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"
