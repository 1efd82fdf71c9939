"""What a run's data held when it began is compared by content where the times of files differ."""

from __future__ import annotations

import io
import os
import tarfile
import uuid
from collections.abc import Mapping
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from mmgen.data import loading
from mmgen.data.cache import Cache
from mmgen.data.contents import refuse_changed, write_contents
from mmgen.data.decoding import DecodedFiles
from mmgen.data.files import LocalFiles
from mmgen.data.images import ImageSettings
from mmgen.data.loading import prepare
from mmgen.data.sources import Reading, Source
from mmgen.errors import UserError

COUNT = 24


def picture(number: int) -> bytes:
    """A PNG of its own content; all have one size."""
    rng, buffer = np.random.default_rng(number), io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = {f"{'ab'[number % 2]}/{number}.png": picture(number) for number in range(COUNT)}
EDITED = "b/5.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "real data", PICTURES)
    return tmp_path / "real data"


def write(folder: Path, pictures: Mapping[str, bytes]) -> None:
    for name, content in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def read(place: Path | str, cache: Path | None = None) -> dict[str, DecodedFiles]:
    """A new start with the same data."""
    kept = None if cache is None else Cache(cache, 10**7)
    return dict(prepare({"image": Source(place, ImageSettings(8))}, Reading(cache=kept)).files)


def test_another_time_is_no_other_content_and_another_content_is_named(folder: Path, tmp_path: Path) -> None:
    assert len(picture(100)) == len(PICTURES[EDITED])
    for cache in (None, tmp_path / "cache"):
        record = tmp_path / f"{cache is None}.npz"
        write_contents(record, read(folder, cache))
        for path in folder.rglob("*.png"):
            os.utime(path, (0, 0))  # the inode's time changes, too
        refuse_changed(record, read(folder, cache))
        (folder / EDITED).write_bytes(picture(100))
        with pytest.raises(UserError) as refused:
            refuse_changed(record, read(folder, cache))
        assert str(refused.value).startswith(f"{folder / EDITED} changed since the run in {tmp_path} began; bring")
        (folder / EDITED).write_bytes(PICTURES[EDITED])
        refuse_changed(record, read(folder, cache))


def test_an_edit_that_keeps_the_time_of_the_content_is_found(folder: Path, tmp_path: Path) -> None:
    write_contents(tmp_path / "record.npz", read(folder))
    before = (folder / EDITED).stat()
    (folder / EDITED).write_bytes(picture(100))
    os.utime(folder / EDITED, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UserError, match=r"5\.png changed"):
        refuse_changed(tmp_path / "record.npz", read(folder))


@pytest.mark.parametrize("in_cache", [True, False])
def test_pictures_that_are_decoded_later(
    in_cache: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What training has met is known from the first resumption on, and only times of the rest."""
    monkeypatch.setattr(loading, "DECODE_AHEAD", 3)
    record, cache = tmp_path / "record.npz", tmp_path / "cache"
    files = read(folder, cache)
    write_contents(record, files)
    assert not files["image"].contents.any()
    if in_cache:
        files["image"].read(np.arange(COUNT), np.zeros(COUNT, np.int64))
    again = read(folder, cache)
    refuse_changed(record, again)
    write_contents(record, again)
    os.utime(folder / "a" / "0.png", (0, 0))
    (folder / EDITED).write_bytes(picture(100))
    if not in_cache:
        refuse_changed(record, read(folder, cache))
        assert "Whether 2 files changed since the run began is not known" in caplog.text
        return
    with pytest.raises(UserError, match=r"/5\.png changed") as refused:
        refuse_changed(record, read(folder, cache))
    assert "0.png" not in str(refused.value) and not caplog.text


def test_remote_files_and_archives_that_were_written_again(tmp_path: Path) -> None:
    url, shard = f"memory://{uuid.uuid4().hex}", tmp_path / "shards" / "000.tar"
    shard.parent.mkdir()

    def put(edited: bytes) -> None:
        pictures = PICTURES | {EDITED: edited}
        with tarfile.open(shard, "w") as tar:
            for number, (name, content) in enumerate(pictures.items()):
                fsspec.filesystem("memory").pipe_file(f"{url}/{name}", content)
                for member, data in ((f"{number:03d}.png", content), (f"{number:03d}.cls", name[:1].encode())):
                    about = tarfile.TarInfo(member)
                    about.size = len(data)
                    tar.addfile(about, io.BytesIO(data))

    for place, edited in ((url, "5.png"), (shard.parent, "005.png")):
        put(PICTURES[EDITED])
        write_contents(tmp_path / "record.npz", read(place))
        put(PICTURES[EDITED])
        refuse_changed(tmp_path / "record.npz", read(place))
        put(picture(100))
        with pytest.raises(UserError, match=rf"{edited} changed"):
            refuse_changed(tmp_path / "record.npz", read(place))
    fsspec.filesystem("memory").rm(url, recursive=True)


def test_a_run_without_a_record_is_taken_on_trust_and_a_damaged_one_is_named(folder: Path, tmp_path: Path) -> None:
    files, record = read(folder), tmp_path / "record.npz"
    refuse_changed(record, files)
    write_contents(record, files)
    whole = record.read_bytes()
    fewer = {"image": DecodedFiles(LocalFiles(folder), list(PICTURES)[1:], ImageSettings(8))}
    for content in (b"", b"PK", whole[:100], whole[:-9], b"\x93NUMPY" + whole):
        record.write_bytes(content)
        with pytest.raises(UserError, match=r"record\.npz is damaged; remove it"):
            refuse_changed(record, files)
    record.write_bytes(whole)
    with pytest.raises(UserError, match=r"record\.npz is damaged; remove it"):
        refuse_changed(record, fewer)


def test_a_large_file_is_not_read_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgen.data.decoding._PIECE", 10)
    monkeypatch.setattr("mmgen.data.decoding._MOST_DIGESTED", 3)
    assert not read(folder)["image"].contents.any()
