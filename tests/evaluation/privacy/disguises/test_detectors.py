from __future__ import annotations

import numpy as np
import pytest

from mmgen.evaluation.privacy.disguises.detectors import (
    Detectors,
    _chance,
    _tail,
    alone,
    highest_listed,
    set_chance,
)
from mmgen.evaluation.privacy.disguises.search import Candidates


def candidates(features: np.ndarray, owners: np.ndarray | None = None) -> Candidates:
    count, each, _ = features.shape
    rows = np.tile(np.arange(each), (count, 1))
    maps = np.zeros((count, each, 2, 3))
    return Candidates(rows, rows if owners is None else owners, features, maps, np.zeros((count, each), bool))


@pytest.mark.parametrize(("size", "people"), [(200, 600), (1000, 600), (5000, 600), (200, 60)])
def test_innocent_sets_seldom_raise_the_alarm(size: int, people: int) -> None:
    """Also large ones, whose records all share the errors of one calibration."""
    rng, told = np.random.default_rng(0), []
    for _ in range(100):
        calibrating, innocent = (rng.gumbel(size=number) for number in (people, size))
        chances = _chance(innocent, *_tail(calibrating, people))
        told.append(set_chance(chances, people, draws=500))
    assert (np.array(told) <= 0.01).mean() <= 0.04


@pytest.mark.parametrize(
    ("count", "copies", "chance"), [(200, 10, 1e-3), (1000, 10, 1e-4), (2000, 3, 1e-9), (5, 5, 1e-4)]
)
def test_few_copies_among_many_are_surprising(count: int, copies: int, chance: float) -> None:
    chances = np.ones(count)
    chances[:copies] = chance
    assert set_chance(chances, 600) <= 0.01


def test_one_record_alone_raises_the_alarm_below_the_chance_that_is_told() -> None:
    for size in (50, 1000):
        limit = alone(0.01, size, 600)
        assert 0 < limit < 0.01 / size
        for factor, alarm in ((0.5, True), (2.0, False)):
            assert (set_chance(np.r_[factor * limit, np.ones(size - 1)], 600) <= 0.01) is alarm


def test_a_detector_tells_copies_from_innocent_records() -> None:
    rng = np.random.default_rng(0)
    innocent = candidates(rng.normal(size=(300, 6, 5)))
    direction = np.array([4.0, 0, 0, 4.0, 0])
    detectors = Detectors.fitted(
        innocent, np.arange(300), {"a": rng.normal(size=(30, 5)) + 2 * direction, "b": rng.normal(size=(30, 5)) - 9}
    )
    unseen = rng.normal(size=(500, 6, 5))
    copies = unseen[:100].copy()
    copies[:, 2] += 2 * direction
    scores, best = detectors.scores(candidates(copies))
    assert (best == 2).all() and (detectors.chance(scores) < 1e-3).all()
    chances = detectors.chance(detectors.scores(candidates(unseen))[0])
    assert (chances <= 0.01).mean() < 0.03 and set_chance(chances, 300) > 0.01
    assert detectors.chance(np.array([detectors.threshold(1e-4)])) == pytest.approx(1e-4)


def test_what_is_like_many_people_is_no_copy_and_neighbours_of_one_person_are_no_rivals() -> None:
    rng = np.random.default_rng(1)
    innocent = candidates(rng.normal(size=(300, 6, 3)))
    detectors = Detectors.fitted(innocent, np.arange(300), {"a": rng.normal(size=(30, 3)) + 6})
    alone = np.zeros((1, 6, 3))
    alone[0, 0] = 6
    everyone = np.full((1, 6, 3), 6.0)
    same = np.zeros((1, 6), int)
    score = detectors.scores(candidates(alone))[0]
    assert detectors.scores(candidates(everyone))[0] < score - 1
    assert detectors.scores(candidates(everyone, same))[0] > detectors.scores(candidates(everyone))[0] + 1


def test_listed_are_those_of_a_false_discovery_rate() -> None:
    assert highest_listed(np.array([0.001, 0.02, 0.03, 0.9]), 0.05) == 0.03
    assert highest_listed(np.array([0.02, 0.9, 0.9, 0.9]), 0.05) == 0.0
    rng, false = np.random.default_rng(0), []
    for _ in range(200):
        chances = np.r_[rng.random(90), rng.random(10) * 1e-4]
        listed = chances <= highest_listed(chances, 0.05)
        false.append(listed[:90].sum() / max(1, listed.sum()))
    assert 0.02 < np.mean(false) < 0.07


def test_a_view_in_which_no_known_kind_stands_out_is_a_detector_too() -> None:
    rng = np.random.default_rng(2)
    innocent = candidates(rng.normal(size=(300, 6, 4)))
    known = {"a": rng.normal(size=(30, 4)) + np.array([5.0, 0, 0, 0])}
    strange = rng.normal(size=(100, 6, 4))
    strange[:, 1, 3] += 9
    with_views, without = (Detectors.fitted(innocent, np.arange(300), known, views) for views in (2, 0))
    assert (with_views.chance(with_views.scores(candidates(strange))[0]) < 1e-3).mean() > 0.9
    assert (without.chance(without.scores(candidates(strange))[0]) < 1e-3).mean() < 0.1


def test_many_records_of_few_people_are_little_evidence() -> None:
    rng = np.random.default_rng(3)
    innocent, copies = candidates(rng.normal(size=(300, 6, 4))), {"a": rng.normal(size=(30, 4)) + 5}
    of_many, of_few = (Detectors.fitted(innocent, np.arange(300) // each, copies) for each in (1, 30))
    assert of_few.threshold(1e-4) > 1.5 * of_many.threshold(1e-4)
    assert of_few.chance(np.array([of_few.threshold(1e-4)])) == pytest.approx(1e-4)


def test_people_whose_numbers_all_end_alike_are_calibrated_too() -> None:
    rng = np.random.default_rng(4)
    innocent, copies = candidates(rng.normal(size=(60, 6, 4))), {"a": rng.normal(size=(30, 4)) + 5}
    detectors = Detectors.fitted(innocent, 5 * np.arange(60), copies)
    assert np.isfinite(detectors.innocent).all() and len(detectors.innocent) == 60


def test_chances_are_never_nothing() -> None:
    assert _chance(np.array([1e9]), 0.0, 1e-3, 200.0)[0] > 0
