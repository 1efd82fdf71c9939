"""Utility of sounds: the classifier that measures them, and recordings that are judged as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from mmgen.data.audio import log_mel_segments
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.loading import load
from mmgen.data.phantoms import phantom_cough
from mmgen.data.samples import Samples, channel_statistics
from mmgen.data.sources import Source
from mmgen.evaluation import utility as module
from mmgen.evaluation.training_sets import four_sets
from mmgen.evaluation.utility import Outcome, UtilityConfig, train_and_predict, train_and_test, utility
from mmgen.models.modality import Modality

SOUND = AudioSettings(n_mels=40)
NAMES = ("covid", "healthy")


def coughs(seed: int, per_class: int, segments: int | None = None) -> Samples:
    """Phantom coughs, all their segments or the first ones."""
    labels = np.repeat([0, 1], per_class)
    waves = [phantom_cough(label, np.random.default_rng([seed, i])) for i, label in enumerate(labels)]
    cut = [log_mel_segments(wave, SOUND)[:segments] for wave in waves]
    rows = np.repeat(np.arange(len(cut)), list(map(len, cut)))
    return Samples(np.concatenate(cut), labels[rows], NAMES, rows)


@pytest.fixture(scope="module")
def train() -> Samples:
    return coughs(1, 60, 1)


@pytest.fixture(scope="module")
def test() -> Samples:
    return coughs(2, 40)


@pytest.fixture(scope="module")
def modality(train: Samples) -> Modality:
    return modality_like(train, SOUND)


def modality_like(samples: Samples, settings: AudioSettings) -> Modality:
    return Modality("audio", settings.shape, (10, 10), *channel_statistics(samples.values))


CONFIG = UtilityConfig("mfcc", max_side=100)


def auc(modality: Modality, train: Samples, test: Samples, accelerator: Accelerator) -> float:
    return train_and_test(modality, train, test, CONFIG, accelerator, 0)["auc"]


def test_kinds_of_files_have_classifiers_of_their_own(modality: Modality) -> None:
    config = UtilityConfig("convnet", max_side=48)
    sounds, pictures = (config.of_modality(modality, settings) for settings in (SOUND, ImageSettings(224, 1)))
    assert (sounds.classifier, sounds.max_side) == ("mfcc", 100)  # bands are not averaged
    assert (pictures.classifier, pictures.max_side) == ("convnet", 48)
    named = replace(config, sound_classifier="convnet").of_modality(modality, SOUND)
    assert (named.classifier, named.max_side) == ("convnet", 48)


def test_phantoms_are_told_apart_and_shuffled_ones_are_not(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    assert auc(modality, train, test, accelerator) > 0.9
    mixed = []
    for seed in range(8):
        labels = np.random.default_rng(seed).permutation(train.labels)
        mixed.append(auc(modality, replace(train, labels=labels), test, accelerator))
    assert 0.35 < np.mean(mixed) < 0.65


def test_a_difference_of_spectrum_that_is_planted_is_found(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    """Sounds of the same kind; one of two labels by chance has a few bands that are louder."""
    bump = 1.0 * np.exp(-(((np.arange(40) - 25) / 4) ** 2))[:, None]

    def planted(samples: Samples, seed: int, height: float) -> Samples:
        chance = np.random.default_rng(seed).integers(0, 2, samples.rows.max() + 1)[samples.rows]
        values = samples.values.astype(np.float32) + height * chance[:, None, None, None] * bump
        return replace(samples, values=values.astype(np.float16), labels=chance)

    assert auc(modality, planted(train, 1, 2.0), planted(test, 2, 2.0), accelerator) > 0.9
    assert 0.3 < auc(modality, planted(train, 1, 0.0), planted(test, 2, 0.0), accelerator) < 0.7


def test_an_equaliser_on_all_sounds_changes_nothing(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    gain = np.linspace(-4, 4, 40, dtype=np.float32)[:, None]
    plain, equalised = (
        train_and_predict(
            modality,
            *(replace(s, values=s.values.astype(np.float32) + g) for s in (train, test)),
            CONFIG,
            accelerator,
            0,
        )
        for g in (0, gain)
    )
    np.testing.assert_allclose(plain.probabilities, equalised.probabilities, atol=1e-3)


def test_segments_of_a_file_are_judged_by_their_mean() -> None:
    rows, labels = np.array([7, 3, 7, 3, 3, 5]), np.array([1, 0, 1, 0, 0, 1])
    samples = Samples(np.zeros((6, 1, 2, 2), np.float16), labels, NAMES, rows)
    first = np.array([0.2, 0.9, 0.4, 0.6, 0.3, 0.55])
    outcome = Outcome.by_file(np.stack([first, 1 - first], 1), samples)
    assert outcome.labels.tolist() == [0, 1, 1]
    np.testing.assert_allclose(outcome.probabilities[:, 0], [0.6, 0.55, 0.3])
    assert outcome.confusion.tolist() == [[1, 0], [1, 1]]


def test_files_are_counted_and_not_segments(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: one segment of every recording is misjudged, by less than another one is judged rightly."""
    three = replace(
        test.select(np.repeat(np.arange(20), 3)), labels=np.repeat([0, 1], 30), rows=np.repeat(np.arange(20), 3)
    )

    def judge(*_: Any) -> np.ndarray:
        right = np.tile([0.9, 0.3, 0.5], 20)
        first = np.where(three.labels == 0, right, 1 - right)
        return np.stack([first, 1 - first], 1)

    monkeypatch.setattr(module, "predict", judge)
    entry = utility(modality, {"real": train}, three, CONFIG, accelerator)["real"]
    assert (entry.accuracy.mean, entry.auc.mean, entry.n_test, entry.n_train) == (1.0, 1.0, 20, len(train))
    assert entry.confusion.counts == ((30, 0), (0, 30))  # three seeds
    alone = replace(three, rows=np.arange(60))
    assert utility(modality, {"real": train}, alone, CONFIG, accelerator)["real"].auc.mean < 0.9


def test_there_is_no_chance_but_that_of_the_draw(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    drawn = [train.select(np.random.default_rng(seed).permutation(120)[:30]) for seed in range(3)]
    sets = {"real": train, "random_subset": drawn}
    first, again = (utility(modality, sets, test, CONFIG, accelerator) for _ in range(2))
    assert first == again
    assert first["real"].auc.std == 0 and first["real"].auc.ci95 is None  # which would be an interval of no width
    assert first["random_subset"].auc.std > 0 and first["random_subset"].auc.ci95 is not None
    assert "updates" not in first["real"].to_json()


def test_few_samples_and_unequal_classes_are_learnt(
    modality: Modality, train: Samples, test: Samples, accelerator: Accelerator
) -> None:
    assert auc(modality, train.select([0, 60]), test, accelerator) > 0.5
    few = train.select(np.r_[0:60, 60:66])  # ten to one
    plain, even = (
        utility(modality, {"real": few}, test, replace(CONFIG, balance=balance), accelerator)["real"]
        for balance in ("none", "sampling")
    )
    assert even.recall["healthy"].mean > plain.recall["healthy"].mean + 0.1
    assert even.auc.mean > 0.8


def test_synthetic_segments_teach_the_labels_of_recordings(
    modality: Modality, test: Samples, accelerator: Accelerator
) -> None:
    sets = four_sets(coughs(3, 20), coughs(4, 15, 1), CONFIG.max_side, 3)
    entries = utility(modality, sets, test, CONFIG, accelerator)
    assert entries["synthetic"].n_train == 30 and entries["synthetic"].auc.mean > 0.75


def test_real_coughs_are_told_apart(real_data: Path, accelerator: Accelerator) -> None:
    settings = AudioSettings()
    train, test = (load({"audio": Source(real_data / "cough", settings)}, split=s)["audio"] for s in ("train", "test"))
    entry = utility(modality_like(train, settings), {"real": train}, test, CONFIG, accelerator)["real"]
    assert entry.n_test == 61 and entry.auc.mean > 0.7
