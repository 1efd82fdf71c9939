from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmgen.data.phantoms import LABELS, phantom_cough, phantom_xray, write_phantoms
from mmgen.errors import UserError


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def rngs(count: int, *key: int) -> list[np.random.Generator]:
    return [np.random.default_rng([*key, index]) for index in range(count)]


def reduced(picture: np.ndarray, size: int) -> np.ndarray:
    """Picture as floats, averaged over square blocks to (size, size)."""
    block = picture.shape[0] // size
    return picture.astype(float).reshape(size, block, size, block).mean(axis=(1, 3))


def accuracy(features: np.ndarray, table: pd.DataFrame) -> float:
    """Test accuracy of a logistic regression trained on the train split. features (files, ...)."""
    features, train = features.reshape(len(features), -1), (table.split == "train").to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    model.fit(features[train], table.label[train])
    return model.score(features[~train], table.label[~train])


def mean_log_bands(clip: np.ndarray, bands: int = 40) -> np.ndarray:
    """Log energy in bands of equal mel width from 60 Hz up to 8 kHz, averaged over frames: (bands,)."""
    frames = np.lib.stride_tricks.sliding_window_view(clip, 400)[::160] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames, 1024)) ** 2
    hertz = 700 * (10 ** (np.linspace(*(np.log10(1 + np.array([60, 8000]) / 700)), bands + 1)) - 1)
    edges = np.searchsorted(np.fft.rfftfreq(1024, 1 / 16000), hertz)
    return np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-8).mean(axis=0)


@pytest.fixture(scope="module")
def default_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_phantoms(tmp_path_factory.mktemp("phantoms"))


@pytest.fixture(scope="module")
def tables(default_set: tuple[Path, Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    images, audio = (pd.read_csv(folder / "manifest.csv") for folder in default_set)
    return images, audio


@pytest.fixture(scope="module")
def pictures(default_set: tuple[Path, Path], tables: tuple[pd.DataFrame, pd.DataFrame]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(default_set[0] / path)) for path in tables[0].path])


@pytest.fixture(scope="module")
def clips(default_set: tuple[Path, Path], tables: tuple[pd.DataFrame, pd.DataFrame]) -> list[np.ndarray]:
    return [soundfile.read(default_set[1] / path)[0] for path in tables[1].path]


def test_manifests_list_exactly_the_files_written(default_set, tables):
    for folder, table, suffix in zip(default_set, tables, ("png", "wav"), strict=True):
        assert list(table.columns) == ["path", "label", "subject", "split"]
        assert set(table.path) == {path.relative_to(folder).as_posix() for path in folder.rglob(f"*.{suffix}")}
        assert all(row.path.startswith(f"{row.split}/{row.label}/") for row in table.itertuples())
        assert set(table.label) == set(LABELS)


def test_subjects_are_on_one_side_with_one_label_and_in_one_modality(tables):
    for table in tables:
        assert table.groupby("subject")[["split", "label"]].nunique().to_numpy().max() == 1
        assert set(table.subject.value_counts()) == {1, 2}
        subjects = table.drop_duplicates("subject").groupby(["label", "split"]).size()
        assert all(subjects[label, "test"] == 15 and subjects[label, "train"] == 45 for label in LABELS)
    assert not set(tables[0].subject) & set(tables[1].subject)


def test_files_are_ordinary_ones(default_set, tables, pictures, clips):
    with Image.open(default_set[0] / tables[0].path[0]) as image:
        assert (image.mode, image.size) == ("L", (128, 128))
    info = soundfile.info(default_set[1] / tables[1].path[0])
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    assert pictures.std(axis=(1, 2)).min() > 20
    assert all(0.7 * 16000 <= len(clip) <= 3 * 16000 and 0.05 < np.abs(clip).max() < 1 for clip in clips)


def test_labels_can_be_learned_from_pixels_but_not_from_brightness(tables, pictures):
    small = np.stack([np.asarray(Image.fromarray(picture).resize((24, 24))) for picture in pictures]) / 255.0
    assert accuracy(small, tables[0]) > 0.7
    assert accuracy(pictures.mean(axis=(1, 2)), tables[0]) < 0.7


def test_labels_can_be_learned_from_bands_but_not_from_loudness_or_length(tables, clips):
    assert accuracy(np.stack([mean_log_bands(clip) for clip in clips]), tables[1]) > 0.7
    assert accuracy(np.array([[np.log(clip.std())] for clip in clips]), tables[1]) < 0.75
    assert accuracy(np.array([[len(clip)] for clip in clips]), tables[1]) < 0.75


def test_same_arguments_give_the_same_bytes_and_another_seed_gives_others(tmp_path):
    for name, seed in (("first", 3), ("second", 3), ("third", 4)):
        write_phantoms(tmp_path / name, subjects_per_class=3, seed=seed, image_size=32)
    first, second, third = (digests(tmp_path / name) for name in ("first", "second", "third"))
    assert first == second
    media = [path for path in first if path.endswith(("png", "wav"))]
    assert media and not {first[path] for path in media} & set(third.values())


def test_files_of_a_set_all_differ(default_set):
    for folder in default_set:
        files = digests(folder)
        assert len(set(files.values())) == len(files)


def test_a_complete_set_is_left_alone(tmp_path):
    first = write_phantoms(tmp_path, subjects_per_class=2, image_size=16)
    before = times(tmp_path)
    assert (
        write_phantoms(tmp_path, subjects_per_class=2, image_size=16)
        == first
        == (tmp_path / "images", tmp_path / "audio")
    )
    assert times(tmp_path) == before


@pytest.mark.parametrize("damage", ["file gone", "manifest gone", "killed while writing"])
def test_an_unfinished_set_is_made_good(tmp_path, damage):
    write_phantoms(tmp_path, subjects_per_class=2, image_size=16)
    whole = digests(tmp_path)
    if damage == "file gone":
        next((tmp_path / "audio").rglob("*.wav")).unlink()
    elif damage == "manifest gone":
        (tmp_path / "images" / "manifest.csv").unlink()
    else:
        marker = tmp_path / "phantoms.json"
        marker.write_text(json.dumps({**json.loads(marker.read_text()), "complete": False}))
        next((tmp_path / "images").rglob("*.png")).write_bytes(b"half a fi")
    write_phantoms(tmp_path, subjects_per_class=2, image_size=16)
    assert digests(tmp_path) == whole


def test_another_set_replaces_the_old_one_without_leftovers(tmp_path):
    write_phantoms(tmp_path / "a", subjects_per_class=4, image_size=16)
    write_phantoms(tmp_path / "a", subjects_per_class=2, image_size=24)
    write_phantoms(tmp_path / "b", subjects_per_class=2, image_size=24)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_a_folder_with_other_data_is_not_touched(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "manifest.csv").write_text("mine")
    with pytest.raises(UserError, match=r"phantoms\.json"):
        write_phantoms(tmp_path, subjects_per_class=2, image_size=16)
    assert digests(tmp_path) == {"images/manifest.csv": hashlib.sha256(b"mine").hexdigest()}


@pytest.mark.parametrize(
    "arguments",
    [
        {"subjects_per_class": 1},
        {"seed": -1},
        {"image_size": 4},
        {"labels": ()},
        {"labels": ("covid", "Covid")},
        {"labels": ("a/b", "c")},
        {"labels": ("..", "c")},
        {"labels": ("", "c")},
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(tmp_path, arguments):
    with pytest.raises(UserError):
        write_phantoms(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
    for draw in (phantom_xray, phantom_cough):
        with pytest.raises(UserError):
            draw(-1, np.random.default_rng(0), 16000)


@pytest.mark.parametrize("label_index", [0, 1, 2])
def test_a_picture_does_not_depend_on_the_resolution(label_index):
    small, middle, large = (phantom_xray(label_index, np.random.default_rng(5), size) for size in (32, 64, 256))
    assert small.shape == (32, 32) and large.shape == (256, 256) and large.dtype == np.uint8
    for picture in (middle, large):
        difference = reduced(picture, 32) - small
        assert np.abs(difference).mean() < 2.5  # of 255 grey levels
    other = phantom_xray(label_index, np.random.default_rng(6), 32)
    assert np.abs(other - reduced(large, 32)).mean() > 5


def test_as_much_is_drawn_at_every_size():
    states = []
    for size in (16, 64, 100):
        rng = np.random.default_rng(0)
        phantom_xray(0, rng, size)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1] == states[2]


def test_opacities_of_the_first_label_lie_low_and_on_both_sides():
    mean = {label: np.mean([phantom_xray(label, rng, 64) for rng in rngs(60, 7)], axis=0) for label in (0, 1)}
    extra = mean[0] - mean[1]  # the bodies are the same 60
    right, left, low, high = extra[:, 8:24], extra[:, 40:56], slice(30, 46), slice(12, 22)
    for lung in (right, left):
        assert lung[low].mean() > 10 and lung[low].mean() > 3 * np.abs(lung[high]).mean()
    assert np.abs(extra[:, 28:36]).mean() < 3  # mediastinum


def test_coughs_of_the_first_label_are_brighter_and_voiced_for_less_time():
    def centroid(clip: np.ndarray) -> float:
        magnitude = np.abs(np.fft.rfft(clip))
        return (magnitude * np.fft.rfftfreq(len(clip), 1 / 16000)).sum() / magnitude.sum()

    dry, deep = ([centroid(phantom_cough(label, rng)) for rng in rngs(60, 8)] for label in (0, 1))
    assert np.median(dry) > 1.1 * np.median(deep)
    assert max(deep) > min(dry)  # voices overlap


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
def test_clips_have_their_length_and_level_at_any_rate(sample_rate):
    for label, rng in enumerate(rngs(12, 9)):
        clip = phantom_cough(label % 4, rng, sample_rate)
        assert clip.dtype == np.float32 and clip.ndim == 1 and np.isfinite(clip).all()
        assert 0.7 <= len(clip) / sample_rate <= 3 and np.abs(clip).max() < 1


def test_further_labels_have_patterns_of_their_own(tmp_path):
    images, audio = write_phantoms(tmp_path, 2, image_size=16, labels=("covid", "healthy", "pneumonia", "other one"))
    for folder in (images, audio):
        assert set(pd.read_csv(folder / "manifest.csv").label) == {"covid", "healthy", "pneumonia", "other one"}
    pictures = [np.mean([phantom_xray(label, rng, 32) for rng in rngs(20, 1)], axis=0) for label in range(5)]
    for first in range(5):
        assert all(np.abs(pictures[first] - pictures[second]).max() > 8 for second in range(first))
    clips = [phantom_cough(label, np.random.default_rng(1)) for label in range(5)]
    assert len({clip.tobytes() for clip in clips}) == 5


def test_a_subject_keeps_the_body_between_files():
    films = [
        [
            phantom_xray(1, file, 64, subject_rng=np.random.default_rng(subject)).astype(float)
            for file in rngs(4, subject)
        ]
        for subject in range(4)
    ]
    normal = np.array([[(film - film.mean()) / film.std() for film in subject] for subject in films])
    likeness = np.einsum("ifhw,jghw->ijfg", normal, normal) / 64**2
    same = likeness[np.arange(4), np.arange(4)][:, ~np.eye(4, dtype=bool)].mean()
    assert same > likeness[~np.eye(4, dtype=bool)].mean()
