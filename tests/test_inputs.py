"""What evaluations and audits read: paths by modality, synthetic sets of any origin, both sides of the real data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_medsynth import LABELS, small_generator, tiny_samples

from mmgen.condense import write_condensed
from mmgen.data.audio import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.phantoms import write_phantoms
from mmgen.errors import UserError
from mmgen.inputs import Reading, data_sets_of, joined, modality_of, parse_paths, read_synthetic, synthetic_settings

BOTH = ("image", "audio")


def pictures(folder: Path, per_label: int = 3, size: int = 20, mode: str = "RGB", seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for label in ("маленький", "b c"):
        (folder / label).mkdir(parents=True)
        for number in range(per_label):
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / label / f"{number}.png")
    return folder


def test_paths_by_modality(tmp_path: Path) -> None:
    for name in ("images", "audio"):
        (tmp_path / name).mkdir()
    assert parse_paths("a=b.csv", ["image"], "--real") == {"image": Path("a=b.csv")}
    assert parse_paths(["image=x=y"], ["image"], "--real") == {"image": Path("x=y")}
    assert parse_paths(tmp_path, BOTH, "--real") == {"image": tmp_path / "images", "audio": tmp_path / "audio"}
    images, audio = tmp_path / "images", tmp_path / "audio"
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


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_foreign_pictures_are_read_as_they_are(tmp_path: Path, mode: str, channels: int) -> None:
    folder = pictures(tmp_path / "чужие", mode=mode)
    settings = synthetic_settings(folder)
    assert settings == {"image": ImageSettings(20, channels)}
    samples = read_synthetic(folder, settings, {"b c": "d"})["image"]
    assert samples.label_names == ("d", "маленький") and samples.values.shape == (6, channels, 20, 20)


def test_foreign_sounds_are_found(tmp_path: Path) -> None:
    _, audio = write_phantoms(tmp_path, subjects_per_class=2, image_size=32)
    assert synthetic_settings(audio) == {"audio": AudioSettings()}


def test_what_is_no_synthetic_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is nothing at"):
        synthetic_settings(tmp_path / "gone")
    with pytest.raises(UserError, match="holds neither pictures nor sounds"):
        synthetic_settings(tmp_path)
    with pytest.raises(UserError, match="not audio; correct --modality"):
        synthetic_settings(write_condensed(small_generator(), 2, 0, tmp_path / "set"), ["audio"])
    broken = pictures(tmp_path / "broken")
    (broken / "b c" / "0.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UserError, match=r"0\.png cannot be read"):
        synthetic_settings(broken)


def test_members_are_what_a_recipe_of_the_same_seed_trains_on(tmp_path: Path) -> None:
    from mmgen.data.overview import Source
    from mmgen.data.prepare import Preparation, prepare

    images, _ = write_phantoms(tmp_path, subjects_per_class=12, image_size=32)
    settings = {"image": ImageSettings(32, 1)}
    for seed in (0, 1):
        trained = prepare({"image": Source(images, settings["image"])}, Preparation(seed=seed)).splits
        reading = Reading(seed=seed)
        members, others = (reading.side({"image": images}, settings, split) for split in ("train", "test"))
        for side, split in ((members, "train"), (others, "test")):
            np.testing.assert_array_equal(side.samples["image"].values[:], trained[split]["image"].values[:])
        assert not set(members.people["image"]) & set(others.people["image"])


def test_data_without_splits_are_read_as_a_whole(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "all")
    side = Reading().side({"image": folder}, {"image": ImageSettings(20, 3)}, "test")
    assert len(side.samples["image"]) == 6 and side.people["image"] is None


def test_joined_sets_keep_their_labels() -> None:
    one, other = tiny_samples((2, 3)), tiny_samples((1, 2), seed=1)
    other = type(other)(other.values, 1 - other.labels, other.label_names[::-1], other.rows)
    both = joined([one, other])
    assert both.label_names == LABELS and both.labels.tolist() == [0, 0, 1, 1, 1, 0, 1, 1]
    assert len(set(both.rows.tolist())) == 8
    assert joined([one]) is one


def test_modalities_fit_the_data() -> None:
    samples = tiny_samples((4, 4), size=32)
    modality = modality_of("image", ImageSettings(32, 3), samples)
    assert modality.patch == (8, 8) and modality.shape == (3, 32, 32)
    assert modality.mean == pytest.approx(samples.values.mean((0, 2, 3)))
    assert modality_of("image", ImageSettings(37, 3), tiny_samples((2, 2), size=37)).padded == (40, 40)
