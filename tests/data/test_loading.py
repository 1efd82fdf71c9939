from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from decoded_samples import load_samples
from PIL import Image

from mmgen.data import loading
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.cache import Cache
from mmgen.data.images import ImageSettings
from mmgen.data.loading import prepare
from mmgen.data.manifest import Manifest
from mmgen.data.progress import progress_bar
from mmgen.data.sources import Reading, Source
from mmgen.errors import UserError


def write_images(root: Path, counts: dict[str, int]) -> Path:
    """``root/LABEL/NUMBER.png``, every picture of another grey."""
    for position, (label, count) in enumerate(counts.items()):
        (root / label).mkdir(parents=True)
        for number in range(count):
            picture = np.full((12, 12), 40 * position + number, np.uint8)
            picture[0, 0] += 1  # one value throughout would be a blank picture
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
    data = prepare(sources(*folders), Reading(seed=1))
    assert data.label_names == ("COVID", "healthy")
    assert data.left_out == {"pneumonia": ["audio"]}
    assert [record.message for record in caplog.records] == [
        "Label 'pneumonia' is left out with its 4 files: there are no samples of it among audio."
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
    first, again, other = (prepare(sources(*folders), Reading(seed=seed)) for seed in (1, 1, 2))
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


class TestBadFiles:
    @pytest.fixture
    def dirty(self, folders: tuple[Path, Path]) -> tuple[Path, Path]:
        images, audio = folders
        (images / "COVID" / "3.png").write_bytes(b"broken")
        (images / "healthy" / "ü 4.png").write_bytes((images / "healthy" / "5.png").read_bytes()[:45])
        (audio / "covid" / "1.wav").write_bytes(b"")
        soundfile.write(audio / "covid" / "2.wav", np.zeros(16_000), 16_000)
        return folders

    def test_all_that_cannot_be_read_is_named_at_once(self, dirty: tuple[Path, Path]):
        with pytest.raises(UserError) as refused:
            prepare(sources(*dirty))
        for name in ("3.png (", "ü 4.png (", "1.wav (", "--skip-bad"):
            assert name in str(refused.value)

    def test_they_can_be_left_out(self, dirty: tuple[Path, Path], tmp_path: Path):
        data = prepare(sources(*dirty), Reading(skip_bad=True))
        assert sorted(Path(skipped.file).name for skipped in data.skipped) == ["1.wav", "2.wav", "3.png", "ü 4.png"]
        assert [s.reason for s in data.skipped if s.file.endswith("2.wav")] == ["silent"]
        assert (len(data.manifests["image"]), len(data.manifests["audio"])) == (22 - 1, 26 - 2)
        assert data.summary()["audio"]["skipped_files"] == 2
        for name, manifest in data.manifests.items():
            assert not {skipped.file for skipped in data.skipped} & {manifest.name(i) for i in range(len(manifest))}
            for split, samples in data.splits.items():
                np.testing.assert_array_equal(samples[name].values[:], decoded_alone(manifest, name, split))
        data.write_skipped(tmp_path / "run" / "skipped_files.csv")
        with (tmp_path / "run" / "skipped_files.csv").open(encoding="utf-8") as file:
            assert [row["modality"] for row in csv.DictReader(file)] == ["image", "image", "audio", "audio"]

    def test_files_that_a_table_names_and_that_are_gone_are_bad_files(self, folders: tuple[Path, Path]):
        (folders[1] / "covid" / "3.wav").unlink()
        with pytest.raises(UserError, match=r"3\.wav"):
            prepare(sources(*folders))
        (skipped,) = prepare(sources(*folders), Reading(skip_bad=True)).skipped
        assert skipped.file.endswith("3.wav") and skipped.reason == "no such file"

    def test_a_clean_run_removes_the_list_of_an_earlier_one(self, folders: tuple[Path, Path], tmp_path: Path):
        (tmp_path / "skipped_files.csv").write_text("old")
        prepare(sources(*folders)).write_skipped(tmp_path / "skipped_files.csv")
        assert not (tmp_path / "skipped_files.csv").exists()

    def test_silent_files_alone_are_a_warning(self, folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture):
        soundfile.write(folders[1] / "covid" / "2.wav", np.zeros(16_000), 16_000)
        prepare(sources(*folders))
        assert "1 files of 'audio' are blank, silent or shorter than 0.1 seconds" in caplog.text
        assert "2.wav" in caplog.text

    def test_a_label_that_is_lost_with_its_bad_files_is_a_problem(self, folders: tuple[Path, Path]):
        for file in sorted((folders[0] / "healthy").iterdir())[:-1]:
            file.write_bytes(b"broken")
        with pytest.raises(UserError, match=r"split of 'image' has no sample of the label 'healthy'.*--label-map"):
            prepare(sources(*folders), Reading(skip_bad=True))

    def test_of_one_modality_validation_may_lose_a_label(self, folders: tuple[Path, Path], caplog):
        source = {"image": Source(folders[0], ImageSettings(8))}
        manifest = prepare(source, Reading(seed=1)).manifests["image"]
        for row in np.flatnonzero((manifest.splits == "val") & (manifest.labels == 1)).tolist():
            Path(manifest.name(row)).write_bytes(b"broken")
        caplog.clear()
        data = prepare(source, Reading(seed=1, skip_bad=True))
        assert data.skipped and 1 not in data.splits["val"]["image"].labels
        assert caplog.text.count(f"has no sample of the label '{data.label_names[1]}': it is trained") == 1


def decoded_alone(manifest: Manifest, name: str, split: str) -> np.ndarray:
    settings = {"image": ImageSettings(8), "audio": AudioSettings()}[name]
    return load_samples(manifest.of_split(split), settings).values[:]


def test_very_many_pictures_are_decoded_when_they_are_read(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    ahead = prepare(sources(*folders))
    monkeypatch.setattr(loading, "DECODE_AHEAD", 5)
    (folders[0] / "COVID" / "3.png").write_bytes(b"broken")
    data = prepare(sources(*folders), Reading(cache=Cache(tmp_path / "cache", 10**7)))
    broken = []
    for split, samples in data.splits.items():
        for index in range(len(samples["image"])):
            try:
                read = samples["image"].values[index]
            except UserError as error:
                broken.append(str(error))
            else:
                np.testing.assert_array_equal(read, ahead.splits[split]["image"].values[index])
    assert len(broken) == 1 and "3.png" in broken[0] and "--skip-bad" in broken[0]


def test_progress_is_shown_by_the_first_process_only(monkeypatch, capsys):
    for rank, shown in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert list(progress_bar(range(3), description="reading")) == [0, 1, 2]
        assert ("reading" in capsys.readouterr().err) is shown
    assert list(progress_bar(iter("ab"), total=2, quiet=True)) == ["a", "b"]


def test_fingerprints_change_when_the_data_do(folders):
    images, audio = folders
    first = prepare(sources(images, audio)).fingerprints
    assert first.keys() == {"image", "audio"}
    assert prepare(sources(images, audio)).fingerprints == first
    assert prepare(sources(images, audio), Reading(seed=1)).fingerprints != first  # other splits
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(images / "healthy" / "0.png")
    changed = prepare(sources(images, audio)).fingerprints
    assert changed["image"] != first["image"]
    assert changed["audio"] == first["audio"]


def test_training_counts_are_those_of_the_split(folders):
    data = prepare(sources(*folders))
    for name, counts in data.training_counts().items():
        manifest = data.manifests[name].of_split("train")
        assert counts == {label: int((manifest.labels == index).sum()) for index, label in enumerate(data.label_names)}
