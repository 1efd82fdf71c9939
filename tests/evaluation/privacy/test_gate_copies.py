"""The gate on disguised copies and recognised people: known answers, what is missing, worse is never better."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mmgen.evaluation.privacy.gate import LIGHTS, Thresholds, judge, opens
from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.privacy.results import Verdict

POWER = {"shift": 0.98, "mirror": 1.0, "noise": 0.9, "average of two": 0.61}
QUIET = {
    "auc": 0.5, "auc_ci": [0.46, 0.54], "tpr_at_1_fpr": 0.01, "tpr_at_1_fpr_ci": [0, 0.02], "n_members": 99,
    "n_non_members": 99,
}  # fmt: skip


def searched(**changed: Any) -> dict[str, Any]:
    """A search that found nothing and would have found much."""
    innocent = {
        "found": 0, "of": 200, "found_ci": [0.0, 0.018], "p_value": 1.0, "false_alarm_rate": 0.01, "compared": 1040,
        "compared_found": 0, "people": 800, "power": POWER, "power_alone": 0.5, "planted": 20,
    }  # fmt: skip
    return innocent | changed


def recognised(**changed: Any) -> dict[str, Any]:
    innocent = {
        "recognised": 0.01, "recognised_ci": [0.0, 0.04], "of": 200, "others": 0.01, "others_ci": [0.0, 0.03],
        "real": 0.8, "auc": 0.5, "auc_ci": [0.4, 0.6], "verification_auc": 0.99, "people": 60,
    }  # fmt: skip
    return innocent | changed


def judged(thresholds: Thresholds | None = None, **privacy: Any) -> list[Verdict]:
    entries = {key.replace("__", "/"): entry for key, entry in privacy.items()}
    return judge(PrivacySection.from_json(entries), thresholds)


def only(thresholds: Thresholds | None = None, **privacy: Any) -> Verdict:
    (verdict,) = judged(thresholds, **privacy)
    return verdict


def by_ratio(count: Any, of: Any, others: Any, of_others: Any, thresholds: Thresholds | None = None) -> Verdict:
    entry = {"exact": 0, "near": 0, "of": of, "by_ratio": count, "by_ratio_of_others": others, "of_others": of_others}
    return next(v for v in judged(thresholds, copies__image=entry) if v.attack == "copies_by_ratio/image")


def test_one_copy_by_ratio_closes_the_gate_where_no_held_out_record_is_one() -> None:
    quiet, leak = by_ratio(0, 200, 0, 90), by_ratio(1, 1000, 0, 90)
    assert (quiet.light, quiet.line) == ("green", (
        "copies by ratio of images: none of 200 synthetic images lie three times nearer to a training record than to "
        "those of other people, of 90 held-out ones none"
    ))  # fmt: skip
    assert (leak.light, leak.value, leak.excess, leak.unknown) == ("red", 1, 1, False)
    assert "1 of 1,000 synthetic images lies three times nearer" in leak.line
    assert by_ratio(2, 1000, 0, 90, Thresholds(near_copies=2)).light == "amber"


@pytest.mark.parametrize(
    ("count", "others", "light"),
    [
        (0, 9, "green"),
        (9, 9, "amber"),
        (14, 9, "amber"),
        (40, 9, "red"),
        (8, 1, "amber"),
        (10, 1, "red"),
        (7, 0, "red"),
    ],
)
def test_copies_by_ratio_must_be_more_than_among_held_out_records(count: int, others: int, light: str) -> None:
    verdict = by_ratio(count, 200, others, 200)
    assert verdict.light == light and verdict.allowed == (light != "red")
    assert ("may be chance" in verdict.line) == (light == "amber")


def test_innocent_sets_that_share_doubles_with_no_one_seldom_close_the_gate() -> None:
    """Held-out and synthetic records that are copies by ratio equally often."""
    rng, closed = np.random.default_rng(0), 0
    for rate in (0.05, 0.2):
        for count, others in rng.binomial((500, 120), rate, (200, 2)).tolist():
            closed += by_ratio(count, 500, others, 120).light == "red"
    assert closed <= 8


@pytest.mark.parametrize("wrong", [None, float("nan"), -1, "0", 1e9])
@pytest.mark.parametrize("place", range(4))
def test_copies_by_ratio_that_were_not_counted_are_no_evidence(wrong: Any, place: int) -> None:
    if wrong == 1e9 and place in (1, 3):
        return  # a very large set
    numbers: list[Any] = [0, 200, 0, 90]
    numbers[place] = wrong
    verdict = by_ratio(*numbers)
    assert verdict.light == "red" and verdict.unknown


def test_a_search_that_finds_nothing_says_what_it_would_have_found() -> None:
    verdict = only(disguised_copies__image=searched())
    assert (verdict.light, verdict.allowed, verdict.excess) == ("green", True, 0)
    assert verdict.line == (
        "disguised copies of images: none of 200 synthetic images are disguised copies of training images, of 1,040 "
        "real images of other people none are as much alike; this audit finds 94 % of its own where they are a "
        "twentieth of a set, of one alone 50 % (least: 61 % of 'average of two', 90 % of 'noise', 98 % of 'shift') and "
        "raises a false alarm on 1 % of innocent sets"
    )


def test_disguised_copies_close_the_gate() -> None:
    leak = searched(found=12, found_ci=[0.03, 0.1], p_value=1e-9, compared_found=2)
    verdict = only(disguised_copies=leak)
    assert (verdict.light, verdict.value, verdict.excess, verdict.unknown) == ("red", 12, 12, False)
    assert "12 of 200 synthetic records (exact 95 % interval 3 to 10 %) are disguised copies" in verdict.line
    assert "of 1,040 real records of other people 2 are as much alike" in verdict.line
    maybe = only(disguised_copies=leak | {"found": 0, "p_value": 0.04})
    assert maybe.light == "amber" and maybe.excess == 0 and "may be chance (p = 0.04)" in maybe.line
    unlisted = only(disguised_copies=leak | {"found": 0, "p_value": 0.005})
    assert unlisted.light == "red" and unlisted.excess > 0 and "(p = 0.005)" in unlisted.line


@pytest.mark.parametrize("missing", ["found", "of", "p_value", "false_alarm_rate"])
@pytest.mark.parametrize("value", [None, float("nan"), "0", True])
def test_a_search_without_numbers_is_no_evidence(missing: str, value: Any) -> None:
    verdict = only(disguised_copies=searched(**{missing: value}))
    assert verdict.light == "red" and verdict.unknown and "not searched for" in verdict.line


@pytest.mark.parametrize("wrong", [{"false_alarm_rate": 0}, {"false_alarm_rate": 1.0}, {"p_value": 1.5}])
def test_impossible_rates_are_no_evidence(wrong: dict[str, float]) -> None:
    assert only(disguised_copies=searched(**wrong)).unknown


@pytest.mark.parametrize(
    ("blind", "words"),
    [
        ({"power": None}, "it planted none of its own"),
        ({"power": {}}, "it planted none of its own"),
        ({"power": {"shift": 0.9, "noise": "high"}}, "it planted none of its own"),
        ({"power": {"shift": 1.9}}, "it planted none of its own"),
        ({"power": {"shift": 1.0, "turn": 0.4, "noise": 0.1}}, "it finds 40 % of its own, at least 50 % are needed"),
        ({"planted": 2}, "it planted 2 of each kind, at least 3 are needed"),
        ({"planted": None}, "it planted 0 of each kind"),
    ],
)
def test_a_blind_audit_says_so_first_and_opens_nothing(blind: dict[str, Any], words: str) -> None:
    privacy = {"copies": {"exact": 1}, "domias": QUIET, "disguised_copies__audio": searched(**blind)}
    verdicts = judged(disguised_copies__image=searched(), **privacy)
    start = "disguised copies of sounds: this audit could not have found disguised copies ("
    assert verdicts[0].line.startswith(start) and words in verdicts[0].line
    assert verdicts[0].light == "red" and verdicts[0].unknown and not opens(verdicts[:1])
    assert [verdict.attack for verdict in verdicts].index("disguised_copies/image") > 0


def test_a_blind_audit_that_finds_copies_says_both() -> None:
    verdict = only(disguised_copies=searched(power={"shift": 0.2}, found=3, p_value=0.001))
    assert verdict.line.startswith("disguised copies of records: this audit could not have found")
    assert "3 of 200" in verdict.line and not verdict.unknown and verdict.excess == 3


def test_a_threshold_set_by_few_people_is_no_evidence() -> None:
    verdict = only(disguised_copies=searched(people=29))
    assert verdict.unknown
    assert "too few people to compare records of for evidence (29, at least 30 are needed)" in verdict.line
    assert only(disguised_copies=searched(people=30)).light == "green"
    assert only(Thresholds(least_records=20), disguised_copies=searched(people=29)).light == "green"


def weight(verdict: Verdict) -> int:
    return LIGHTS.index(verdict.light)


@pytest.mark.parametrize(
    ("field", "worse"),
    [
        ("p_value", [1.0, 0.5, 0.02, 0.0101, 0.01, 0.009, 1e-12, 0.0]),
        ("planted", [50, 6, 5, 4, 0, None]),
        ("power", [{"a": p, "b": 0.9} for p in (1.0, 0.5, 0.1, 0.09, 0.0)]),
        ("people", [1000, 30, 29, 0, None]),
    ],
)
@pytest.mark.parametrize("found", [0, 3])
def test_worse_numbers_are_never_judged_better(field: str, worse: list[Any], found: int) -> None:
    verdicts = [only(disguised_copies=searched(found=found, p_value=0.5) | {field: value}) for value in worse]
    assert all(weight(one) <= weight(next_one) for one, next_one in pairwise(verdicts))
    assert weight(verdicts[0]) < weight(verdicts[-1]) == 2


def test_the_least_power_is_a_threshold() -> None:
    weak = searched(power={"shift": 0.4})
    assert not only(disguised_copies=weak).allowed
    assert only(Thresholds(least_power=0.4), disguised_copies=weak).allowed
    assert not only(Thresholds(least_power=0.0), disguised_copies=searched(power={})).allowed


def test_people_nobody_recognises_are_green() -> None:
    verdict = only(recognised__image=recognised())
    assert verdict.light == "green" and verdict.line == (
        "people on images: 1 % of 200 synthetic images (0 to 4 %) are taken for a person of the training data, of real "
        "ones of other people 1 % (0 to 3 %)"
    )


@pytest.mark.parametrize(
    ("share", "ends", "others", "light"),
    [
        (0.5, [0.4, 0.6], [0.0, 0.03], "red"),
        (0.1, [0.031, 0.2], [0.0, 0.03], "red"),
        (0.1, [0.03, 0.2], [0.0, 0.03], "amber"),
        (0.1, [0.06, 0.2], [0.0, 0.07], "amber"),  # other people are taken for them as often
        (0.05, [0.04, 0.06], [0.0, 0.07], "green"),
        (0.1, None, [0.0, 0.03], "red"),
        (0.1, [0.05, 0.2], None, "red"),
    ],
)
def test_recognised_people_close_the_gate_by_the_lower_end(share: float, ends: Any, others: Any, light: str) -> None:
    entry = recognised(recognised=share, recognised_ci=ends, others_ci=others)
    assert only(recognised__audio=entry).light == light
    assert only(Thresholds(recognised=0.7), recognised__audio=entry).light == "green"


def test_people_of_one_record_each_cannot_be_recognised() -> None:
    verdict = only(recognised={"note": "each person has one record"})
    assert verdict.light == "amber" and verdict.allowed
    assert verdict.line.endswith("whether they are recognised could not be measured: each person has one record")
    assert only(recognised={}).unknown and only(recognised=None).unknown


def test_a_network_that_recognises_nobody_is_noted() -> None:
    verdict = only(recognised=recognised(real=0.02))
    assert verdict.light == "amber" and "real records of these people are not recognised either" in verdict.line


def test_recognised_people_beside_too_few_others_open_nothing() -> None:
    """One other person's records say that chance may be anything."""
    verdict = only(recognised__image=recognised(recognised=0.9, recognised_ci=[0.85, 0.94], others_ci=[0.0, 0.975]))
    assert verdict.light == "red" and verdict.unknown and "too few to tell" in verdict.line


def test_a_search_that_was_impossible_says_why() -> None:
    verdict = only(disguised_copies={"of": 200, "people": 2, "note": "there are too few people"})
    assert verdict.unknown and "could not have found disguised copies (there are too few people)" in verdict.line


def test_power_is_told_by_kind_and_not_by_strength() -> None:
    """Three strengths of one kind count as one kind."""
    power = {"shift, 3 %": 1.0, "shift, 6 %": 1.0, "shift, 12 %": 1.0, "noise": 0.2, "mirror": 0.1}
    assert only(disguised_copies=searched(power=power)).unknown
