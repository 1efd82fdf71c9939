from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import SETTINGS, SOUND
from swollen import KINDS, little_memory, swell

from mmgen.data.writing.unfinished import INCOMPLETE, prepare_folder
from mmgen.data.writing.verify import verify_dataset
from mmgen.data.writing.writer import FolderWriter, ShardWriter, SyntheticSample

LABELS = ("covid", "肺 炎")


def make(folder: Path, kind: type[FolderWriter] | type[ShardWriter]) -> Path:
    """Six samples, four a piece."""
    rng = np.random.default_rng(0)
    prepare_folder(folder, False, {})
    writer = kind(folder, SETTINGS, LABELS, 3, 4, lambda index: {"label": LABELS[index // 3]})
    log_mel = np.zeros(SOUND.shape[1:], dtype=np.float32)
    sound = (log_mel, np.zeros(SOUND.segment_samples, dtype=np.float32))
    pixels = rng.integers(0, 256, (6, *SETTINGS["image"].shape), dtype=np.uint8)
    writer.write(SyntheticSample(index, {"image": pixels[index]}, {"audio": sound}) for index in range(6))
    writer.finish({})
    return folder


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    return {"folder": make(root / "folder", FolderWriter), "shards": make(root / "shards", ShardWriter)}


@pytest.fixture
def folder(originals: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(originals["folder"], tmp_path / "in folders")


@pytest.fixture
def shards(originals: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(originals["shards"], tmp_path / "in shards")


def problems(folder: Path) -> list[str]:
    found = verify_dataset(folder, progress=False)
    assert all("\n" not in problem and problem.endswith(".") and problem.isprintable() for problem in found)
    return found


def only(folder: Path, words: str) -> None:
    found = problems(folder)
    assert len(found) == 1 and words in found[0], found


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "dataset.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    change(about)
    path.write_text(json.dumps(about), encoding="utf-8")


def relist(folder: Path, name: str) -> None:
    """Make the checksum of a changed file right again: what a forger would do."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    edit(folder, lambda about: about["checksums"].update({name: digest}))


def test_an_intact_data_set_has_no_problems(folder: Path, shards: Path, tmp_path: Path) -> None:
    assert problems(folder) == [] and problems(shards) == []
    (tmp_path / "link").symlink_to(folder)
    assert problems(tmp_path / "link") == []


def test_every_changed_byte_is_found(folder: Path, shards: Path) -> None:
    for root in (folder, shards):
        for path in sorted(path for path in root.rglob("*") if path.is_file() and path.name != "dataset.json"):
            whole = path.read_bytes()
            for content in (whole[:-1], whole + b"\0", whole[:-1] + bytes([whole[-1] ^ 1]), b""):
                path.write_bytes(content)
                found = problems(root)
                assert f"changed since they were listed: {path.relative_to(root).as_posix()}." in found[0], found
            path.write_bytes(whole)
        assert problems(root) == []


def test_missing_and_additional_files_are_counted_and_named(folder: Path) -> None:
    for number in range(3):
        (folder / "images" / "covid" / f"{number:06d}.png").unlink()
    shutil.rmtree(folder / "audio")
    (folder / "notes.txt").write_text("mine")
    (folder / "images" / ".hidden").write_text("mine")
    found = problems(folder)
    assert len(found) == 2
    assert found[0].startswith("2 files are not listed in dataset.json: notes.txt, images/.hidden.")
    assert found[1].startswith("9 files are missing: ") and "and 4 more" in found[1]
    assert "images/covid/000000.png" in found[1]


def test_an_unfinished_data_set_is_told_from_a_damaged_one(folder: Path, tmp_path: Path) -> None:
    prepare_folder(tmp_path / "new", False, {})
    only(tmp_path / "new", "still being written, or was interrupted: run the same command again")
    (folder / INCOMPLETE).write_text("{}")
    only(folder, "still being written, or was interrupted")


def test_what_is_no_data_set_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    only(tmp_path / "missing", "is no folder")
    (tmp_path / "empty").mkdir()
    only(tmp_path / "empty", "no finished synthetic data set")
    (folder / "dataset.json").rename(tmp_path / "elsewhere.json")
    (folder / "dataset.json").symlink_to(tmp_path / "elsewhere.json")
    only(folder, "it is a link")
    (folder / "dataset.json").unlink()
    os.mkfifo(folder / "dataset.json")
    only(folder, "no file")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "3", '"text"', "{}", "\ufeff{}", "[" * 100_000, '{"synthetic": true}', "\udcff",
        '{"synthetic": "true", "format": "folder", "counts": {}, "checksums": {}}',
        '{"synthetic": true, "format": "tar\\u001b[2J", "counts": {}, "checksums": {}}',
        '{"synthetic": true, "format": ["folder"], "counts": {}, "checksums": {}}',
        '{"synthetic": true, "format": "folder", "counts": [1], "checksums": {}}',
        '{"synthetic": true, "format": "folder", "counts": {"a": -1}, "checksums": {}}',
        '{"synthetic": true, "format": "folder", "counts": {"a": 1e99}, "checksums": {}}',
        '{"synthetic": true, "format": "folder", "counts": {"a": true}, "checksums": {}}',
        '{"synthetic": true, "format": "folder", "counts": {"a": NaN}, "checksums": {}}',
        '{"synthetic": true, "format": "folder", "counts": {}, "checksums": []}',
        '{"synthetic": true, "format": "folder", "counts": {}, "checksums": {"a": 1}}',
        '{"synthetic": true, "format": "folder", "counts": {}, "checksums": {"a": "0"}}',
    ],
    ids=lambda text: ascii(text)[:50],
)  # fmt: skip
def test_absurd_documents_are_sentences(folder: Path, text: str) -> None:
    (folder / "dataset.json").write_bytes(text.encode(errors="surrogateescape"))
    only(folder, "dataset.json cannot be used")


# -- names that lead elsewhere


def test_paths_that_lead_out_are_named_and_not_opened(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    names = [
        str(secret),
        "../secret",
        "images/../../secret",
        "",
        ".",
        "a//b",
        "a/",
        "C:\\secret",
        "nul\0",
        "./README.md",
    ]
    edit(folder, lambda about: about["checksums"].update(dict.fromkeys(names, digest)))
    found = problems(folder)
    assert len(found) == 1 and found[0].startswith(f"{len(names)} files are outside the data set: ")


def test_links_are_named_and_not_followed(folder: Path, tmp_path: Path) -> None:
    for name in ("images/covid/000000.png", "metadata.csv"):
        (folder / name).rename(tmp_path / Path(name).name)
        os.symlink(tmp_path / Path(name).name, folder / name)
    (folder / "audio").rename(tmp_path / "audio")
    os.symlink(tmp_path / "audio", folder / "audio")
    os.symlink("/", folder / "everything")
    os.symlink("images", folder / "inside")
    found = problems(folder)
    assert len(found) == 2 and "metadata.csv is not there" in found[1]
    # The three links to folders, two to files, and six files below one of the folders.
    assert found[0].startswith("11 files are links, which are not followed: audio, everything, inside, ")


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    path = folder / "images" / "covid" / "000000.png"
    path.unlink()
    os.mkfifo(path)
    only(folder, "no regular files: images/covid/000000.png")


def test_strange_names_say_nothing_to_a_terminal(folder: Path) -> None:
    name = "clear\x1b[2J\nscreen"
    (folder / name).write_text("x")
    edit(
        folder, lambda about: about["checksums"].update({"\ud800": "0" * 64, "gone\r": "0" * 64, "x" * 5000: "0" * 64})
    )
    found = problems(folder)
    assert any(r"\x1b[2J\nscreen" in problem for problem in found)
    assert any("file is missing" in problem for problem in found) and all(len(problem) < 2000 for problem in found)


# -- counts


def test_counts_are_compared_with_the_table(folder: Path) -> None:
    path = folder / "metadata.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    relist(folder, "metadata.csv")
    only(folder, "metadata.csv has other numbers of samples than dataset.json: '肺 炎' (2, not 3)")
    path.write_text("".join(lines).replace("images/covid/000001.png", "../covid/000001.png"), encoding="utf-8")
    relist(folder, "metadata.csv")
    only(folder, "named by metadata.csv but not listed in dataset.json: ../covid/000001.png")
    for content in (b"\xff\xfe", b"a,b\n1,2\n", b'label\n"' + b"x" * 200_000):
        path.write_bytes(content)
        relist(folder, "metadata.csv")
        assert any("metadata.csv" in problem for problem in problems(folder))


def rewrite(shard: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], kind: bytes = tarfile.REGTYPE) -> None:
    with tarfile.open(shard) as tar:
        members = {about.name: tar.extractfile(about).read() for about in tar}  # type: ignore[union-attr]
    with tarfile.open(shard, "w") as tar:
        for name, content in change(members).items():
            about = tarfile.TarInfo(name)
            about.size, about.type = (len(content), tarfile.REGTYPE) if kind == tarfile.REGTYPE else (0, kind)
            about.linkname = "/etc/passwd"
            tar.addfile(about, io.BytesIO(content))


FORGED: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "fewer": (lambda m: {n: c for n, c in m.items() if "000003" not in n}, "'肺 炎' (2, not 3)"),
    "twice": (lambda m: {n.replace("000001", "000000"): c for n, c in m.items()} | {"000000.json": b"{}"}, "000000"),
    "again": (lambda m: {n.replace("000003", "000004"): c for n, c in m.items()}, "the sample 000004 is there twice"),
    "other label": (lambda m: m | {"000000.json": b'{"label": "healthy"}'}, "'covid' (2, not 3)"),
    "no label": (lambda m: m | {"000000.json": b"{}"}, "000000.tar cannot be used"),
    "no object": (lambda m: m | {"000000.json": b"[1]"}, "000000.tar cannot be used"),
    "no JSON": (lambda m: m | {"000000.json": b"\xff"}, "000000.tar cannot be used"),
    "deep": (lambda m: m | {"000000.json": b"[" * 100_000}, "000000.tar cannot be used"),
    "large": (lambda m: m | {"000000.json": b'{"label": "covid"}' + b" " * (1 << 20)}, "000000.tar cannot be used"),
    "no picture": (lambda m: {n: c for n, c in m.items() if n != "000001.png"}, "000001 has other files"),
    "way out": (lambda m: m | {"../000009.png": b""}, "../000009.png is no plain file"),
    "absolute": (lambda m: m | {"/etc/x.png": b""}, "etc/x.png is no plain file"),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_forged_shards_are_found(shards: Path, forgery: str) -> None:
    change, words = FORGED[forgery]
    rewrite(shards / "shards" / "000000.tar", change)
    relist(shards, "shards/000000.tar")
    assert words in problems(shards)[0]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_members_that_are_no_files_are_found(shards: Path, kind: bytes) -> None:
    rewrite(shards / "shards" / "000001.tar", lambda members: members, kind)
    relist(shards, "shards/000001.tar")
    assert "is no plain file" in problems(shards)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_no_memory_holds_are_found_and_not_read(shards: Path, kind: str) -> None:
    swell(shards / "shards" / "000001.tar", "000004.png", kind)
    relist(shards, "shards/000001.tar")
    with little_memory():
        found = problems(shards)
    words = "000004.png is larger than 64 MiB" if kind == "large" else "it holds sparse files"
    assert f"The shard shards/000001.tar cannot be used ({words}" in found[0]


def test_a_document_is_bounded(folder: Path) -> None:
    with (folder / "dataset.json").open("r+b") as file:
        file.truncate(1 << 40)
    only(folder, "it is larger than 512 MiB")


def test_damaged_shards_are_sentences(shards: Path) -> None:
    path = shards / "shards" / "000000.tar"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 100, 512, 700, len(whole) // 2, *rng.integers(0, len(whole), 20).tolist()):
        path.write_bytes(whole[:cut])
        relist(shards, "shards/000000.tar")
        assert problems(shards) or not whole[cut:].strip(b"\0")
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole) // 512, 3).tolist():  # headers and the starts of contents
            damaged[place * 512 + int(rng.integers(512))] = int(rng.integers(256))
        path.write_bytes(damaged)
        relist(shards, "shards/000000.tar")
        problems(shards)  # never an exception
    path.write_bytes(whole)
    (shards / "shards" / "000001.tar").unlink()
    found = problems(shards)
    assert "1 file is missing: shards/000001.tar." in found
    assert any("'肺 炎' (1, not 3)" in problem for problem in found)
