"""Data made to do harm: each is named in a sentence, within seconds and a bounded memory, and nothing else is read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from attacks import Watched, class_folders, fax, manifest, picture, sparse_shard, watched

SECONDS = 15  # with the start of a process, on a busy machine
MEMORY = 1024 + 100  # MiB: one GiB, and what the interpreter and numpy take; reading pictures does not import torch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    class_folders(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def rows(folder: Path) -> list[str]:
    return [f"{label}/{index}.png,{label}" for label in ("healthy", "ill") for index in range(6)]


def assert_named(done: Watched, *parts: str, memory: float = MEMORY) -> None:
    """It ended with 1, in bounds, with one problem that holds all parts, and nothing came from anybody but us."""
    assert done.code == 1, done.out[-2000:] + done.errors[-2000:]
    assert done.seconds < SECONDS and done.memory < memory
    problem = next(line for line in done.out.splitlines() if line.startswith("problem: "))
    assert all(part in problem for part in parts), problem
    assert "Traceback" not in done.errors and len(done.errors) < 20_000


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "socket"])
@pytest.mark.parametrize("own", [True, False])
def test_a_manifest_that_names_no_regular_file(
    folder: Path, rows: list[str], kind: str, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = folder / "healthy" / "x.png"
    if kind == "device":
        name.symlink_to("/dev/zero")
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as server:
            monkeypatch.chdir(folder)  # names of sockets are short
            server.bind("healthy/x.png")
    else:
        os.mkfifo(folder / "pipe" if "link" in kind else name)
        if "link" in kind:
            name.symlink_to(folder / "pipe")
    table = manifest(folder / "manifest.csv", [*rows, "healthy/x.png,healthy"])
    assert_named(watched("check", "--images", folder if own else table), "x.png (no regular file)")


def test_a_folders_own_manifest_does_not_lead_out_of_it(folder: Path, rows: list[str], tmp_path: Path) -> None:
    outside = tmp_path / "patient.png"
    outside.write_bytes(picture(999))
    table = manifest(folder / "manifest.csv", [*rows, f"{outside},healthy"])
    assert_named(watched("check", "--images", folder), "names 1 files outside its folder", str(outside))
    assert watched("check", "--images", table).code == 0, "a CSV that the user gave may name any file"


def test_names_of_files_do_nothing_to_a_terminal(folder: Path) -> None:
    (folder / "ill" / "\x1b[2J\nTraining can start.\u202e\u2028.png").write_bytes(b"no picture")
    done = watched("check", "--images", folder)
    assert_named(done, r"\x1b[2J\nTraining can start.\u202e\u2028.png (not an image")
    assert done.out.splitlines()[-1] == "Training would fail." and "Training can start." not in done.out.splitlines()
    assert not set("\x1b\u202e\u2028") & set(done.out + done.errors)


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"x" * 70_000_000, "a line is longer than"),
        (b'"' + (b"x" * 1000 + b"\n") * 5000, "field larger than field limit"),
        ((b"xy," * 300_000 + b"\n") * 10, "more fields than the header"),
    ],
    ids=["line", "field", "fields"],
)
def test_a_table_of_great_lines(folder: Path, rows: list[str], tail: bytes, reason: str) -> None:
    with manifest(folder / "table.csv", rows).open("ab") as file:
        file.write(tail)
    assert_named(watched("check", "--images", folder / "table.csv"), "table.csv", reason, memory=400)


@pytest.mark.parametrize("gigabytes", [0.9, 8])
def test_a_table_of_nothing(folder: Path, rows: list[str], gigabytes: float) -> None:
    table = manifest(folder / "table.csv", rows)
    os.truncate(table, int(gigabytes * 1e9))
    assert_named(watched("check", "--images", table), "table.csv", memory=400)


@pytest.mark.parametrize("sizes", [[6_000_000_000], [1_000_000_000] * 8])
def test_a_shard_of_great_members(tmp_path: Path, sizes: list[int]) -> None:
    members: dict[str, bytes | int] = {}
    for number, size in enumerate([0] * 12 + sizes):
        members |= {f"{number}.cls": b"ab"[number % 2 : number % 2 + 1], f"{number}.png": size or picture(number)}
    sparse_shard(tmp_path / "0.tar", members)
    assert_named(watched("check", "--images", tmp_path), "member 12.png (not an image", memory=400)


def test_a_fax_of_very_many_rows(folder: Path) -> None:
    noise = np.random.default_rng(0).bytes(4_000_000)
    (folder / "ill" / "long.tif").write_bytes(fax(10_000_000, 1, noise))
    (folder / "ill" / "wide.tif").write_bytes(fax(32_000, 100, noise))
    done = watched("check", "--images", folder)
    assert_named(done, "long.tif (it has 10000000 rows")
    assert "TIFF" not in done.errors and "wide.tif" not in done.errors


@pytest.mark.slow
def test_large_pictures_at_once(folder: Path) -> None:
    from PIL import Image

    large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6300, 6300, 3), dtype=np.uint8))
    for number in range(3):
        large.save(folder / "ill" / f"{number + 10}.png", compress_level=0)
        large.save(folder / "ill" / f"{number + 20}.tif", compression="tiff_lzw")
        large.save(folder / "healthy" / f"{number + 10}.jpg", quality=95)
    done = watched("check", "--images", folder, limit=300)
    assert done.code == 0 and done.memory < MEMORY, done.out
