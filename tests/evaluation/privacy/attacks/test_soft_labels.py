from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from accelerate import Accelerator

from mmgen.data.samples import Samples
from mmgen.evaluation.privacy.attacks.soft_labels import attacked, membership_scores, student_of
from mmgen.evaluation.privacy.gate import judge, opens
from mmgen.evaluation.privacy.membership import membership_result
from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.privacy.results import MembershipResult
from mmgen.evaluation.privacy.sides import Side
from mmgen.evaluation.utility import UtilityConfig, labelled_by_teacher, trained_classifier
from mmgen.models.modality import Modality
from mmgen.models.teacher import Teacher
from mmgen.training.run import Run

NOISE = Modality("image", (1, 8, 8), (4, 4), (128.0,), (60.0,))
LABELS = ("a", "b")
TEACHING = UtilityConfig("convnet", updates=60)


def noise(seed: int, count: int = 40) -> Samples:
    """Pictures of noise, whose labels can be learnt by heart alone."""
    rng = np.random.default_rng(seed)
    values = rng.normal(128, 60, (count, 1, 8, 8)).clip(0, 255).astype(np.uint8)
    return Samples(values, np.arange(count) % 2, LABELS, np.arange(count))


def taught(samples: Samples) -> Samples:
    """With the soft labels of a teacher that knows them."""
    return replace(samples, probabilities=0.05 + 0.9 * np.eye(2, dtype=np.float32)[samples.labels])


def attack(asked: Teacher, members: Samples, non_members: Samples) -> dict[str, MembershipResult]:
    sides = [Side({"image": samples}) for samples in (members, non_members)]
    scores = attacked("teacher", asked, "image", sides)
    return {key: membership_result(own, "W", 0, True, 200) for key, own in scores.items()}


@pytest.fixture(scope="module")
def overfitted() -> Teacher:
    """A teacher that has learnt noise by heart."""
    return Teacher(trained_classifier(NOISE, noise(0), TEACHING, Run(Accelerator(cpu=True))), NOISE, LABELS)


def test_an_overfitted_teacher_closes_the_gate(overfitted: Teacher, accelerator: Accelerator) -> None:
    results = attack(overfitted, noise(0), noise(1))
    assert results["teacher"].auc > 0.8 and results["teacher_label_only"].auc > 0.6
    verdicts = judge(PrivacySection(results))
    assert not opens(verdicts) and not next(one for one in verdicts if one.attack == "teacher").allowed
    # Of what neither side has met it says the same.
    others = attack(overfitted, noise(2), noise(3))
    for result in others.values():
        assert result.auc_ci[0] < 0.5 < result.auc_ci[1]


def test_its_labels_on_what_resembles_members_give_them_away(overfitted: Teacher, accelerator: Accelerator) -> None:
    members, rng = noise(0), np.random.default_rng(5)
    near = (members.values + rng.normal(0, 10, members.values.shape)).clip(0, 255).astype(np.uint8)
    (labelled,) = labelled_by_teacher(overfitted.network, NOISE, [replace(members, values=near)], TEACHING, accelerator)
    assert attack(student_of(NOISE, labelled, 60, 0), members, noise(1))["teacher"].auc > 0.8


@pytest.mark.usefixtures("accelerator")
def test_answers_on_members_give_them_away_whatever_labels_are_called() -> None:
    members, others = noise(0), noise(1)
    student = student_of(NOISE, taught(members), 60, 0)
    result = attack(student, members, others)["teacher"]
    assert result.auc > 0.9 and result.auc_ci[0] > 0.8
    renamed = replace(members, labels=1 - members.labels, label_names=("B", " A"))
    assert attack(student, renamed, others)["teacher"].auc == pytest.approx(result.auc)
    # Answers on others give nobody away.
    low, high = attack(student_of(NOISE, taught(noise(2)), 60, 0), members, others)["teacher"].auc_ci
    assert low < 0.5 < high


def test_a_label_that_the_set_does_not_know_is_no_failure(overfitted: Teacher, accelerator: Accelerator) -> None:
    strange = replace(noise(0, 4), label_names=("a", "c"))
    confidence, same = membership_scores(overfitted, strange)
    assert confidence.shape == same.shape == (4,) and np.isfinite(confidence).all()
    assert (confidence[1::2] >= np.log(0.5)).all() and (same >= 0).all() and (same <= 2).all()
