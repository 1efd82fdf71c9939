from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small import SETTINGS, SOUND

from mmgen.data.audio import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.synthetic import read_dataset
from mmgen.data.writer import DatasetWriter, prepare_folder
from mmgen.errors import UserError

LABELS = ("NA", "a/b", "10")  # what table readers like to take for something else


@pytest.fixture
def made() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (6, *SETTINGS["image"].shape), dtype=np.uint8),
        "audio": rng.uniform(-11.5, 3, (6, *SOUND.shape)).astype(np.float32),
    }


@pytest.fixture
def folder(made: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """Two samples of each label, in a folder that links lead to."""
    root = tmp_path / "real place" / "set"
    prepare_folder(root, overwrite=False)
    writer, rows = DatasetWriter(root, SETTINGS, LABELS), []
    for index in range(6):
        sound = (made["audio"][index, 0], np.zeros(SOUND.segment_samples, dtype=np.float32))
        writer.write(index // 2, index % 2, {"image": made["image"][index]}, {"audio": sound})
        rows.append({**writer.files(index // 2, index % 2), "label": LABELS[index // 2]})
    writer.finish(rows, {})
    return root


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def refused(folder: Path, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_dataset(folder, SETTINGS)
    assert "\n" not in str(caught.value)


def test_what_was_written_is_read(folder: Path, made: dict[str, np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link"):
        samples = read_dataset(place, SETTINGS)
        assert samples.keys() == SETTINGS.keys()
        for name, values in made.items():
            assert np.array_equal(samples[name].values, values) and samples[name].values.dtype == values.dtype
            assert samples[name].label_names == LABELS
            assert samples[name].labels.tolist() == [0, 0, 1, 1, 2, 2]
            assert samples[name].rows.tolist() == list(range(6))


def test_a_part_of_the_modalities_can_be_read(folder: Path, made: dict[str, np.ndarray]) -> None:
    samples = read_dataset(folder, {"audio": SOUND})
    assert list(samples) == ["audio"] and np.array_equal(samples["audio"].values, made["audio"])
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
    (folder / "metadata.csv").unlink()
    refused(folder, "not a finished synthetic data set")


def test_settings_of_another_model_are_refused_or_resized(folder: Path) -> None:
    with pytest.raises(UserError, match=r"has shape \(40, 40\), not \(40, 80\)"):
        read_dataset(folder, {"audio": AudioSettings(n_mels=40, frames=80, segment_frames=80)})
    assert read_dataset(folder, {"image": ImageSettings(16, 3)})["image"].values.shape == (6, 3, 16, 16)
