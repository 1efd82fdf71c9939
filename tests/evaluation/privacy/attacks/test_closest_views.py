from __future__ import annotations

import numpy as np
import pytest
from structures import smooth

from mmgen.data.samples import Samples
from mmgen.evaluation.privacy.attack import Case, Effort, Evidence
from mmgen.evaluation.privacy.attacks.closest_views import _judged_by_the_other_half, run
from mmgen.evaluation.privacy.attacks.copies import closest_record
from mmgen.evaluation.privacy.membership import membership_result
from mmgen.evaluation.privacy.sides import Side
from mmgen.models.modality import Modality

MODALITY = Modality("image", (1, 64, 64), (8, 8), value_range=(0, 255))


def samples(values: np.ndarray) -> Samples:
    return Samples(values, np.zeros(len(values), np.int64), ("a",), np.arange(len(values)))


def case(synthetic: np.ndarray, members: np.ndarray, others: np.ndarray) -> Case:
    sides = (Side({"image": samples(values)}, {"image": None}) for values in (members, others))
    return Case(Evidence({"image": MODALITY}, {"image": samples(synthetic)}, *sides, {}), Effort(), 0, "image")


def area(case: Case) -> float:
    return membership_result(run(case)["closest_record_views"], "S", resamples=100).auc


@pytest.mark.parametrize(
    "hide",
    [lambda x: 255 - x, lambda x: 0.4 * x + 100, lambda x: np.rot90(x, 1, (2, 3))],
    ids=["sign", "levels", "turn"],
)
def test_membership_is_not_hidden_by_what_distances_see(hide) -> None:
    pictures = smooth(120).numpy()
    members, others = (part.astype(np.uint8) for part in (pictures[:60], pictures[60:]))
    noise = np.random.default_rng(0).normal(0, 12, members.shape)
    synthetic = np.ascontiguousarray(np.clip(hide(members) + noise, 0, 255).astype(np.uint8)[:40])
    leaking = case(synthetic, members, others)
    plain = membership_result(closest_record(synthetic, *leaking.records[1:], mirrored=True)[1], "S", resamples=100)
    assert area(leaking) > 0.75 > plain.auc + 0.05


def test_unknown_people_are_no_members() -> None:
    pictures = smooth(200, seed=1).numpy().astype(np.uint8)
    assert area(case(pictures[150:], pictures[:75], pictures[75:150])) == pytest.approx(0.5, abs=0.12)


def test_the_best_of_many_views_of_noise_is_chance() -> None:
    rng, areas = np.random.default_rng(0), []
    for _ in range(60):
        likeness = [rng.normal(size=(30, 40)), rng.normal(size=(30, 40))]
        halves = [rng.random(40) < 0.5 for _ in range(2)]
        one, other = _judged_by_the_other_half(likeness, halves)
        areas.append((one[:, None] > other).mean() + 0.5 * (one[:, None] == other).mean())
    assert np.mean(areas) == pytest.approx(0.5, abs=0.03)
    likeness[0][7] += 2
    one, other = _judged_by_the_other_half(likeness, halves)
    assert (one[:, None] > other).mean() > 0.85
