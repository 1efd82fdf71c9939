from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator
from tiny_medsynth import tiny_samples

from mmgen.artifacts.models import load_model
from mmgen.condensation.subset import PRESETS, FeatureConfig, Subset, SubsetConfig, herding, k_center
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.names import Selection
from mmgen.training.run import Run

TRAIN = tiny_samples((12, 5, 20))
CONFIG = SubsetConfig(6, features=FeatureConfig(width=4, updates=10, batch_size=12))
BY_FEATURES = (herding, k_center)

Choice = Callable[[np.ndarray, int], np.ndarray]


def clusters(seed: int = 0, counts: tuple[int, ...] = (200, 60, 20, 12, 8)) -> tuple[np.ndarray, np.ndarray]:
    """(N, F) points about five far places, most of them about the first, and which each is about."""
    rng = np.random.default_rng(seed)
    about = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    places = rng.normal(0, 20, (len(counts), 16))
    return (places[about] + rng.normal(0, 1, (len(about), 16))).astype(np.float32), about


def to_nearest(features: np.ndarray, chosen: np.ndarray) -> float:
    """Mean distance of all rows to the nearest of the chosen."""
    return float(np.linalg.norm(features[:, None] - features[chosen], axis=2).min(1).mean())


def kept(selection: Selection, count: int = 6, train: Samples = TRAIN, seed: int = 0) -> Samples:
    config = replace(CONFIG, selection=selection, images_per_class=count)
    return Subset(config, Run(Accelerator(cpu=True), seed=seed), train).fit().sample(count)


# -- choices


@pytest.mark.parametrize("choose", BY_FEATURES)
def test_a_choice_is_of_different_rows_and_begins_with_that_of_fewer(choose: Choice) -> None:
    features, _ = clusters()
    chosen = choose(features, 30)
    assert len(set(chosen.tolist())) == 30 and np.array_equal(chosen, choose(features.copy(), 30))
    assert np.array_equal(choose(features, 7), chosen[:7])
    assert sorted(choose(features, 500).tolist()) == list(range(300))  # all, of fewer


@pytest.mark.parametrize("choose", BY_FEATURES)
def test_equal_rows_are_each_chosen_once(choose: Choice) -> None:
    same = np.full((6, 3), 0.1, dtype=np.float32)
    assert sorted(choose(same, 4).tolist()) == sorted(set(choose(same, 4).tolist()))
    assert choose(same[:1], 3).tolist() == [0]


def test_k_center_finds_every_cluster_at_once() -> None:
    for seed in range(5):
        features, about = clusters(seed)
        assert set(about[k_center(features, 5)].tolist()) == set(range(5))


@pytest.mark.parametrize("choose", BY_FEATURES)
def test_planted_clusters_are_covered_better_than_by_chance(choose: Choice) -> None:
    rng = np.random.default_rng(0)
    wins = 0
    for seed in range(10):
        features, _ = clusters(seed)
        by_chance = np.median([to_nearest(features, rng.permutation(300)[:8]) for _ in range(20)])
        wins += to_nearest(features, choose(features, 8)) < by_chance
    assert wins >= 9


def test_herding_is_greedy_in_the_distance_of_means() -> None:
    features, _ = clusters(counts=(20, 10))
    mean, chosen = features.mean(0), []
    for _ in range(12):
        left = [row for row in range(30) if row not in chosen]
        distances = [np.linalg.norm(features[[*chosen, row]].mean(0) - mean) for row in left]
        chosen.append(left[int(np.argmin(distances))])
    assert herding(features, 12).tolist() == chosen


def test_herded_rows_have_the_mean_of_all() -> None:
    features, _ = clusters()
    rng, mean = np.random.default_rng(0), features.mean(0)
    by_chance = min(np.linalg.norm(features[rng.permutation(300)[:30]].mean(0) - mean) for _ in range(50))
    assert np.linalg.norm(features[herding(features, 30)].mean(0) - mean) < 0.5 * by_chance


# -- subsets of images


@pytest.mark.parametrize("selection", ["random", "herding", "k_center"])
def test_a_subset_is_of_real_images_of_their_class(selection: Selection) -> None:
    made = kept(selection)
    assert made.labels.tolist() == [0] * 6 + [1] * 5 + [2] * 6 and made.label_names == TRAIN.label_names
    rows = [int(np.flatnonzero((TRAIN.values == image).all((1, 2, 3)))[0]) for image in made.values]
    assert len(set(rows)) == len(rows) and np.array_equal(TRAIN.labels[rows], made.labels)
    assert np.array_equal(kept(selection).values, made.values)
    fewer = kept(selection, 2)
    assert np.array_equal(fewer.values, made.values[[0, 1, 6, 7, 11, 12]])


def test_a_random_subset_is_a_function_of_the_seed_and_trains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgen.condensation.subset.trained_network", None)
    assert not np.array_equal(kept("random", seed=1).values, kept("random").values)


def test_the_network_is_trained_and_gone_on_with_in_its_folder(accelerator: Accelerator, tmp_path: Path) -> None:
    config = replace(CONFIG, selection="herding")
    first = Subset(config, Run(accelerator, tmp_path), TRAIN).fit().sample(6)
    assert (tmp_path / "features" / "checkpoints" / "last.pt").is_file()
    again = Subset(config, Run(accelerator, tmp_path, resume=True), TRAIN).fit()
    assert np.array_equal(again.sample(6).values, first.values)
    again.save(tmp_path / "model")
    assert np.array_equal(load_model(tmp_path / "model").sample(6, seed=4).images.numpy(), first.values)


def test_what_cannot_be_is_refused(accelerator: Accelerator) -> None:
    for wrong, words in (({"images_per_class": 0}, "At least 1"), ({"selection": "best"}, "k_center, not 'best'")):
        with pytest.raises(UserError, match=words):
            replace(CONFIG, **wrong)
    with pytest.raises(UserError, match="call fit"):
        Subset(CONFIG, Run(accelerator), TRAIN).sample(1)
    with pytest.raises(UserError, match="6 images a class, not 7"):
        kept("random").values, Subset(CONFIG, Run(accelerator), TRAIN).fit().sample(7)


def test_presets_differ_in_the_network_alone() -> None:
    assert len({replace(config, features=CONFIG.features) for config in PRESETS.values()}) == 1
