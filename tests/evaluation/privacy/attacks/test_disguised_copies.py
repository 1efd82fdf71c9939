from __future__ import annotations

import numpy as np
import pytest

from mmgen.data.phantoms import phantom_lesion
from mmgen.data.samples import Samples
from mmgen.evaluation.privacy.attack import Case, Effort, Evidence
from mmgen.evaluation.privacy.attacks.disguised_copies import run
from mmgen.evaluation.privacy.disguises.planting import PICTURES
from mmgen.evaluation.privacy.sides import Side
from mmgen.models.modality import Modality

MODALITY = Modality("image", (3, 64, 64), (8, 8), value_range=(0, 255))
EFFORT = Effort(planted=1, innocent=40)


def samples(values: np.ndarray) -> Samples:
    return Samples(values, np.zeros(len(values), np.int64), ("a",), np.arange(len(values)))


def case(synthetic: np.ndarray, members: np.ndarray, others: np.ndarray) -> Case:
    sides = (Side({"image": samples(values)}, {"image": None}) for values in (members, others))
    return Case(Evidence({"image": MODALITY}, {"image": samples(synthetic)}, *sides, {}), EFFORT, 0, "image")


@pytest.fixture(scope="module")
def lesions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Members, others, and a set of innocent ones."""
    rng = np.random.default_rng(0)
    every = np.stack([phantom_lesion(int(rng.integers(2)), rng, 64) for _ in range(150)])
    every = every if every.shape[1] == 3 else every.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(every[:60]), np.ascontiguousarray(every[60:110]), np.ascontiguousarray(every[110:])


def test_innocent_records_are_no_copies(lesions: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    result = run(case(lesions[2], *lesions[:2]))["disguised_copies"]
    assert result.p_value > 0.002 and result.found <= 1 and result.of == 40  # calibrated by 40 records a side
    assert result.compared == 80 and len(result.power) == sum(len(kind.strengths) for kind in PICTURES.values())
    assert np.median(list(result.power.values())) >= 0.5


@pytest.mark.parametrize("kind", ["crop", "quarter turn", "inversion", "average of two"])
def test_disguised_copies_are_found_and_shown(kind: str, lesions: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    members, others, innocent = lesions
    rng, synthetic = np.random.default_rng(1), innocent.copy()
    rows = rng.permutation(len(members))[:4]
    for place, row in enumerate(rows):
        synthetic[place] = PICTURES[kind].change(members[row], PICTURES[kind].strengths[-1], rng, members[row - 1])
    result = run(case(synthetic, members, others))["disguised_copies"]
    assert result.p_value <= 0.01 and result.found >= 2
    found = {pair.synthetic: pair for pair in result.pairs}
    assert len(set(found) - set(range(4))) <= 2, "a few that are listed may be so by chance"
    found = {place: pair for place, pair in found.items() if place < 4}
    right = [pair for place, pair in found.items() if pair.training in (rows[place], (rows[place] - 1) % len(members))]
    assert len(right) == len(found) and all(pair.inverted is (kind == "inversion") for pair in right)
    if kind == "crop":
        assert run(case(synthetic, members, others))["disguised_copies"] == result, "the same seed, the same result"


def test_too_few_people_are_no_evidence_and_no_crash(lesions: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    result = run(case(lesions[2], lesions[0][:3], lesions[1][:2]))["disguised_copies"]
    assert result.found is None and result.people == 5 and "too few people" in result.note
