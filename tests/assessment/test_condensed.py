from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from mmgen.assessment import condensed
from mmgen.assessment.condensed import CondensedSets, compared_aucs, fidelity_section, measure_utility, sizes
from mmgen.data.samples import Samples
from mmgen.evaluation.fidelity.result import FidelityResult
from mmgen.evaluation.report.writing import ReportMedia, write_report
from mmgen.evaluation.scores import Statistic, UtilityScores
from mmgen.evaluation.utility import UtilityConfig
from mmgen.models.modality import Modality

NAMES = ("mel", "nv", "δ")
MODALITY = Modality("image", (3, 32, 32), (8, 8), (127.5,), (64.0,), value_range=(0.0, 255.0))


def images(per_class: tuple[int, ...], seed: int = 0) -> Samples:
    """A class has a colour of its own, with noise on it."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(per_class)), per_class)
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])[labels][:, :, None, None]
    values = (colours + rng.normal(0, 20, (len(labels), 3, 32, 32))).clip(0, 255).astype(np.uint8)
    return Samples(values, labels, NAMES, np.arange(len(labels)))


def drawn(count: int, seed: int) -> Samples:
    return images((count,) * len(NAMES), seed=1000 + seed)


def sets(**options: Any) -> CondensedSets:
    return CondensedSets(images((20, 12, 4)), images((6, 6, 6), 1), MODALITY, drawn, (2, 5), **options)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], int]]:
    """Calls of ``utility``: classifier, training sets and size of images; AUCs are made up."""
    calls = []
    aucs = {"real": 0.9, "random_subset": 0.6, "synthetic": 0.75, "synthetic_phase1": 0.5, "synthetic_fresh": 0.8}

    def utility(
        modality: Any, training: dict, test: Any, config: UtilityConfig, *rest: Any
    ) -> dict[str, UtilityScores]:
        calls.append((config.classifier, training, config.max_side))
        return {name: UtilityScores(auc=Statistic(aucs[name.partition("@")[0]], 0.0)) for name in training}

    monkeypatch.setattr(condensed, "utility", utility)
    return calls


def test_every_set_stands_beside_its_references(seen: list, accelerator: Accelerator) -> None:
    config = UtilityConfig(updates=10, batch_size=3, seeds=2, max_side=32)
    section = measure_utility(sets(draw_phase1=drawn, seed=7), config, ["vit_lora", "convnet"], accelerator)
    assert [call[0] for call in seen] == ["vit_lora", "convnet"]
    training = seen[0][1]
    names = ["real", "random_subset@2", "synthetic@2", "random_subset@5", "synthetic@5", "synthetic_phase1@5"]
    assert list(training) == list(section["image"]["convnet"]) == [*names, "synthetic_fresh"]
    for name in names[1:]:
        assert len(training[name]) == 2  # one draw a seed
        assert not np.array_equal(training[name][0].values, training[name][1].values)
    np.testing.assert_array_equal(training["synthetic@5"][0].values, drawn(5, 7).values)  # the stored one is the first
    assert len(training["synthetic_fresh"]) == 10 * 3  # as many as a training sees, which is less than there are
    without = measure_utility(sets(), config, ["convnet"], accelerator)
    assert "synthetic_phase1@5" not in without["image"]["convnet"]


def test_recovery_is_the_share_of_the_way_from_random_to_all(seen: list, accelerator: Accelerator) -> None:
    scores = measure_utility(sets(draw_phase1=drawn), UtilityConfig(seeds=1), ["convnet"], accelerator)["image"][
        "convnet"
    ]
    assert scores["synthetic@5"].recovery == pytest.approx(0.5)
    assert scores["synthetic_phase1@5"].recovery == pytest.approx(-1 / 3)
    assert all(np.isnan(scores[name].recovery) for name in ("real", "random_subset@5", "synthetic_fresh"))


def test_the_vit_gets_whole_images_and_the_others_small_ones(seen: list, accelerator: Accelerator) -> None:
    what = sets()
    large = Modality("image", (3, 64, 64), (8, 8), (127.5,), (64.0,))
    what = CondensedSets(what.train, what.test, large, drawn, (2,))
    measure_utility(what, UtilityConfig(max_side=32), ["vit_lora", "resnet18"], accelerator)
    assert [(call[0], call[2]) for call in seen] == [("vit_lora", 64), ("resnet18", 32)]


def test_a_real_classifier_tells_good_sets_from_mislabelled_ones(accelerator: Accelerator) -> None:
    """Planted: the condensed sets have the labels of other classes."""

    def swapped(count: int, seed: int) -> Samples:
        made = drawn(count, seed)
        return Samples(made.values, (made.labels + 1) % 3, NAMES, made.rows)

    config = UtilityConfig(updates=12, batch_size=12, seeds=1, max_side=32)
    good = measure_utility(sets(), config, ["convnet"], accelerator)["image"]["convnet"]
    what = CondensedSets(images((20, 12, 4)), images((6, 6, 6), 1), MODALITY, swapped, (5,))
    bad = measure_utility(what, config, ["convnet"], accelerator)["image"]["convnet"]
    assert good["synthetic@5"].auc.mean > 0.9 > 0.6 > bad["synthetic@5"].auc.mean


def test_copies_are_counted_and_distances_compared() -> None:
    what = sets()
    copies = what.train.select([0, 1, 20, 21, 32])
    nearest = fidelity_section(what, copies)["image"]["nearest_training_distance"]
    assert nearest.value == 0 and nearest.exact_copies == 5 and nearest.real_vs_real > 1
    fresh = fidelity_section(what, drawn(5, 0))["image"]
    assert fresh["nearest_training_distance"].exact_copies == 0
    assert fresh["nearest_training_distance"].value == pytest.approx(nearest.real_vs_real, rel=0.1)
    assert fresh["kl_intensity"].better == "lower" and fresh["sample_variance"].value > 0


def test_the_distance_is_a_median_and_less_than_a_grey_level_is_a_copy() -> None:
    given, synthetic = sets(), drawn(5, 0)

    def entry() -> FidelityResult:
        return fidelity_section(given, synthetic)["image"]["nearest_training_distance"]

    def median(side: Samples) -> float:
        differences = side.values[:, None].astype(float) - given.train.values[None]
        return np.median(np.sqrt((differences**2).mean((2, 3, 4))).min(1))

    assert entry().exact_copies == 0 and entry().better is None
    assert entry().value == pytest.approx(median(synthetic), rel=1e-6)
    assert entry().real_vs_real == pytest.approx(median(given.test), rel=1e-6)
    synthetic.values[0] = given.train.values[4]
    synthetic.values[5] = np.clip(given.train.values[9].astype(int) + (np.arange(32) % 2), 0, 255)
    assert entry().exact_copies == 2


def test_a_card_gets_the_aucs_that_are_compared(seen: list, accelerator: Accelerator) -> None:
    section = measure_utility(sets(), UtilityConfig(seeds=1), ["convnet"], accelerator)
    assert compared_aucs(section, [5, 2]) == [("convnet", 5, 0.75, 0.6, 0.9), ("convnet", 2, 0.75, 0.6, 0.9)]


def test_sizes_are_ratios_of_the_training_images() -> None:
    section = sizes(sets(), "medsynth", "class", data_bytes=1000, generator_bytes=100, parameters=7)
    assert section["real_images"] == 36
    assert section["ipc"] == {"2": {"images": 6, "ratio": 6 / 36}, "5": {"images": 15, "ratio": 15 / 36}}


def test_the_media_make_a_page(tmp_path: Any) -> None:
    what, made = sets(), drawn(5, 0)
    history = [{"epoch": 0, "phase": 1, "critic_gap": 0.1}, {"epoch": 0, "phase": 2, "critic_gap": 0.2}]
    figures = condensed.condensed_figures(what, made, history)
    assert [figure.shows_real for figure in figures] == [False, True, False]
    shown = condensed.condensed_samples(what, made, per_class=2)
    assert Counter((sample.source, sample.label) for sample in shown) == {
        (source, name): 2 for source in ("real", "synthetic") for name in NAMES
    }
    page = write_report(tmp_path, {"run": "x"}, ReportMedia(figures, shown)).read_text(encoding="utf-8")
    assert "Nearest training images" in page and "do not pass it on" in page
