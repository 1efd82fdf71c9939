from __future__ import annotations

import numpy as np
import pytest

from mmgen.evaluation.privacy.disguises.detectors import Detectors, highest_listed, set_chance
from mmgen.evaluation.privacy.disguises.search import Candidates


def candidates(features: np.ndarray, owners: np.ndarray | None = None) -> Candidates:
    count, each, _ = features.shape
    rows = np.tile(np.arange(each), (count, 1))
    maps = np.zeros((count, each, 2, 3))
    return Candidates(rows, rows if owners is None else owners, features, maps, np.zeros((count, each), bool))


def test_innocent_sets_are_seldom_surprising() -> None:
    rng = np.random.default_rng(0)
    for count in (20, 200):
        chances = rng.random((150, count))
        told = np.array([set_chance(np.where(c > 0.2, 1.0, c)) for c in chances])
        assert (told <= 0.05).mean() < 0.1 and (told <= 0.01).mean() < 0.04


@pytest.mark.parametrize(
    ("count", "copies", "chance"), [(200, 10, 1e-3), (1000, 10, 1e-4), (2000, 3, 1e-9), (5, 5, 1e-4)]
)
def test_few_copies_among_many_are_surprising(count: int, copies: int, chance: float) -> None:
    chances = np.ones(count)
    chances[:copies] = chance
    assert set_chance(chances) <= 0.01


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
    assert (chances <= 0.01).mean() < 0.03 and set_chance(chances) > 0.01
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
