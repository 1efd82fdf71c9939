from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small import SETTINGS, SOUND

import mmgen
from mmgen.data.settings import Settings
from mmgen.data.writing.unfinished import prepare_folder
from mmgen.data.writing.writer import DatasetWriter, FolderWriter, ShardWriter, SyntheticSample
from mmgen.errors import UserError

LABELS = ("NA", "a/b")


def sample(index: int, settings: dict[str, Settings]) -> SyntheticSample:
    rng = np.random.default_rng(index)
    images = {"image": rng.integers(0, 256, SETTINGS["image"].shape, dtype=np.uint8)}
    wave = rng.uniform(-1, 1, (1 + index % 2) * SOUND.segment_samples).astype(np.float32)
    sounds = {"audio": (np.zeros(SOUND.shape[1:], np.float32), wave)}
    return SyntheticSample(index, images, sounds if "audio" in settings else {})


def write(root: Path, kind: type[DatasetWriter], settings: dict[str, Settings] = SETTINGS) -> Path:
    """Three samples of each label, four a piece."""
    prepare_folder(root, False, {})
    writer = kind(root, settings, LABELS, 3, 4, lambda index: {"label": LABELS[index // 3]})
    writer.write(sample(index, settings) for index in range(6))
    writer.finish({})
    return root


@pytest.fixture(params=[FolderWriter, ShardWriter])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path / "real place" / "set", request.param)


def test_items_are_what_was_written(folder: Path) -> None:
    found = mmgen.load_dataset(str(folder))
    assert len(found) == 6 and found.classes == LABELS and found.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.sample_rates == {"audio": SOUND.sample_rate}
    for index, item in enumerate(found):
        made = sample(index, SETTINGS)
        assert item.keys() == {"image", "audio", "label"} and item["label"] == index // 3
        assert item["image"].dtype == torch.uint8 and np.array_equal(item["image"], made.images["image"])
        wave = made.sounds["audio"][1]
        assert item["audio"].dtype == torch.float32 and item["audio"].shape == (1, len(wave))
        np.testing.assert_allclose(item["audio"][0], wave, atol=2 / 2**15)
    assert torch.equal(found[-1]["image"], found[5]["image"])
    with pytest.raises(IndexError):
        found[6]


def test_images_alone_are_batched_by_torch(tmp_path: Path) -> None:
    found = mmgen.load_dataset(write(tmp_path / "set", FolderWriter, {"image": SETTINGS["image"]}))
    (batch,) = torch.utils.data.DataLoader(found, batch_size=6)
    assert batch["image"].shape == (6, *SETTINGS["image"].shape) and batch["label"].tolist() == [0, 0, 0, 1, 1, 1]


def test_files_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    root = write(tmp_path / "set", FolderWriter)
    found = mmgen.load_dataset(root)
    picture = root / "images" / "a_b" / "000001.png"
    for content in (picture.read_bytes()[:60], b"", b"no picture"):
        picture.write_bytes(content)
        assert found[3]["label"] == 1
        with pytest.raises(UserError, match=r"Cannot read .*a_b/000001\.png: .*; generate the data set again\.$"):
            found[4]
    picture.unlink()
    os.mkfifo(picture)  # which would never end
    with pytest.raises(UserError, match="Cannot read"):
        found[4]


def test_no_file_outside_of_the_folder_is_read(folder: Path, tmp_path: Path) -> None:
    table, shard = folder / "metadata.csv", folder / "shards" / "000000.tar"
    if table.exists():
        table.write_text(table.read_text().replace("images/NA/000000.png", "../../secret.png"))
    else:
        shard.rename(tmp_path / "secret.tar")
        shard.symlink_to(tmp_path / "secret.tar")
    with pytest.raises(UserError, match="do not trust it"):
        mmgen.load_dataset(folder)


def test_what_is_no_data_set_is_refused_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(UserError, match=words) as caught:
            mmgen.load_dataset(folder)
        assert "\n" not in str(caught.value)

    about = json.loads((folder / "dataset.json").read_text())
    sound = about["preprocessing"]["audio"]
    for wrong in ([], 5, None, {"image": 5}, {"image": {"kind": "film"}}, {"audio": sound | {"sample_rate": 0}}):
        (folder / "dataset.json").write_text(json.dumps(about | {"preprocessing": wrong}))
        refused("no finished synthetic data set|samples by label|Unknown kind|whole number")
    (folder / "dataset.json").write_text(json.dumps(about | {"preprocessing": {"breath": sound}}))
    refused("no modality 'breath'")
    (folder / "dataset.json").write_text(json.dumps(about | {"counts": {"NA": 3, "a/b": 2}}))
    refused(r"holds \[3, 3\] samples by label, not \[3, 2\]")
    (folder / "dataset.json").write_text(json.dumps(about | {"counts": {"NA": 6}}))
    refused("no finished synthetic data set")
    shutil.rmtree(folder)
    refused("no finished synthetic data set")
