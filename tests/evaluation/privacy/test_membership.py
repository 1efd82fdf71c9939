"""Membership entries: known answers, and intervals that hold what they promise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmgen.errors import UserError
from mmgen.evaluation.privacy.membership import Scores, membership_result
from mmgen.evaluation.privacy.results import Curve, MembershipResult


def innocent(seed: int, members: int = 60, others: int = 60) -> Scores:
    rng = np.random.default_rng(seed)
    return Scores(rng.normal(size=members), rng.normal(size=others))


def entry(scores: Scores, **options: object) -> MembershipResult:
    return membership_result(scores, "S", **{"resamples": 200, **options})


@pytest.mark.parametrize("different", [3, 10, 10_000])
def test_area_equals_that_of_sklearn_with_ties(different: int) -> None:
    rng = np.random.default_rng(different)
    scores = Scores(rng.integers(0, different, 70) + different // 3, rng.integers(0, different, 130))
    expected = roc_auc_score([1] * 70 + [0] * 130, np.concatenate([scores.members, scores.non_members]))
    assert entry(scores).auc == pytest.approx(expected, abs=1e-12)


def test_scores_that_separate_the_sides() -> None:
    found = entry(Scores(np.arange(10) + 20.0, np.arange(30.0) - 10))
    assert found.auc == found.accuracy == found.tpr_at_1_fpr == found.tpr_at_01_fpr == 1
    assert found.auc_ci == (1, 1) and found.chance == 0.25
    assert (found.n_members, found.n_non_members, found.threat_model) == (10, 30, "S")
    assert entry(Scores(np.zeros(10), np.ones(30))).auc == 0


def test_true_positives_at_few_false_ones() -> None:
    others = np.arange(1000.0)
    members = np.concatenate([np.full(10, 2000.0), np.full(20, 990.5), np.full(30, 989.5), np.full(40, 0.5)])
    found = entry(Scores(members, others))
    # One false positive of 1000 is allowed, and ten are: 990 to 999, above 989.5.
    assert found.tpr_at_01_fpr == pytest.approx(0.1)
    assert found.tpr_at_1_fpr == pytest.approx(0.6)
    low, high = found.tpr_at_1_fpr_ci
    assert 0 < low < 0.6 < high < 0.8


def test_an_attack_that_says_the_same_of_all_finds_nobody() -> None:
    found = entry(Scores(np.zeros(500), np.zeros(1000)))
    assert found.auc == 0.5 and found.tpr_at_1_fpr == found.tpr_at_01_fpr == 0
    assert found.accuracy == pytest.approx(found.chance, abs=0.06)
    assert found.roc == Curve((0, 1), (0, 1))
    assert entry(Scores(np.zeros(500), np.zeros(1000)), seed=1).accuracy != found.accuracy


def test_ties_are_not_split_for_the_attacker() -> None:
    # Five others tie with the best members: more than 1 % of 100.
    found = entry(Scores(np.full(50, 1.0), np.concatenate([np.full(5, 1.0), np.zeros(95)])))
    assert found.tpr_at_1_fpr == 0


def test_accuracy_is_the_share_of_members_among_the_top() -> None:
    found = entry(Scores(np.array([9.0, 8, 3, 1]), np.array([7.0, 2, 0, 0, 0, 0])))
    assert found.accuracy == 0.75 and found.chance == 0.4


def test_the_interval_of_innocent_scores_holds_one_half() -> None:
    held = [low <= 0.5 <= high for low, high in (entry(innocent(seed)).auc_ci for seed in range(100))]
    assert 88 <= sum(held) < 100


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    low, high = entry(innocent(0, 400, 300), resamples=1000).auc_ci
    deviation = np.sqrt((400 + 300 + 1) / (12 * 400 * 300))  # of the area without any difference
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_samples_of_one_person_are_not_independent() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(30), 10)
    scores = [rng.normal(size=30)[people] + 0.01 * rng.normal(size=300) for _ in range(2)]
    names = np.array([f"person {number}" for number in people])
    width = {
        kind: np.diff(entry(Scores(*scores, given, given)).auc_ci)[0]
        for kind, given in (("people", names), ("samples", None))
    }
    assert width["people"] == pytest.approx(np.sqrt(10) * width["samples"], rel=0.3)
    alone = Scores(*scores, np.arange(300), np.arange(300))
    assert entry(alone) == entry(Scores(*scores))


def test_the_curve_is_thinned_and_keeps_its_low_end() -> None:
    rng = np.random.default_rng(0)
    scores = Scores(rng.normal(1, 1, 4000), rng.normal(size=3000))
    found = entry(scores, resamples=10)
    fpr, tpr = (np.array(rates) for rates in (found.roc.fpr, found.roc.tpr))
    assert len(fpr) == len(tpr) <= 200
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all()
    assert {1, 2, 3} <= set(np.round(fpr * 3000).astype(int))
    assert np.trapezoid(tpr, fpr) == pytest.approx(found.auc, abs=0.003)
    assert tpr[np.flatnonzero(fpr <= 0.001 + 1e-9)[-1]] == found.tpr_at_01_fpr


def test_the_same_seed_gives_the_same_entry_which_is_plain() -> None:
    first = entry(innocent(3), counts=False)
    assert (
        MembershipResult.from_json(json.loads(json.dumps(first.to_json()))) == first == entry(innocent(3), counts=False)
    )
    assert first.counts is False and entry(innocent(3)).counts is True
    assert entry(innocent(3), seed=1).auc_ci != first.auc_ci


@pytest.mark.parametrize(
    ("members", "people", "message"),
    [
        ([], None, "at least one score of members"),
        ([0.0, np.nan, np.inf], None, "2 of 3 scores of members are not finite"),
        ([0.0, 1.0], [1], "2 scores of members but"),
    ],
)
def test_scores_that_say_nothing_are_refused(members: list, people: list | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Scores(np.array(members), np.zeros(2), people)
