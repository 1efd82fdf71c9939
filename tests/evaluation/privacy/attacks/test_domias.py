"""DOMIAS: copies in the synthetic data are found, fresh samples are not."""

from __future__ import annotations

import numpy as np
import pytest

from mmgen.data.phantoms import phantom_xray
from mmgen.errors import UserError
from mmgen.evaluation.privacy.attacks.domias import domias_scores
from mmgen.evaluation.privacy.membership import Scores, membership_result
from mmgen.evaluation.privacy.sides import Records


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([phantom_xray(number % 2, rng, 16) for number in range(320)])[:, None]


def attack(members: np.ndarray, others: np.ndarray, synthetic: np.ndarray, reference: np.ndarray) -> Scores:
    return domias_scores(Records(members), Records(others), synthetic, reference)


def noisy(images: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 5, images.shape)
    return (images + noise).round().clip(0, 255).astype(np.uint8)


def area(scores: Scores) -> float:
    return membership_result(scores, "S", resamples=1).auc


@pytest.mark.parametrize("references", [100, 20])
@pytest.mark.parametrize("change", [np.copy, noisy])
def test_copies_are_found_even_with_few_references(films: np.ndarray, change: object, references: int) -> None:
    members, others, reference = films[:100], films[100:200], films[200 : 200 + references]
    assert area(attack(members, others, change(members), reference)) > 0.95


def test_copies_of_half_the_members_are_found_as_such(films: np.ndarray) -> None:
    members = films[:100]
    scores = attack(members, films[100:200], films[:50], films[200:300])
    assert scores.members[:50].min() > max(scores.members[50:].max(), scores.non_members.max())


def test_fresh_samples_betray_nobody(films: np.ndarray) -> None:
    held = 0
    for seed in range(10):
        members, others, synthetic, reference = films[np.random.default_rng(seed).permutation(320)].reshape(
            4, 80, *films.shape[1:]
        )
        low, high = membership_result(attack(members, others, synthetic, reference), "S", resamples=300).auc_ci
        held += low <= 0.5 <= high
    assert held >= 9


def test_scores_follow_the_ratio_of_densities() -> None:
    rng = np.random.default_rng(0)
    points = np.linspace(-1, 2, 61)[:, None]
    synthetic, reference = rng.normal(size=(4000, 1)), rng.normal(1, 1, (1000, 1))
    scores = domias_scores(Records(points), Records(points), synthetic, reference, neighbours=50)
    slope, _ = np.polyfit(points[:, 0], scores.members, 1)
    assert slope == pytest.approx(-1, abs=0.15)  # log N(x; 0, 1) - log N(x; 1, 1) = 1/2 - x
    assert np.corrcoef(points[:, 0], scores.members)[0, 1] < -0.95


def test_units_and_constant_features_make_no_difference() -> None:
    rng = np.random.default_rng(0)
    sets = rng.normal(size=(4, 40, 5))
    first = attack(*sets)
    changed = np.concatenate([sets * [1, 1000, 0.1, 5, 30] + 3, np.full((4, 40, 2), 7.0)], axis=2)
    second = attack(*changed)
    np.testing.assert_allclose(second.members, first.members, atol=1e-3)
    np.testing.assert_allclose(second.non_members, first.non_members, atol=1e-3)


def test_people_go_with_the_scores() -> None:
    sets = np.random.default_rng(0).normal(size=(4, 6, 3))
    people = np.arange(6) // 2, np.arange(6) // 3
    scores = domias_scores(Records(sets[0], people[0]), Records(sets[1], people[1]), sets[2], sets[3])
    assert scores.member_subjects is people[0] and scores.non_member_subjects is people[1]


def test_what_cannot_be_compared_is_refused() -> None:
    good = np.random.default_rng(0).normal(size=(6, 3))
    with pytest.raises(UserError, match="there are no reference"):
        attack(good, good, good, good[:0])
    with pytest.raises(UserError, match="synthetic are not finite"):
        attack(good, good, good * np.nan, good)
    with pytest.raises(UserError, match="are the same"):
        attack(good, good, np.ones((6, 3)), np.ones((6, 3)))
