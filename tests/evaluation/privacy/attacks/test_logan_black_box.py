"""Black-box LOGAN: the attacker's GAN remembers copies in the synthetic set, and nothing else of the members."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mmgen.data.phantoms import phantom_xray
from mmgen.errors import UserError
from mmgen.evaluation.privacy.attacks.logan_black_box import AttackerGANConfig, logan_black_box
from mmgen.evaluation.privacy.membership import Scores, membership_result
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.modality import Modality

FILMS = Modality("image", (1, 32, 32), (8, 8), (110.0,), (60.0,))
SOUND = Modality("audio", (1, 12, 50), (4, 5), (-5.0,), (2.0,))


def area(members: np.ndarray, others: np.ndarray) -> float:
    return roc_auc_score([1] * len(members) + [0] * len(others), np.concatenate([members, others]))


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([phantom_xray(number % 2, rng, 32) for number in range(180)])[:, None]


def attack(modality: Modality, synthetic: np.ndarray, members: np.ndarray, others: np.ndarray, **config: int) -> Scores:
    sides = Records(members), Records(others)
    return logan_black_box(modality, synthetic, *sides, AttackerGANConfig(**config))["logan_black_box"]


def test_copies_are_found_exact_or_with_noise(films: np.ndarray) -> None:
    members, others = films[:16], films[60:]
    noise = np.random.default_rng(0).normal(0, 5, (8, 1, 32, 32))
    noisy = (members[8:] + noise).round().clip(0, 255).astype(np.uint8)
    scores = attack(FILMS, np.concatenate([members[:8], noisy]), members, others, side=16, updates=400, batch_size=16)
    assert area(scores.members[:8], scores.non_members) > 0.9
    assert area(scores.members[8:], scores.non_members) > 0.9


@pytest.mark.slow
def test_a_set_of_copies_is_found_at_full_size(films: np.ndarray) -> None:
    scores = attack(FILMS, films[:64], films[:64], films[64:], updates=1000)
    assert area(scores.members, scores.non_members) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_fresh_samples_betray_nobody(films: np.ndarray, seed: int) -> None:
    synthetic, members, others = films[np.random.default_rng(seed).permutation(180)].reshape(3, 60, *films.shape[1:])
    scores = attack(FILMS, synthetic, members, others, side=16, updates=600, seed=seed)
    low, high = membership_result(scores, "S").auc_ci
    assert low <= 0.5 <= high


def test_log_mels_of_any_shape_are_attacked() -> None:
    rng = np.random.default_rng(0)
    sounds = rng.normal(-5, 2, (60, 1, 12, 5)).repeat(10, axis=3).astype(np.float16)
    scores = attack(SOUND, sounds[:8], sounds[:8], sounds[8:], updates=120, batch_size=8, side=50)
    assert area(scores.members, scores.non_members) > 0.9


def test_the_result_is_a_function_of_the_seed_and_leaves_chance_alone(films: np.ndarray) -> None:
    sets = films[:20], films[20:24], films[24:30]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = attack(FILMS, *sets, side=8, updates=5, width=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    again, other = (attack(FILMS, *sets, side=8, updates=5, width=4, seed=seed) for seed in (0, 1))
    assert np.array_equal(first.members, again.members) and np.array_equal(first.non_members, again.non_members)
    assert not np.array_equal(first.members, other.members)


def test_a_score_does_not_depend_on_what_else_is_asked(films: np.ndarray) -> None:
    config = {"side": 16, "updates": 6, "width": 4}
    many = attack(FILMS, films[:20], films[20:40], films[40:], **config)
    few = attack(FILMS, films[:20], films[20:23], films[50:51], **config)
    np.testing.assert_allclose(few.members, many.members[:3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(few.non_members, many.non_members[10:11], rtol=1e-4, atol=1e-5)


def test_the_papers_protocol_sets_members_against_synthetic_samples(films: np.ndarray) -> None:
    people = np.arange(10) // 2
    sides = Records(films[20:30], people), Records(films[30:34], np.arange(4))
    attacks = logan_black_box(FILMS, films[:20], *sides, AttackerGANConfig(8, 3, width=2))
    real, paper = attacks["logan_black_box"], attacks["logan_black_box_paper"]
    assert list(attacks) == ["logan_black_box", "logan_black_box_paper"]
    assert len(real.non_members) == 4 and len(paper.non_members) == 20 and np.array_equal(real.members, paper.members)
    assert real.member_subjects is people and len(real.non_member_subjects) == 4 and paper.non_member_subjects is None


def test_settings_and_sets_that_cannot_work_are_refused(films: np.ndarray) -> None:
    with pytest.raises(UserError, match="no synthetic samples"):
        attack(FILMS, films[:0], films[:4], films[4:8])
    for wrong in ({"side": 7}, {"updates": 0}, {"batch_size": 1}, {"width": 0}):
        with pytest.raises(UserError, match="attacker's GAN needs"):
            AttackerGANConfig(**wrong)
