from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from small import SETTINGS, SOUND, digests

from mmgen.data.images import ImageSettings
from mmgen.data.settings import Settings
from mmgen.data.writing.unfinished import prepare_folder
from mmgen.data.writing.writer import FolderWriter, ShardWriter, SyntheticSample

LABELS = ("covid", "肺炎")


def sample(index: int) -> SyntheticSample:
    rng = np.random.default_rng(index)
    log_mel = rng.uniform(-9, 1, SOUND.shape[1:]).astype(np.float32)
    wave = rng.uniform(-1, 1, SOUND.segment_samples).astype(np.float32)
    pixels = rng.integers(0, 256, SETTINGS["image"].shape, dtype=np.uint8)
    return SyntheticSample(index, {"image": pixels}, {"audio": (log_mel, wave)})


def describe(index: int) -> dict[str, Any]:
    return {"label": LABELS[index // 5], "index": index, "source_image_id": index % 3, "source_audio_id": None}


def write_set(folder: Path, kind: type[ShardWriter] | type[FolderWriter] = ShardWriter) -> Any:
    """Ten samples, four a piece."""
    prepare_folder(folder, False, {})
    writer = kind(folder, SETTINGS, LABELS, 5, 4, describe)
    writer.write(map(sample, range(len(writer))))
    writer.finish({"generator": "a test"})
    return writer


def members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard, "r:") as tar:
        return {about.name: tar.extractfile(about).read() for about in tar}  # type: ignore[union-attr]


def test_shards_hold_a_fixed_number_of_samples(tmp_path: Path) -> None:
    write_set(tmp_path)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["README.md", "dataset.json", *(f"shards/{number:06d}.tar" for number in range(3))]
    keys = [sorted({name[:6] for name in members(tmp_path / name)}) for name in names[2:]]
    assert keys == [[f"{index:06d}" for index in indices] for indices in (range(4), range(4, 8), range(8, 10))]


def test_members_are_what_the_folder_form_writes(tmp_path: Path) -> None:
    write_set(tmp_path / "shards")
    folder = write_set(tmp_path / "folder", FolderWriter)
    found = members(tmp_path / "shards" / "shards" / "000001.tar")
    columns = {"image_file_name": "png", "audio_file_name": "flac", "audio_spectrogram": "spectrogram.npy"}
    for index in range(4, 8):
        for column, name in folder.files(index).items():
            assert found[f"{index:06d}.{columns[column]}"] == (tmp_path / "folder" / name).read_bytes()
        assert json.loads(found[f"{index:06d}.json"]) == describe(index)
    assert len(found) == 4 * 4
    heard, rate = soundfile.read(io.BytesIO(found["000004.flac"]))
    assert rate == SOUND.sample_rate and len(heard) == SOUND.segment_samples
    with Image.open(io.BytesIO(found["000004.png"])) as picture:
        assert np.array_equal(np.asarray(picture), sample(4).images["image"][0])


def test_a_shard_says_nothing_of_the_machine_and_the_time(tmp_path: Path) -> None:
    write_set(tmp_path / "a")
    write_set(tmp_path / "b б")
    assert digests(tmp_path / "a") == digests(tmp_path / "b б")
    with tarfile.open(tmp_path / "a" / "shards" / "000000.tar") as tar:
        for about in tar:
            assert (about.mtime, about.uid, about.gid, about.uname, about.gname, about.mode) == (0, 0, 0, "", "", 0o644)
            assert about.isreg() and not about.pax_headers


def test_further_modalities_carry_their_name(tmp_path: Path) -> None:
    settings: dict[str, Settings] = {
        "image": ImageSettings(8),
        "skin": ImageSettings(8),
        "audio": SOUND,
        "breath": SOUND,
    }
    made = sample(0)
    pixels, sound = np.zeros((1, 8, 8), dtype=np.uint8), made.sounds["audio"]
    writer = ShardWriter(tmp_path, settings, LABELS, 1, 1, lambda index: {"label": "covid"})
    writer.write([SyntheticSample(0, {"image": pixels, "skin": pixels}, {"audio": sound, "breath": sound})])
    suffixes = ["png", "skin.png", "flac", "spectrogram.npy", "breath.flac", "breath.spectrogram.npy", "json"]
    assert list(members(tmp_path / "shards" / "000000.tar")) == [f"000000.{suffix}" for suffix in suffixes]


def test_keys_of_more_than_a_million_samples_sort(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, SETTINGS, LABELS, 1_000_000, 1000, lambda index: {"label": "covid"})
    writer.write([sample(12)])
    assert next(iter(members(tmp_path / "shards" / "000000.tar"))) == "0000012.png"


def test_a_shard_is_there_or_not(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, SETTINGS, LABELS, 5, 4, describe)
    first, second, last = writer.pieces()
    writer.write(map(sample, [*first, *last]))
    assert [writer.present(piece) for piece in (first, second, last)] == [4, 0, 2]
    (tmp_path / "shards" / "000000.tar").write_bytes(b"")
    assert writer.present(first) == 0

    def broken() -> Any:
        yield from map(sample, list(second)[:3])
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        writer.write(broken())
    assert writer.present(second) == 0
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["000000.tar", "000002.tar"]
