from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.check import Findings, check_data, find_duplicates
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import Columns, read_manifest
from mmgen.data.sources import Reading, Source


@pytest.fixture
def data(tmp_path: Path, phantom_files: dict[str, Path]) -> dict[str, Path]:
    """Copies of phantom folders, to be made dirty."""
    return {name: Path(shutil.copytree(path, tmp_path / "data of Ödön" / name)) for name, path in phantom_files.items()}


def check(data: dict[str, Path], **options) -> Findings:
    settings = {"image": ImageSettings(32), "audio": AudioSettings()}
    return check_data({name: Source(path, settings[name]) for name, path in data.items()}, Reading(**options))


def files(folder: Path, label: str, split: str = "train") -> list[Path]:
    return sorted(path for path in (folder / split / label).iterdir() if path.is_file())


def text(findings: Findings) -> str:
    return "\n".join(findings.lines())


def test_clean_data_pass(data: dict[str, Path]):
    findings = check(data)
    assert findings.ok
    lines = text(findings)
    assert lines.count("nothing wrong with the files") == 2
    assert lines.endswith("Training can start.")
    for name, manifest in findings.overview.manifests.items():
        assert f"{name}: {len(manifest)} files" in lines


def test_counts_are_shown_by_label_and_split(data: dict[str, Path]):
    findings = check(data)
    for name, manifest in findings.overview.manifests.items():
        for label, counts in manifest.counts().items():
            numbers = [str(counts[split]) for split in ("train", "val", "test")]
            assert any(line.split() == [label, *numbers] for line in text(findings).splitlines()), name


def test_every_kind_of_dirt_is_named(data: dict[str, Path]):
    image, sound = files(data["image"], "covid"), files(data["audio"], "covid")
    image[0].write_bytes(b"no picture")
    Image.fromarray(np.full((40, 40), 7, np.uint8)).save(image[1])
    shutil.copy(image[2], image[3])
    sound[0].write_bytes(b"RIFF")
    soundfile.write(sound[1], np.zeros(16_000), 16_000)
    soundfile.write(sound[2], 0.3 * np.sin(np.arange(800)), 16_000)
    rng = np.random.default_rng(0)
    soundfile.write(sound[3], np.clip(rng.normal(scale=2, size=16_000), -1, 1), 16_000)
    findings = check(data)
    assert not findings.ok
    lines = text(findings).splitlines()
    for line in (
        f"  unusable: {image[0]} (",
        f"  blank: one value throughout: {image[1]}",
        f"  duplicates: {image[2]}, {image[3]}",
        f"  unusable: {sound[0]} (",
        f"  silent: {sound[1]}",
        f"  shorter than 0.1 seconds: {sound[2]}",
        f"  clipped: {sound[3]}",
    ):
        assert sum(found.startswith(line) for found in lines) == 1, line
    assert lines[-1] == "Training would fail."


def test_only_what_makes_training_fail_fails(data: dict[str, Path]):
    sound = files(data["audio"], "covid")
    soundfile.write(sound[1], np.zeros(16_000), 16_000)
    assert check(data).ok
    sound[0].write_bytes(b"RIFF")
    assert not check(data).ok
    assert check(data, skip_bad=True).ok


def test_skipping_bad_files_fails_where_too_few_are_left(data: dict[str, Path]):
    for file in files(data["image"], "covid", "test"):
        file.write_bytes(b"no picture")
    findings = check(data, skip_bad=True)
    assert any("The test split of 'image' has no sample of the label 'covid'" in p for p in findings.overview.problems)


def test_one_modality_needs_no_validation_file_of_every_label(data: dict[str, Path]):
    for manifest in check(data).overview.manifests.values():
        lost = (manifest.splits == "val") & (manifest.labels == manifest.label_names.index("covid"))
        for row in np.flatnonzero(lost).tolist():
            Path(manifest.name(row)).write_bytes(b"nothing")
    findings = check(data, skip_bad=True)
    assert [problem.split(" has")[0] for problem in findings.overview.problems] == [
        "The val split of 'image'",
        "The val split of 'audio'",
    ]
    findings = check({"image": data["image"]}, skip_bad=True)
    assert findings.ok
    assert "The val split of 'image' has no sample of the label 'covid': it is trained" in text(findings)


def test_files_outside_the_subset_are_in_the_table(data: dict[str, Path]):
    table = data["image"] / "manifest.csv"
    header, *lines = table.read_text(encoding="utf-8").splitlines()
    marked = [f"{line},{'1' if '/covid/' in line else '0'}" for line in lines]
    table.write_text("\n".join([f"{header},small", *marked]) + "\n", encoding="utf-8")
    source = Source(data["image"], ImageSettings(32), Columns(subset="small"))
    findings = check_data({"image": source})
    assert findings.overview.manifests["image"].label_names == ("covid",)
    assert not any("not in its manifest.csv" in warning for warning in findings.overview.warnings)


def test_equal_files_in_two_splits_or_under_two_labels_are_warned_of(data: dict[str, Path]):
    train, test = files(data["image"], "covid"), files(data["image"], "covid", "test")
    shutil.copy(train[0], test[0])
    shutil.copy(train[1], files(data["image"], "healthy")[0])
    warnings = check(data).overview.warnings
    assert any("1 files of 'image' are in several splits" in warning for warning in warnings)
    assert any("1 files of 'image' are there under several labels" in warning for warning in warnings)


def test_labels_without_a_partner_are_named(data: dict[str, Path]):
    table = data["audio"] / "manifest.csv"
    table.write_text("".join(line for line in table.open(encoding="utf-8") if "covid" not in line), encoding="utf-8")
    assert "Label 'covid' is left out with its" in text(check(data))
    findings = check(data, refuse_unpaired=True)
    assert any("Label 'covid'" in problem for problem in findings.overview.problems)


def test_unreadable_labels_do_not_hide_bad_files(data: dict[str, Path]):
    files(data["audio"], "covid")[0].write_bytes(b"RIFF")
    shutil.rmtree(data["image"])
    lines = text(check(data))
    assert "does not exist" in lines and "  unusable: " in lines


def test_files_that_a_table_leaves_out_are_warned_of(data: dict[str, Path]):
    shutil.copy(files(data["image"], "covid")[0], data["image"] / "train" / "covid" / "new.png")
    (warning,) = [warning for warning in check(data).overview.warnings if "not in its manifest.csv" in warning]
    assert warning.startswith("1 files in ") and "train/covid/new.png" in warning


def test_what_cannot_be_split_is_not_blamed_on_bad_files(data: dict[str, Path]):
    files(data["audio"], "covid")[0].write_bytes(b"RIFF")
    shutil.rmtree(data["image"])
    findings = check(data, skip_bad=True)
    assert not any("no sample of the label" in problem for problem in findings.overview.problems)


def test_duplicates_are_files_of_equal_bytes(tmp_path: Path):
    (tmp_path / "a").mkdir()
    for name, content in {"1": b"xy", "2": b"xz", "3": b"xy", "4": b"x", "5": b"xy"}.items():
        (tmp_path / "a" / f"{name}.png").write_bytes(content)
    assert find_duplicates(read_manifest(tmp_path, {".png"})) == [[0, 2, 4]]
