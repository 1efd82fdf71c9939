from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import soundfile
from decoded_samples import load_samples
from PIL import Image

from mmgen.data.audio import AUDIO_SUFFIXES
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import IMAGE_SUFFIXES, ImageSettings
from mmgen.data.manifest import read_manifest
from mmgen.data.samples import Samples, channel_statistics, set_fingerprint
from mmgen.data.settings import settings_from_dict, settings_to_dict
from mmgen.errors import UserError


@pytest.mark.parametrize("settings", [ImageSettings(64, 3), AudioSettings(frames=200, log_floor=-9.0)])
def test_settings_survive_json(settings):
    assert settings_from_dict(json.loads(json.dumps(settings_to_dict(settings)))) == settings


@pytest.mark.parametrize("values", [{"kind": "video"}, {"size": 64}])
def test_an_unknown_kind_is_refused(values):
    with pytest.raises(UserError, match=r"Unknown kind of preprocessing .*'audio', 'image'"):
        settings_from_dict(values)


@pytest.mark.parametrize("change", [{"colour": 1}, {"log_floor": "low"}])
def test_settings_of_another_version_are_refused(change):
    with pytest.raises(UserError, match="This version cannot use the settings of preprocessing 'audio'"):
        settings_from_dict(settings_to_dict(AudioSettings()) | change)


def test_selection_by_index_and_by_mask():
    samples = Samples(np.arange(4).reshape(4, 1, 1, 1), np.array([0, 1, 0, 1]), ("a", "b"), np.array([0, 0, 1, 2]))
    picked = samples.select([3, 0])
    assert (picked.values.ravel().tolist(), picked.labels.tolist(), picked.rows.tolist()) == ([3, 0], [1, 0], [2, 0])
    assert samples.select(samples.labels == 1).values.ravel().tolist() == [1, 3]
    assert len(samples.select([])) == 0
    assert picked.label_names == ("a", "b")


def test_subjects_go_along():
    subjects = np.array(["x", "b", "x", "a"], dtype=object)
    samples = Samples(np.zeros((4, 1, 1, 1)), np.zeros(4, int), ("a",), np.arange(4), subjects)
    assert samples.subject_numbers().tolist() == [2, 1, 2, 0]
    assert samples.select([3, 0]).subjects.tolist() == ["a", "x"]
    assert Samples(samples.values, samples.labels, ("a",), samples.rows).subject_numbers() is None


def test_images_are_one_sample_a_file(tmp_path):
    for position, label in enumerate(("covid", "healthy")):
        (tmp_path / label).mkdir()
        for number in range(2 + position):
            picture = np.full((20, 30), 100 * position + number, np.uint8)
            Image.fromarray(picture).save(tmp_path / label / f"{number}.png")
    samples = load_samples(read_manifest(tmp_path, IMAGE_SUFFIXES), ImageSettings(8))
    assert samples.values.shape == (5, 1, 8, 8)
    assert samples.values.dtype == np.uint8
    assert samples.labels.tolist() == [0, 0, 1, 1, 1]
    assert samples.values[:][:, 0, 0, 0].tolist() == [0, 1, 100, 101, 102]
    assert samples.rows.tolist() == [0, 1, 2, 3, 4]


def test_sounds_are_one_sample_a_segment_with_the_label_of_their_file(tmp_path):
    for label, seconds in (("covid", 2.5), ("healthy", 0.3)):
        (tmp_path / label).mkdir()
        soundfile.write(tmp_path / label / "x.wav", np.random.default_rng(0).normal(size=int(16_000 * seconds)), 16_000)
    samples = load_samples(read_manifest(tmp_path, AUDIO_SUFFIXES), AudioSettings())
    assert samples.values.shape == (4, 1, 100, 100)
    assert samples.labels.tolist() == [0, 0, 0, 1]
    assert samples.rows.tolist() == [0, 0, 0, 1]
    assert samples.label_names == ("covid", "healthy")


@pytest.mark.parametrize(
    ("dtype", "channels", "chunk"), list(itertools.product([np.uint8, np.float16], [1, 3], [3, 1024]))
)
def test_statistics_are_those_of_the_whole_array(dtype: type, channels: int, chunk: int) -> None:
    values = np.random.default_rng(0).uniform(0, 200, (7, channels, 5, 6)).astype(dtype)
    mean, std = channel_statistics(values, chunk)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(std, exact.std(axis=(0, 2, 3)))
    assert len(mean) == channels


def test_a_constant_channel_has_no_deviation() -> None:
    values = np.zeros((5, 2, 4, 4), np.float16)
    values[:, 0] = 0.1
    mean, std = channel_statistics(values, 2)
    assert mean == (float(np.float16(0.1)), 0.0) and std[1] == 0.0 and std[0] < 1e-8


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_a_set_is_named_by_its_records_in_any_order(dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8)).astype(dtype)
    name = set_fingerprint(values)
    assert name == set_fingerprint(values[::-1]) == set_fingerprint(np.roll(values, 7, 0), chunk=4)
    assert len(name) == 24 and name.isalnum()
    changed = values.copy()
    changed[11, 2, 3, 4] += 1
    twice = np.concatenate([values, values[:1]])
    others = [
        changed,
        twice,
        values[:-1],
        values.swapaxes(2, 3),
        values.reshape(30, 3, 4, 16),
        values.astype(np.float32),
    ]
    assert len({name, *map(set_fingerprint, others)}) == 7
