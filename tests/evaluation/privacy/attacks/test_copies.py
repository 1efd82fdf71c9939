"""Copies of training records are found, with the right counts, and innocents are not accused."""

from __future__ import annotations

import numpy as np
import pytest

from mmgen.evaluation.privacy.attacks.copies import PAIRS, closest_record
from mmgen.evaluation.privacy.gate import judge
from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.privacy.results import CopiesResult
from mmgen.evaluation.privacy.sides import Records

SHAPE = (1, 16, 16)


def smooth(count: int, seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Images uint8 that differ as pictures do: few degrees of freedom, some noise."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).normal(0, 1, (8, *shape))
    values = (
        128 + 12 * np.einsum("nk,kchw->nchw", rng.normal(0, 1, (count, 8)), basis) + rng.normal(0, 4, (count, *shape))
    )
    return values.clip(0, 255).astype(np.uint8)


MEMBERS, OTHERS, INNOCENT = smooth(120, 0), smooth(80, 1), smooth(90, 2)


def entry_of(synthetic: np.ndarray, mirrored: bool = True) -> CopiesResult:
    return closest_record(synthetic, Records(MEMBERS), Records(OTHERS), mirrored)[0]


def test_exact_and_near_copies_are_counted_and_listed() -> None:
    synthetic = INNOCENT.copy()
    synthetic[7] = MEMBERS[3]
    synthetic[30] = MEMBERS[5][..., ::-1]
    synthetic[50] = np.clip(MEMBERS[8].astype(int) + np.random.default_rng(0).integers(-3, 4, SHAPE), 0, 255)
    entry = entry_of(synthetic)
    assert (entry.exact, entry.near, entry.of) == (2, 1, 90)
    listed = {(pair.synthetic, pair.training, pair.kind) for pair in entry.pairs[:3]}
    assert listed == {(7, 3, "exact"), (30, 5, "exact"), (50, 8, "near")}
    distances = [pair.distance for pair in entry.pairs]
    assert distances == sorted(distances) and distances[0] == 0.0
    assert entry_of(synthetic, mirrored=False).exact == 1


def test_innocent_sets_hold_no_copies_and_are_as_near_to_either_side() -> None:
    contained = 0
    for seed in range(20):
        entry, scores = closest_record(
            smooth(90, 100 + seed), Records(smooth(120, 200 + seed)), Records(smooth(80, 300 + seed)), seed=seed
        )
        assert entry.exact == entry.near == 0
        low, high = entry.share_closer_ci
        assert low < entry.share_closer_to_training < high
        contained += low <= 0.5 <= high
        assert len(scores.members) == 120 and len(scores.non_members) == 80
    assert contained >= 17


def people(count: int, seed: int, each: int = 3) -> Records:
    """``each`` records of every person, much alike; names are other ones for other seeds."""
    rng = np.random.default_rng(seed)
    values = smooth(count, seed).repeat(each, 0) + rng.normal(0, 6, (count * each, *SHAPE))
    return Records(values.clip(0, 255).astype(np.uint8), np.repeat([f"{seed}-{n}" for n in range(count)], each))


def noised(values: np.ndarray, deviation: float) -> np.ndarray:
    return np.clip(values + np.random.default_rng(0).normal(0, deviation, values.shape), 0, 255).astype(np.uint8)


def gate(entry: CopiesResult) -> str:
    return next(v.light for v in judge(PrivacySection({"copies": entry})) if v.attack == "copies_by_ratio")


def test_noised_copies_are_found_by_ratio_among_several_records_of_a_person() -> None:
    """Too far away to be near copies; the second nearest record of all is one of the same person."""
    members, others, synthetic = people(40, 0), people(30, 1), smooth(90, 2)
    synthetic[[4, 50]] = noised(members.values, 8.0)[[5, 27]]
    entry = closest_record(synthetic, members, others)[0]
    assert (entry.by_ratio, entry.by_ratio_of_others, entry.of_others) == (2, 0, 90) and gate(entry) == "red"
    assert (entry.exact, entry.near) == (0, 0)
    listed = {(pair.synthetic, pair.training // 3) for pair in entry.pairs if pair.kind == "by_ratio"}
    assert listed == {(4, 1), (50, 9)}
    # The same records of unknown people hide them, and records that are there twice.
    assert closest_record(synthetic, Records(members.values), others)[0].by_ratio == 0
    doubled = Records(np.concatenate([members.values] * 2), np.concatenate([members.subjects] * 2))
    assert closest_record(synthetic, doubled, others)[0].by_ratio == 2


def test_innocent_sets_hold_no_copies_by_ratio() -> None:
    for seed in range(5):
        members, others = people(40, 10 + seed), people(30, 20 + seed)
        entry = closest_record(people(30, 30 + seed).values, members, others)[0]
        assert entry.by_ratio == 0 and gate(entry) == "green"


def test_people_of_both_sides_are_no_false_alarm() -> None:
    """Where nobody knows whose the records are, held-out records of training people are as much copies as what a
    generator of such records gives."""
    members = people(60, 0, 1).values
    others, synthetic = (np.concatenate([noised(members[part], 6.0), smooth(50, seed)])
                         for part, seed in ((slice(0, 10), 1), (slice(20, 32), 2)))  # fmt: skip
    entry = closest_record(synthetic, Records(members), Records(others))[0]
    assert entry.by_ratio >= 10 <= entry.by_ratio_of_others and gate(entry) == "amber"
    assert gate(closest_record(noised(members, 6.0), Records(members), Records(others))[0]) == "red"


def test_nobody_else_to_compare_with_is_no_evidence() -> None:
    entry = closest_record(INNOCENT, Records(MEMBERS, np.zeros(len(MEMBERS))), Records(OTHERS))[0]
    assert entry.by_ratio is None is entry.by_ratio_of_others and gate(entry) == "red"


def test_a_set_of_copies_is_closer_to_training_and_identifies_it() -> None:
    entry, scores = closest_record(MEMBERS[:60], Records(MEMBERS), Records(OTHERS))
    assert entry.share_closer_to_training > 0.6 < entry.share_closer_ci[0]
    assert entry.identifiability > entry.identifiability_of_others + 0.2
    assert scores.members[:60].max() == scores.members[:60].min() == 0.0 > scores.non_members.max()
    assert len(entry.pairs) == PAIRS


def test_more_people_on_one_side_are_no_leak() -> None:
    """Ten records of each of 60 members and of 15 others, synthetic records of nobody: as near to either side."""

    def of_people(people: int, seed: int) -> Records:
        rng = np.random.default_rng(seed)
        centres = rng.normal(128, 30, (people, 1, 4, 4)).repeat(10, axis=0)
        return Records(
            (centres + rng.normal(0, 6, centres.shape)).clip(0, 255).astype(np.uint8), np.arange(people * 10) // 10
        )

    closed, contained = 0, 0
    for seed in range(12):
        members, others = of_people(60, seed), of_people(15, 100 + seed)
        synthetic = of_people(60, 200 + seed).values
        entry = closest_record(synthetic, members, others, seed=seed)[0]
        low, high = entry.share_closer_ci
        assert entry.compared == 150
        closed += low > 0.55
        contained += low <= 0.5 <= high
    assert closed == 0 and contained >= 10


def test_log_mels_and_features_are_compared_in_their_unit() -> None:
    rng = np.random.default_rng(5)
    members, others = (rng.normal(-5, 2, (40, 1, 8, 10)).astype(np.float16) for _ in range(2))
    synthetic = rng.normal(-5, 2, (30, 1, 8, 10)).astype(np.float32)
    synthetic[4] = members[9]
    entry = closest_record(synthetic, Records(members), Records(others))[0]
    assert entry.exact == 1 and entry.pairs[0].training == 9 and entry.limit > 0.5


def test_shapes_must_agree_and_sides_must_not_be_empty() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        closest_record(smooth(3, 0, (1, 8, 8)), Records(MEMBERS), Records(OTHERS))
    with pytest.raises(ValueError, match="too few"):
        closest_record(INNOCENT, Records(MEMBERS[:0]), Records(OTHERS))
