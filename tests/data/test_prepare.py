from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmgen.data.audio import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import Columns
from mmgen.data.prepare import Source, prepare, read_matched
from mmgen.data.progress import progress_bar
from mmgen.errors import UserError


def write_images(root: Path, counts: dict[str, int]) -> Path:
    """``root/LABEL/NUMBER.png``, every picture of another grey."""
    for position, (label, count) in enumerate(counts.items()):
        (root / label).mkdir(parents=True)
        for number in range(count):
            picture = np.full((12, 12), 40 * position + number, np.uint8)
            Image.fromarray(picture).save(root / label / f"{number}.png")
    return root


def write_sounds(root: Path, counts: dict[str, int], seconds: float = 1.0) -> Path:
    """``root/LABEL/NUMBER.wav`` and a ``manifest.csv`` in which two files each belong to one person."""
    rows = [("path", "label", "patient")]
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            wave = np.random.default_rng(number).normal(scale=0.1, size=int(16_000 * seconds))
            soundfile.write(root / label / f"{number}.wav", wave, 16_000)
            rows.append((f"{label}/{number}.wav", label, f"{label}-{number // 2}"))
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def sources(images: Path, audio: Path) -> dict[str, Source]:
    return {"image": Source(images, ImageSettings(8)), "audio": Source(audio, AudioSettings())}


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    images = write_images(tmp_path / "x rays", {"COVID": 12, "healthy": 10, "pneumonia": 4})
    return images, write_sounds(tmp_path / "coughs", {"covid": 12, "Healthy": 14}, seconds=1.5)


def test_two_folders_become_matched_decoded_splits(folders, caplog):
    data = prepare(sources(*folders), seed=1)
    assert data.label_names == ("COVID", "healthy")
    assert data.left_out == {"pneumonia": ["audio"]}
    assert [record.message for record in caplog.records] == [
        "Label 'pneumonia' is left out: there are no samples of it among audio."
    ]
    assert data.splits.keys() == {"train", "val", "test"}
    for split, samples in data.splits.items():
        assert samples.keys() == {"image", "audio"}, split
        for name, made in samples.items():
            assert set(made.labels) == {0, 1}, (split, name)
            assert made.label_names == data.label_names
            manifest = data.manifests[name]
            assert np.array_equal(manifest.labels[made.rows], made.labels)
            assert set(manifest.splits[made.rows]) == {split}
    assert sum(len(samples["image"]) for samples in data.splits.values()) == 22
    assert sum(len(samples["audio"]) for samples in data.splits.values()) == 2 * 26


def test_nobody_is_on_both_sides_and_the_seed_decides(folders):
    first, again, other = (prepare(sources(*folders), seed=seed) for seed in (1, 1, 2))
    audio = first.manifests["audio"]
    sides = {subject: set(audio.splits[audio.subjects == subject]) for subject in audio.subjects}
    assert {len(side) for side in sides.values()} == {1}
    for name in ("image", "audio"):
        assert first.manifests[name].splits.tolist() == again.manifests[name].splits.tolist()
        assert first.manifests[name].splits.tolist() != other.manifests[name].splits.tolist()


def test_the_summary_counts_what_a_report_needs(folders):
    summary = prepare(sources(*folders)).summary()
    assert sum(summary["image"]["counts"]["COVID"].values()) == 12
    assert sum(summary["audio"]["samples"].values()) == 52
    assert (summary["image"]["subjects"], summary["audio"]["subjects"]) == (None, 13)
    assert (summary["image"]["left_out_labels"], summary["audio"]["left_out_labels"]) == (["pneumonia"], [])
    assert [summary[name]["shared_subjects"] for name in ("image", "audio")] == [0, 0]


def test_one_modality_is_enough(folders):
    data = prepare({"image": Source(folders[0], ImageSettings(8))})
    assert data.label_names == ("COVID", "healthy", "pneumonia")
    assert data.left_out == {}


def test_columns_can_be_named(tmp_path):
    root = write_sounds(tmp_path, {"a": 2, "b": 2})
    text = (root / "manifest.csv").read_text().replace("path,label", "wave,verdict")
    (root / "manifest.csv").write_text(text)
    manifests, _ = read_matched({"audio": Source(root, AudioSettings(), Columns(path="wave", label="verdict"))})
    assert manifests["audio"].label_names == ("a", "b")


def test_what_is_missing_is_named_before_anything_is_decoded(tmp_path):
    images = write_images(tmp_path / "images", {"covid": 9, "healthy": 1})
    audio = write_sounds(tmp_path / "audio", {"covid": 8, "healthy": 8})
    (images / "covid" / "0.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"The \w+ split of 'image' has no sample of the label 'healthy'; add files"):
        prepare(sources(images, audio))
    other = write_sounds(tmp_path / "other", {"asthma": 2})
    with pytest.raises(UserError, match="no label in common"):
        prepare(sources(images, other))


def test_people_on_two_sides_are_a_warning(tmp_path, caplog):
    root = write_sounds(tmp_path, {"a": 12})
    lines = (root / "manifest.csv").read_text().splitlines()
    splits = ["split", *(["train", "val", "test"] * 4)]
    (root / "manifest.csv").write_text("\n".join(f"{line},{split}" for line, split in zip(lines, splits, strict=True)))
    data = prepare({"audio": Source(root, AudioSettings())})
    assert "6 subjects of 'audio' are in more than one split, e.g. a-0: results will be too good." in caplog.text
    assert data.summary()["audio"]["shared_subjects"] == 6


def test_progress_is_shown_by_the_first_process_only(monkeypatch, capsys):
    for rank, shown in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert list(progress_bar(range(3), description="reading")) == [0, 1, 2]
        assert ("reading" in capsys.readouterr().err) is shown
    assert list(progress_bar(iter("ab"), total=2, quiet=True)) == ["a", "b"]


def test_fingerprints_change_when_the_data_do(folders):
    images, audio = folders
    first = prepare(sources(images, audio)).fingerprints()
    assert first.keys() == {"image", "audio"}
    assert prepare(sources(images, audio)).fingerprints() == first
    assert prepare(sources(images, audio), seed=1).fingerprints() != first  # other splits
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(images / "healthy" / "0.png")
    changed = prepare(sources(images, audio)).fingerprints()
    assert changed["image"] != first["image"]
    assert changed["audio"] == first["audio"]


def test_training_counts_are_those_of_the_split(folders):
    data = prepare(sources(*folders))
    for name, counts in data.training_counts().items():
        manifest = data.manifests[name].of_split("train")
        assert counts == {label: int((manifest.labels == index).sum()) for index, label in enumerate(data.label_names)}
