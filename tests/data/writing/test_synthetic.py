from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small import SETTINGS, SOUND
from swollen import KINDS, little_memory, swell

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.unfinished import prepare_folder
from mmgen.data.writing.writer import FolderWriter, ShardWriter, SyntheticSample
from mmgen.errors import UserError

LABELS = ("NA", "a/b", "10")  # what table readers like to take for something else


@pytest.fixture
def made() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (6, *SETTINGS["image"].shape), dtype=np.uint8),
        "audio": rng.uniform(-11.5, 3, (6, *SOUND.shape)).astype(np.float32),
    }


def write(root: Path, made: dict[str, np.ndarray], kind: type[FolderWriter] | type[ShardWriter]) -> Path:
    """Two samples of each label, four a piece."""
    prepare_folder(root, False, {})
    writer = kind(root, SETTINGS, LABELS, 2, 4, lambda index: {"label": LABELS[index // 2]})
    wave = np.zeros(SOUND.segment_samples, dtype=np.float32)
    writer.write(
        SyntheticSample(index, {"image": made["image"][index]}, {"audio": (made["audio"][index, 0], wave)})
        for index in range(6)
    )
    writer.finish({})
    return root


@pytest.fixture
def folder(made: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """In a folder that links lead to."""
    return write(tmp_path / "real place" / "set", made, FolderWriter)


@pytest.fixture
def shards(made: dict[str, np.ndarray], tmp_path: Path) -> Path:
    return write(tmp_path / "real place" / "осколки", made, ShardWriter)


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def refused(folder: Path, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_dataset(folder, SETTINGS)
    assert "\n" not in str(caught.value)


def test_what_was_written_is_read(folder: Path, shards: Path, made: dict[str, np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "link to shards").symlink_to(shards)
    for place in (folder, tmp_path / "link", shards, tmp_path / "link to shards"):
        samples = read_dataset(place, SETTINGS)
        assert samples.keys() == SETTINGS.keys()
        for name, values in made.items():
            assert np.array_equal(samples[name].values, values) and samples[name].values.dtype == values.dtype
            assert samples[name].label_names == LABELS
            assert samples[name].labels.tolist() == [0, 0, 1, 1, 2, 2]
            assert samples[name].rows.tolist() == list(range(6))


def test_a_part_of_the_modalities_can_be_read(folder: Path, shards: Path, made: dict[str, np.ndarray]) -> None:
    for place in (folder, shards):
        samples = read_dataset(place, {"audio": SOUND})
        assert list(samples) == ["audio"] and np.array_equal(samples["audio"].values, made["audio"])
    with pytest.raises(UserError, match=r"000000.tar has no 000000.breath.spectrogram.npy, so no modality 'breath'"):
        read_dataset(shards, {"breath": SOUND})
    with pytest.raises(UserError, match="no column breath_spectrogram, so no modality 'breath'"):
        read_dataset(folder, {"breath": SOUND})


def test_a_path_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.npy"
    np.save(secret, np.zeros(SOUND.shape[1:], dtype=np.float32))
    name = "spectrograms/NA/000000.npy"
    original = (folder / "metadata.csv").read_text(encoding="utf-8")
    for escape in ("../../secret.npy", "spectrograms/../../../secret.npy", str(secret)):
        (folder / "metadata.csv").write_text(original.replace(name, escape), encoding="utf-8")
        refused(folder, "outside the data set; do not trust it")
    (folder / "metadata.csv").write_text(original, encoding="utf-8")
    (folder / name).unlink()
    os.symlink(secret, folder / name)
    refused(folder, "outside the data set; do not trust it")


def test_damaged_spectrograms_are_named(folder: Path) -> None:
    path = folder / "spectrograms" / "a_b" / "000001.npy"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:20], b"", b"no array", b"PK\x03\x04 no archive"):
        path.write_bytes(content)
        refused(folder, "a_b/000001.npy")
    for array in (np.zeros((4, 4)), np.zeros(SOUND.shape[1:], dtype=np.int64), np.array([{}], dtype=object)):
        np.save(path, array, allow_pickle=True)
        refused(folder, "a_b/000001.npy")
    path.unlink()
    refused(folder, "a_b/000001.npy")


def test_damaged_pictures_are_named(folder: Path) -> None:
    path = folder / "images" / "10" / "000000.png"
    path.write_bytes(path.read_bytes()[:60])
    refused(folder, "10/000000.png")
    path.unlink()
    refused(folder, "10/000000.png")


def test_an_unfinished_or_foreign_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    refused(tmp_path, "not a finished synthetic data set")
    about = (folder / "dataset.json").read_text(encoding="utf-8")
    for content in ("{", "{}", "[]", json.dumps({"counts": None})):
        (folder / "dataset.json").write_text(content)
        refused(folder, "not a finished synthetic data set")
    (folder / "dataset.json").unlink()
    refused(folder, "not a finished synthetic data set")
    (folder / "dataset.json").write_text(about, encoding="utf-8")
    edit(folder / "metadata.csv", lambda text: text.replace("a/b", "unheard of"))
    refused(folder, "unheard of|not a finished synthetic data set")
    edit(folder / "metadata.csv", lambda text: text.replace("unheard of", "10"))
    refused(folder, r"holds \[2, 0, 4\] samples by label, not \[2, 2, 2\]")
    (folder / "metadata.csv").unlink()
    refused(folder, "not a finished synthetic data set")


def test_settings_of_another_model_are_refused_or_resized(folder: Path) -> None:
    with pytest.raises(UserError, match=r"has shape \(40, 40\), not \(40, 80\)"):
        read_dataset(folder, {"audio": AudioSettings(n_mels=40, frames=80, segment_frames=80)})
    assert read_dataset(folder, {"image": ImageSettings(16, 3)})["image"].values.shape == (6, 3, 16, 16)


def test_an_array_that_claims_to_be_huge_is_not_made(folder: Path) -> None:
    path = folder / "spectrograms" / "a_b" / "000001.npy"
    for shape in ((SOUND.n_mels, SOUND.segment_frames * 10**9), (SOUND.n_mels, 0), (SOUND.n_mels,), (-40, -40)):
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
            file.write(bytes(64))
        refused(folder, "a_b/000001.npy")


# -- shards


def test_damaged_shards_are_named(shards: Path) -> None:
    path = shards / "shards" / "000001.tar"
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 3], b"no tar" * 1000):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"000001\.tar|samples by label"):
            read_dataset(shards, SETTINGS)
    path.unlink()
    refused(shards, r"holds \[2, 2, 0\] samples by label, not \[2, 2, 2\]")
    shutil.rmtree(shards / "shards")
    refused(shards, "samples by label")


def test_a_shard_that_is_a_link_out_is_refused(shards: Path, tmp_path: Path) -> None:
    path = shards / "shards" / "000001.tar"
    path.rename(tmp_path / "elsewhere.tar")
    path.symlink_to(tmp_path / "elsewhere.tar")
    refused(shards, "leads out of the data set; do not trust it")


def test_members_that_are_links_are_not_followed(shards: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.npy"
    np.save(secret, np.zeros(SOUND.shape[1:], dtype=np.float32))
    with tarfile.open(shards / "shards" / "000001.tar", "w") as tar:
        for key in ("000004", "000005"):
            link = tarfile.TarInfo(f"{key}.spectrogram.npy")
            link.type, link.linkname = tarfile.SYMTYPE, str(secret)
            tar.addfile(link)
            about = tarfile.TarInfo(f"{key}.json")
            about.size = len(content := b'{"label": "10"}')
            tar.addfile(about, io.BytesIO(content))
    with pytest.raises(UserError, match=r"000004.spectrogram.npy"):
        read_dataset(shards, {"audio": SOUND})


def test_a_sample_without_metadata_is_a_sentence(shards: Path) -> None:
    for content in (b"", b"{}", b"[]", b"{"):
        with tarfile.open(shards / "shards" / "000001.tar", "w") as tar:
            about = tarfile.TarInfo("000004.json")
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
        with pytest.raises(UserError, match=r"000001\.tar cannot be read"):
            read_dataset(shards, {})


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_no_memory_holds_are_not_read(shards: Path, kind: str) -> None:
    swell(shards / "shards" / "000001.tar", "000004.png", kind)
    with little_memory():
        refused(shards, r"000001\.tar cannot be read \((it holds sparse files|000004.png is larger than 64 MiB)")


def test_files_that_no_memory_holds_are_not_read(folder: Path) -> None:
    path = folder / "images" / "NA" / "000000.png"
    with path.open("r+b") as file:
        file.truncate((64 << 20) + 1)
    refused(folder, "Cannot read the picture .*000000.png: it is larger than 64 MiB")
    path.unlink()
    os.mkfifo(path)
    refused(folder, "Cannot read the picture .*000000.png")
