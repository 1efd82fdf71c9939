"""What evaluations and audits read: paths by modality, synthetic sets of any origin, both sides of the real data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import write_pictures
from small import noise_samples
from tiny_medsynth import LABELS, small_generator, tiny_samples, write_condensed

from mmgen.artifacts.models import load_model
from mmgen.assessment.inputs import (
    data_sets_of,
    joined,
    modality_of,
    parse_paths,
    read_sides,
    read_synthetic,
    side_of,
    synthetic_settings,
)
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.loading import load
from mmgen.data.phantoms import write_phantoms
from mmgen.data.settings import Settings
from mmgen.data.sources import Reading
from mmgen.errors import UserError
from mmgen.evaluation.privacy.sides import Side
from mmgen.generation.plan import make_plan
from mmgen.generation.writing import OutputOptions, write_dataset

BOTH = ("image", "audio")


def read_side(paths: Mapping[str, Path], settings: Mapping[str, Settings], split: str, reading: Reading) -> Side:
    return side_of(load(reading.sources(paths, settings), reading, split, rule="trained", foreign=True))


def test_paths_by_modality(tmp_path: Path) -> None:
    for name in ("images", "audio"):
        (tmp_path / name).mkdir()
    assert parse_paths("a=b.csv", ["image"], "--real") == {"image": Path("a=b.csv")}
    assert parse_paths(["image=x=y"], ["image"], "--real") == {"image": Path("x=y")}
    assert parse_paths(tmp_path, BOTH, "--real") == {"image": tmp_path / "images", "audio": tmp_path / "audio"}
    assert parse_paths(tmp_path, ["image"], "--real") == {"image": tmp_path / "images"}
    images, audio = tmp_path / "images", tmp_path / "audio"
    assert parse_paths(images, ["image"], "--real") == {"image": images}
    named = {"image": images, "audio": audio}
    assert parse_paths([f"audio={audio}", f"image={images}"], BOTH, "--real") == named
    assert parse_paths(named, BOTH, "--real") == named


@pytest.mark.parametrize("values", [["x"], ["image=x"], ["x", "y"], [], ["image=x", "audio=y", "z"]])
def test_a_modality_without_a_path_is_named(values: list[str]) -> None:
    with pytest.raises(UserError, match="--members needs a path for image and audio; give --members image=PATH audio"):
        parse_paths(values, BOTH, "--members")


def test_an_own_data_set_says_how_it_is_read(tmp_path: Path) -> None:
    folder = write_condensed(small_generator(), 3, 0, tmp_path / "run" / "synthetic" / "ipc3")
    settings = synthetic_settings(folder)
    assert settings == {"image": ImageSettings(32, 3)}
    samples = read_synthetic(folder, settings, {})["image"]
    assert len(samples) == 6 and samples.label_names == LABELS
    assert data_sets_of(tmp_path / "run") == {"synthetic/ipc3": folder}
    about = json.loads((folder / "dataset.json").read_text())
    del about["preprocessing"]
    (folder / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="does not say how its files are read"):
        synthetic_settings(folder)


def test_a_folder_of_data_sets_holds_them(tmp_path: Path) -> None:
    folder = write_condensed(small_generator(), 2, 0, tmp_path / "sets" / "a b")
    assert data_sets_of(tmp_path / "sets") == {"a b": folder} and data_sets_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("mode", "channels"), [("RGB", 3), ("P", 3), ("RGBA", 3), ("L", 1), ("LA", 1), ("1", 1), ("I;16", 1)]
)
def test_foreign_pictures_are_read_as_they_are(tmp_path: Path, mode: str, channels: int) -> None:
    folder = write_pictures(tmp_path / "чужие", 3, labels=("маленький", "b c"), size=20, mode=mode)
    settings = synthetic_settings(folder)
    assert settings == {"image": ImageSettings(20, channels)}
    samples = read_synthetic(folder, settings, {"b c": "d"})["image"]
    assert samples.label_names == ("d", "маленький") and samples.values.shape == (6, channels, 20, 20)


def test_large_foreign_pictures_are_reduced(tmp_path: Path) -> None:
    settings = synthetic_settings(write_pictures(tmp_path / "large", 1, size=300))
    assert settings == {"image": ImageSettings(224, 3)}
    assert read_synthetic(tmp_path / "large", settings, {})["image"].values.shape == (2, 3, 224, 224)


def test_foreign_dicom_files_are_read(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from dicom_files import dicom

    (tmp_path / "set" / "x").mkdir(parents=True)
    content = dicom((np.arange(24 * 20) % 256).astype(np.uint8).reshape(24, 20))
    (tmp_path / "set" / "x" / "a.dcm").write_bytes(content)
    assert synthetic_settings(tmp_path / "set") == {"image": ImageSettings(20, 1)}


def test_foreign_sounds_are_found(tmp_path: Path) -> None:
    images, audio = write_phantoms(tmp_path, subjects_per_class=2, image_size=32)
    assert synthetic_settings(audio) == {"audio": AudioSettings()}
    both = synthetic_settings(tmp_path)
    assert both == {"image": ImageSettings(32, 1), "audio": AudioSettings()}
    samples = read_synthetic(tmp_path, both, {})
    assert len(samples["image"]) == len(list(images.rglob("*.png")))
    assert {s.label_names for s in samples.values()} == {("covid", "healthy")}
    assert synthetic_settings(tmp_path, ["image"]) == {"image": ImageSettings(32, 1)}


def test_labels_of_a_set_are_renamed_where_it_has_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A map is for all sides: what one of them calls otherwise, another may not have."""
    own = write_condensed(small_generator(), 2, 0, tmp_path / "own")
    foreign = write_pictures(tmp_path / "foreign", 2)
    renames = {LABELS[0].upper(): "healthy", "elsewhere": "x"}
    for folder in (own, foreign):
        samples = read_synthetic(folder, synthetic_settings(folder), renames)["image"]
        assert samples.label_names == ("healthy", LABELS[1]) and samples.labels.tolist() == [0, 0, 1, 1]
        left = read_synthetic(folder, synthetic_settings(folder), {LABELS[0]: ""})["image"]
        assert left.label_names == LABELS[1:] and len(left) == 2
    side = read_side({"image": foreign}, {"image": ImageSettings(32, 3)}, "train", Reading(renames))
    assert side.samples["image"].label_names == ("healthy", LABELS[1])
    assert f"There is no label 'elsewhere' to rename in {foreign}." in caplog.messages


def test_labels_are_renamed_before_modalities_are_matched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images, audio = write_phantoms(tmp_path, subjects_per_class=3, image_size=32)
    settings = {"image": ImageSettings(32, 1), "audio": AudioSettings()}
    shutil.move(images / "train" / "covid", images / "train" / "virus")
    shutil.move(images / "test" / "covid", images / "test" / "virus")
    (images / "manifest.csv").unlink()
    paths = {"image": images, "audio": audio}
    side = read_side(paths, settings, "test", Reading({"virus": "covid"}))
    assert [samples.label_names for samples in side.samples.values()] == [("covid", "healthy")] * 2
    assert not caplog.messages
    side = read_side(paths, settings, "test", Reading())
    assert [samples.label_names for samples in side.samples.values()] == [("healthy",)] * 2
    assert "Label 'covid' is left out with its 4 files: there are no samples of it among image." in caplog.messages


def test_what_is_no_synthetic_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is nothing at"):
        synthetic_settings(tmp_path / "gone")
    with pytest.raises(UserError, match="holds neither pictures nor sounds"):
        synthetic_settings(tmp_path)
    with pytest.raises(UserError, match="not audio; correct --modality"):
        synthetic_settings(write_condensed(small_generator(), 2, 0, tmp_path / "set"), ["audio"])
    with pytest.raises(UserError, match="foreign holds no sounds; correct --modality"):
        synthetic_settings(write_pictures(tmp_path / "foreign"), ["image", "audio"])
    with pytest.raises(UserError, match=r"gesund/000\.png is 7 pixels wide or high; at least 8 are needed"):
        synthetic_settings(write_pictures(tmp_path / "tiny", size=7))
    small_generator().save_pretrained(tmp_path / "run" / "model")
    write_pictures(tmp_path / "run" / "phase1", 1)
    with pytest.raises(UserError, match="holds a model and no synthetic data set; make one with mmgen generate"):
        synthetic_settings(tmp_path / "run")
    (tmp_path / "foreign" / "INCOMPLETE").write_text("{}")
    with pytest.raises(UserError, match="foreign is not finished"):
        synthetic_settings(tmp_path / "foreign")


def test_unreadable_pictures_of_a_set_are_named_together(tmp_path: Path) -> None:
    broken = write_pictures(tmp_path / "broken", 3)
    names = [broken / LABELS[0] / "000.png", broken / LABELS[1] / "001.png"]
    for path in names:
        path.write_bytes(b"\x89PNG\r\n")
    settings = synthetic_settings(broken)
    assert settings == {"image": ImageSettings(32, 3)}
    with pytest.raises(UserError, match=r"2 files cannot be used: .*000\.png.*001\.png.*--skip-bad"):
        read_synthetic(broken, settings, {})
    assert len(read_synthetic(broken, settings, {}, skip_bad=True)["image"]) == 4
    for path in broken.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="None of the 6 pictures"):
        synthetic_settings(broken)


def test_spectrograms_that_are_not_numbers_are_refused(tmp_path: Path, model_folder: Path) -> None:
    model = load_model(model_folder)
    samples = noise_samples()
    plan = make_plan(model, samples, 2, {"image": 0.75, "audio": 0.75}, 0)
    folder = write_dataset(model, plan, tmp_path / "set", OutputOptions())
    settings = synthetic_settings(folder)
    assert read_synthetic(folder, settings, {}).keys() == {"image", "audio"}
    path = min(folder.rglob("*.npy"))
    values = np.load(path)
    values[3, 2] = np.nan
    np.save(path, values)
    with pytest.raises(UserError, match=r"^1 of 4 samples of 'audio' in .*set hold values that are not numbers"):
        read_synthetic(folder, settings, {})
    assert read_synthetic(folder, {"image": settings["image"]}, {}).keys() == {"image"}


def test_members_are_what_a_recipe_of_the_same_seed_trains_on(tmp_path: Path) -> None:
    from mmgen.data.loading import prepare
    from mmgen.data.sources import Source

    images, _ = write_phantoms(tmp_path, subjects_per_class=12, image_size=32)
    settings = {"image": ImageSettings(32, 1)}
    for seed in (0, 1):
        trained = prepare({"image": Source(images, settings["image"])}, Reading(seed=seed)).splits
        reading = Reading(seed=seed)
        members, others = (read_side({"image": images}, settings, split, reading) for split in ("train", "test"))
        for side, split in ((members, "train"), (others, "test")):
            np.testing.assert_array_equal(side.samples["image"].values[:], trained[split]["image"].values[:])
        assert not set(members.subjects["image"]) & set(others.subjects["image"])


def test_data_without_splits_are_read_as_a_whole(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "all", 3, size=20)
    side = read_side({"image": folder}, {"image": ImageSettings(20, 3)}, "test", Reading())
    assert len(side.samples["image"]) == 6 and side.subjects["image"] is None


def test_joined_sets_keep_their_labels() -> None:
    one, other = tiny_samples((2, 3)), tiny_samples((1, 2), seed=1)
    other = type(other)(other.values, 1 - other.labels, other.label_names[::-1], other.rows)
    both = joined([one, other])
    assert both.label_names == LABELS and both.labels.tolist() == [0, 0, 1, 1, 1, 0, 1, 1]
    assert len(set(both.rows.tolist())) == 8
    assert joined([one]) is one


def test_soft_labels_of_joined_sets_stay_with_their_labels() -> None:
    one, other = tiny_samples((2, 3)), tiny_samples((1, 2), seed=1)
    soft = np.array([[0.9, 0.1]] * 5, np.float32)
    one = replace(one, probabilities=soft)
    other = replace(other, label_names=other.label_names[::-1], probabilities=soft[:3])
    both = joined([one, other])
    np.testing.assert_array_equal(both.probabilities, np.concatenate([soft, soft[:3, ::-1]]))
    assert joined([one, replace(other, probabilities=None)]).probabilities is None


def test_modalities_fit_the_data() -> None:
    samples = tiny_samples((4, 4), size=32)
    modality = modality_of("image", ImageSettings(32, 3), samples)
    assert modality.patch == (8, 8) and modality.shape == (3, 32, 32)
    assert modality.mean == pytest.approx(samples.values.mean((0, 2, 3)))
    assert modality_of("image", ImageSettings(37, 3), tiny_samples((2, 2), size=37)).padded == (40, 40)


def test_one_place_for_both_sides_is_split_as_a_recipe_splits_it(tmp_path: Path) -> None:
    from mmgen.data.loading import prepare
    from mmgen.data.sources import Source

    folder, settings = {"image": write_pictures(tmp_path / "all", 12)}, {"image": ImageSettings(32, 3)}
    trained = prepare({"image": Source(folder["image"], settings["image"])}, Reading(seed=3)).splits
    members, others = read_sides(folder, folder, settings, ("train", "test"), Reading(seed=3))
    for side, split in ((members, "train"), (others, "test")):
        np.testing.assert_array_equal(side.samples["image"].values, trained[split]["image"].values[:])
    other = {"image": write_pictures(tmp_path / "other", 3)}
    sides = read_sides(folder, other, settings, ("train", "test"), Reading())
    assert [len(side.samples["image"]) for side in sides] == [24, 6]
