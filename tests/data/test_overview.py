from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import Columns
from mmgen.data.overview import Overview, look, read_matched
from mmgen.data.sources import Reading, Source
from mmgen.errors import UserError


def write_table(folder: Path, rows: list[tuple[str, ...]], header: str = "path,label,subject,split") -> Path:
    """A manifest of empty files: a first look decodes nothing."""
    folder.mkdir(parents=True)
    for path, *_ in rows:
        (folder / path).touch()
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return folder


def rows(labels: dict[str, int], suffix: str, prefix: str = "person") -> list[tuple[str, ...]]:
    """Files with subjects of their own, spread over the splits in turn."""
    splits = ("train", "val", "test")
    return [
        (f"{label} {n}{suffix}", label, f"{prefix} {label} {n}", splits[n % 3])
        for label, count in labels.items()
        for n in range(count)
    ]


def sources(images: Path | None = None, audio: Path | None = None) -> dict[str, Source]:
    found = {}
    if images is not None:
        found["image"] = Source(images, ImageSettings(8))
    if audio is not None:
        found["audio"] = Source(audio, AudioSettings())
    return found


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_table(tmp_path / "x rays", rows({"covid": 6, "healthy": 6, "pneumonia": 3}, ".png"))


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    return write_table(tmp_path / "coughs", rows({"COVID": 3, "healthy": 4}, ".wav", "other"))


def test_clean_data_have_no_problems(images: Path, audio: Path):
    found = look(sources(images, audio))
    assert found.problems == []
    assert found.warnings == ["Label 'pneumonia' is left out with its 3 files: there are no samples of it among audio."]
    assert found.left_out == {"pneumonia": ["audio"]}
    assert {name: manifest.label_names for name, manifest in found.manifests.items()} == {
        "image": ("covid", "healthy"),
        "audio": ("covid", "healthy"),
    }


def test_unpaired_labels_can_be_refused(images: Path, audio: Path):
    (problem,) = look(sources(images, audio), Reading(refuse_unpaired=True)).problems
    assert problem.startswith("Label 'pneumonia': there are no samples of it among audio; add files")


def test_labels_are_renamed_before_they_are_matched(images: Path, audio: Path):
    found = look(sources(images, audio), Reading({"pneumonia": "covid"}))
    assert found.problems == found.warnings == []
    assert found.manifests["image"].counts()["covid"] == {"train": 3, "val": 3, "test": 3}
    (problem,) = look(sources(images, audio), Reading({"pnemonia": "covid"})).problems
    assert "pnemonia" in problem


def test_problems_of_all_modalities_are_collected(tmp_path: Path):
    with pytest.raises(UserError) as refused:
        look(sources(tmp_path / "no pictures", tmp_path / "no sounds")).refuse_problems()
    assert "no pictures does not exist" in str(refused.value) and "no sounds does not exist" in str(refused.value)


def test_no_common_label_is_a_problem(tmp_path: Path, images: Path):
    other = write_table(tmp_path / "other", rows({"asthma": 3}, ".wav"))
    (problem,) = look(sources(images, other)).problems
    assert "no label in common" in problem


def test_every_label_that_a_split_lacks_is_named(tmp_path: Path):
    images = write_table(tmp_path / "few", rows({"covid": 2, "healthy": 6, "rare": 1}, ".png"))
    found = look(sources(images))
    assert len(found.problems) == 2
    assert found.problems[0] == (
        "The test split of 'image' has no sample of the label 'covid' (it has 2 in all); add files, move some over, or "
        "leave it out: --label-map 'covid='."
    )
    assert "The val and test split of 'image' has no sample of the label 'rare' (it has 1 in all)" in found.problems[1]
    assert look(sources(images), Reading({"covid": "", "rare": ""})).problems == []


def without_validation(label: str, table: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [row for row in table if row[1:4:2] != (label, "val")]


def test_a_label_that_validation_alone_lacks_is_a_warning_in_one_modality(tmp_path: Path):
    table = rows({"covid": 6, "healthy": 6, "rare": 6}, ".png")
    images = write_table(tmp_path / "α", without_validation("rare", table))
    found = look(sources(images))
    assert found.problems == [] and found.split
    assert found.warnings == [
        "The val split of 'image' has no sample of the label 'rare': it is trained and tested on, but not used for "
        "choosing weights."
    ]
    audio = write_table(tmp_path / "β", rows({"covid": 6, "healthy": 6, "rare": 6}, ".wav", "other"))
    found = look(sources(images, audio))
    (problem,) = found.problems
    assert problem.startswith("The val split of 'image' has no sample of the label 'rare' (it has 4 in all)")
    assert not found.warnings and not found.split


def test_other_lacks_of_one_modality_stay_problems(tmp_path: Path):
    table = rows({"covid": 6, "healthy": 6}, ".png")
    for split in ("train", "test"):
        images = write_table(tmp_path / split, [row for row in table if row[1:4:2] != ("covid", split)])
        (problem,) = look(sources(images)).problems
        assert problem.startswith(f"The {split} split of 'image' has no sample of the label 'covid'")


def test_no_validation_at_all_is_a_problem(tmp_path: Path):
    found = look(sources(write_table(tmp_path / "x", rows({"a": 6, "b": 6}, ".png"))))
    manifest = found.manifests["image"]
    assert found.note_missing_labels("image", manifest.select(manifest.splits != "val")) == []
    assert len(found.problems) == 2 and found.warnings == []


def test_a_warning_is_not_repeated(tmp_path: Path):
    table = rows({"a": 6, "b": 6, "c": 6}, ".png")
    found = look(sources(write_table(tmp_path / "x", without_validation("a", table))))
    manifest = found.manifests["image"]
    fewer = manifest.select((manifest.splits != "val") | (manifest.labels != 1))
    (fresh,) = found.note_missing_labels("image", fewer)
    assert "'b'" in fresh and len(found.warnings) == 2


def test_one_label_is_a_warning(tmp_path: Path):
    (warning,) = look(sources(write_table(tmp_path / "one", rows({"covid": 3}, ".png")))).warnings
    assert "'covid' is the only label" in warning


def test_people_on_two_sides_are_a_warning(tmp_path: Path):
    table = [
        (path, label, "person 7" if n < 2 else subject, split)
        for n, (path, label, subject, split) in enumerate(rows({"a": 6, "b": 6}, ".png"))
    ]
    (warning,) = look(sources(write_table(tmp_path / "leaky", table))).warnings
    assert warning.startswith("1 subjects of 'image' are in more than one split (person 7)")


def test_people_who_are_test_here_and_training_there_are_a_warning(tmp_path: Path, images: Path):
    table = [
        (path, label, subject.replace("other", "person"), split)
        for path, label, subject, split in rows({"covid": 6, "healthy": 6}, ".wav", "other")
    ]
    swapped = [(*row[:3], {"test": "train", "train": "test"}.get(row[3], row[3])) for row in table]
    same = look(sources(images, write_table(tmp_path / "same", table)))
    assert not [warning for warning in same.warnings if "test subjects" in warning]
    found = look(sources(images, write_table(tmp_path / "swapped", swapped)))
    assert any(warning.startswith("8 subjects (person covid 0, ") for warning in found.warnings)


def test_data_without_splits_are_split_by_subject(tmp_path: Path):
    table = [row[:3] for row in rows({"a": 12, "b": 12}, ".png")]
    images = write_table(tmp_path / "whole", table, "path,label,subject")
    first, again, other = (
        look(sources(images), Reading(seed=seed)).manifests["image"].splits.tolist() for seed in (1, 1, 2)
    )
    assert first == again != other
    assert set(first) == {"train", "val", "test"}


def test_reading_alone_keeps_the_splits_that_are_there(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    images = write_table(tmp_path / "whole", [row[:3] for row in rows({"a": 4, "b": 4}, ".png")], "path,label,subject")
    assert read_matched(sources(images))["image"].splits is None
    with pytest.raises(UserError, match="does not exist"):
        read_matched(sources(tmp_path / "gone"))


def test_columns_can_be_named(tmp_path: Path):
    images = write_table(tmp_path / "named", rows({"a": 4, "b": 4}, ".png"), "wave,verdict,who,part")
    source = Source(images, ImageSettings(8), Columns(path="wave", label="verdict"))
    assert read_matched({"image": source})["image"].label_names == ("a", "b")


def test_an_attempt_returns_or_notes():
    found = Overview()

    def fail() -> None:
        raise UserError("The moon is full; wait.")

    assert found.attempt(lambda: 3) == 3
    assert found.attempt(fail) is None
    assert found.problems == ["The moon is full; wait."]
