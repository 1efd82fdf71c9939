"""Copies of training records are found, with the right counts, and innocents are not accused."""

from __future__ import annotations

import numpy as np
import pytest

from mmgen.evaluation.privacy.attacks.copies import PAIRS, closest_record
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
