"""Re-identification: further records of training people are recognised, other people are not."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.loading import load
from mmgen.data.manifest import Columns
from mmgen.data.samples import Samples
from mmgen.data.sources import Source
from mmgen.evaluation.privacy.attack import Case, Effort, Evidence
from mmgen.evaluation.privacy.attacks.reidentification import (
    ATTACK,
    FEWEST_PEOPLE,
    recognised_people,
)
from mmgen.evaluation.privacy.results import RecognisedResult, exact_interval
from mmgen.evaluation.privacy.sides import Records, Side
from mmgen.models.modality import Modality

FACES = Modality("image", (1, 24, 24), (8, 8))
VOICES = Modality("audio", (1, 20, 24), (5, 4), (-5.0,), (2.0,))


def crowd(people: int, each: int, seed: int = 0, first: int = 0, modality: Modality = FACES) -> Records:
    """Records of people with a face of their own, each in another light, a little off, with noise;
    ``each`` of one person, in a row."""
    height, width = modality.shape[1:]
    values = []
    for person in range(first, first + people):
        face = np.kron(np.random.default_rng([seed, person]).normal(0, 1, (height // 4, width // 4)), np.ones((4, 4)))
        for record in range(each):
            rng = np.random.default_rng([seed, person, record])
            seen = np.roll(face, rng.integers(-1, 2, 2), (0, 1)) * rng.uniform(0.8, 1.2) + rng.normal(
                0, 0.3, face.shape
            )
            values.append(seen)
    array = np.stack(values)[:, None]
    ready = (128 + 40 * array).round().clip(0, 255).astype(np.uint8)
    if modality is VOICES:
        ready = (2 * array - 5).astype(np.float16)
    names = np.repeat([f"person {number}" for number in range(first, first + people)], each)
    return Records(ready, names)


def some(records: Records, keep: np.ndarray) -> Records:
    return Records(records.values[keep], records.subjects[keep])


def attack(synthetic: Records, members: Records, others: Records, **changes: Any) -> RecognisedResult:
    given = {"recordings": np.arange(len(members)), "updates": 20, "resamples": 100, "modality": FACES} | changes
    return recognised_people(synthetic=synthetic, members=members, non_members=others, **given)


def is_red(result: RecognisedResult) -> bool:
    return result.recognised_ci[0] > max(0.03, result.others_ci[1])


@pytest.mark.parametrize("modality", [FACES, VOICES], ids=["faces", "voices"])
def test_further_records_of_training_people_are_recognised_and_other_people_are_not(modality: Modality) -> None:
    every, last = crowd(60, 4, modality=modality), np.arange(240) % 4 == 3
    members, leak = some(every, ~last), some(every, last)
    others, innocent = crowd(50, 2, first=60, modality=modality), crowd(60, 1, first=110, modality=modality)
    caught = attack(leak, members, others, modality=modality)
    assert is_red(caught) and caught.recognised > 0.8 and caught.real > 0.7
    assert caught.verification_auc > 0.9 and caught.auc_ci[0] > 0.9
    assert (caught.of, caught.people, caught.note) == (60, 60, None)
    passed = attack(innocent, members, others, modality=modality)
    assert not is_red(passed) and passed.auc_ci[0] < 0.5 < passed.auc_ci[1]
    assert (passed.others, passed.real) == (caught.others, caught.real)
    assert RecognisedResult.from_json(caught.to_json()) == caught


@pytest.mark.slow
def test_innocents_pass_in_nineteen_of_twenty_seeds_and_are_recognised_by_chance() -> None:
    results = [
        attack(crowd(100, 1, seed, 140), crowd(80, 5, seed), crowd(60, 2, seed, 80), seed=seed) for seed in range(20)
    ]
    assert sum(map(is_red, results)) <= 1
    assert np.mean([result.recognised for result in results]) < 0.03
    assert np.mean([result.others for result in results]) < 0.03


def test_a_leak_that_is_moved_is_recognised() -> None:
    every, last = crowd(40, 3), np.arange(120) % 3 == 2
    leak = some(every, last)
    moved = replace(leak, values=np.roll(leak.values, (2, -2), (2, 3)))
    assert is_red(attack(moved, some(every, ~last), crowd(50, 2, first=40)))


def test_parts_of_one_recording_are_no_evidence_of_a_person() -> None:
    """Planted: recordings of one person have nothing in common, but each is cut into two segments that are alike."""
    segments = crowd(96, 2)
    members = replace(segments, subjects=np.repeat(np.arange(24), 8))
    others, recordings = crowd(30, 1, first=96), np.repeat(np.arange(96), 2)
    assert attack(others, members, others, recordings=recordings).real < 0.1
    assert attack(others, members, others, recordings=np.arange(192)).real > 0.5
    alone = attack(others, segments, others, recordings=recordings)
    assert alone.note == "each person has one record" and alone.recognised is None


@pytest.mark.parametrize(("people", "each"), [(FEWEST_PEOPLE - 1, 4), (60, 1), (1, 5)])
def test_nothing_is_measured_where_few_people_have_several_records(people: int, each: int) -> None:
    others = crowd(30, 1, first=90)
    result = attack(others, crowd(people, each), others)
    expected = f"only {people} people have several records" if each > 1 else "each person has one record"
    assert result.note.startswith(expected)
    known = {part.name for part in fields(result) if getattr(result, part.name) is not None}
    assert known == {"of", "people", "note"}
    unknown = attack(others, Records(crowd(people, each).values), others)
    assert unknown.note == "whose records they are is unknown"


def test_few_records_on_the_other_sides_are_enough_to_go_on() -> None:
    result = attack(crowd(1, 1, first=50), crowd(FEWEST_PEOPLE, 2), crowd(1, 2, first=60))
    assert result.recognised_ci[1] - result.recognised_ci[0] > 0.9
    assert result.others_ci[1] - result.others_ci[0] > 0.9  # two records of one person are one


def test_the_result_is_a_function_of_the_seed_and_leaves_chance_alone() -> None:
    sets = crowd(20, 1, first=80), crowd(24, 3), crowd(30, 2, first=50)
    state = torch.get_rng_state()
    first = attack(*sets, updates=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert attack(*sets, updates=4) == first
    assert attack(*sets, updates=4, seed=1) != first


def test_exact_intervals_hold_what_they_should() -> None:
    low, high = exact_interval(0, 100)
    assert low == 0.0 and high == pytest.approx(1 - 0.025**0.01)
    assert exact_interval(100, 100) == (pytest.approx(0.025**0.01), 1.0)
    low, high = exact_interval(5, 100)
    assert (low, high) == (pytest.approx(0.0164, abs=1e-4), pytest.approx(0.1128, abs=1e-4))


def test_as_many_records_of_fewer_people_say_less() -> None:
    members, synthetic = crowd(24, 3), crowd(10, 1, first=200)
    once, values = crowd(40, 1, first=50), crowd(10, 1, first=50)
    repeated = Records(values.values.repeat(4, 0), values.subjects.repeat(4))
    widths = [np.ptp(attack(synthetic, members, others, updates=1).others_ci) for others in (once, repeated, values)]
    assert widths[1] > 1.5 * widths[0] and widths[1] == pytest.approx(widths[2])


def test_the_attack_reads_people_and_recordings_of_the_evidence() -> None:
    def side(records: Records, rows: np.ndarray) -> Side:
        labels = np.zeros(len(records), np.int64)
        return Side({"image": Samples(records.values, labels, ("all",), rows)}, {"image": records.subjects})

    every, last = crowd(40, 3), np.arange(120) % 3 == 2
    leak, members, others = some(every, last), some(every, ~last), crowd(50, 2, first=40)
    effort = Effort(recognition=15, resamples=50)
    for rows, people in ((np.arange(80), 40), (np.arange(80) // 2, 0)):
        sides = side(members, rows), side(others, np.arange(100))
        evidence = Evidence({"image": FACES}, side(leak, np.arange(40)).samples, *sides, {})
        case = Case(evidence, effort, 0, "image")
        result = ATTACK.run(case)["recognised"]
        assert result.people == people and (result.recognised is not None) == bool(people)
        assert ATTACK.settings(case) == {"updates": 15, "recordings": 80 if people else 40}


def read(folder: Path, settings: Any, name: str, part: str, **columns: str) -> tuple[Records, np.ndarray]:
    samples = load({name: Source(folder, settings, Columns(**columns))}, split=part)[name]
    return Records(samples.values[:], samples.subjects.astype(str)), samples.rows


@pytest.mark.slow
def test_slices_of_the_brains_that_were_trained_on_are_recognised(real_data: Path) -> None:
    settings, columns = ImageSettings(64, 1), {"subject": "subject", "split": "subject_split"}
    train, test = (
        read(real_data / "alzheimer" / "manifest.csv", settings, "image", split, **columns)[0]
        for split in ("train", "test")
    )
    rng = np.random.default_rng(0)
    drawn = rng.permutation(len(train))
    members, leak = some(train, drawn[:1500]), some(train, drawn[1500:1800])
    people = rng.permutation(np.unique(test.subjects))
    half = np.isin(test.subjects, people[: len(people) // 2])
    modality = Modality("image", (1, 64, 64), (8, 8))
    caught = attack(leak, members, some(test, half), modality=modality, updates=300)
    assert is_red(caught) and caught.recognised > 0.6 and caught.verification_auc > 0.85
    passed = attack(some(test, ~half), members, some(test, half), modality=modality, updates=300)
    assert not is_red(passed)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "subject"), [("cough", "participant"), ("cxr", "patient")])
def test_where_hardly_anybody_has_two_records_that_is_said(real_data: Path, name: str, subject: str) -> None:
    settings = AudioSettings() if name == "cough" else ImageSettings(64, 1)
    kind = "audio" if name == "cough" else "image"
    (members, rows), (others, _) = (
        read(real_data / name, settings, kind, s, subject=subject) for s in ("train", "test")
    )
    modality = Modality(kind, settings.shape, (10, 10) if name == "cough" else (8, 8))
    result = attack(others, members, others, recordings=rows, modality=modality, updates=100)
    if name == "cough":
        assert result.note == "each person has one record"
    else:
        assert result.people == 26
        assert not is_red(result)
