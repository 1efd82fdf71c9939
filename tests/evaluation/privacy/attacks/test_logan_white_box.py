"""White-box LOGAN: a critic that remembers its training samples gives them away, another one does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmgen.data.phantoms import phantom_xray
from mmgen.evaluation.privacy.attacks.logan_white_box import critic_scores, logan_white_box
from mmgen.evaluation.privacy.membership import membership_result
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.attention_gan import Critic


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([phantom_xray(number % 2, rng, 32) for number in range(240)])[:, None]


class Rote(nn.Module):
    """A critic that has learnt its real images by heart: the nearer to one of them, the more real."""

    def __init__(self, real: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("real", (torch.from_numpy(real).float() / 127.5 - 1).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(x.flatten(1), self.real).min(1).values


def test_a_critic_that_remembers_its_images_gives_them_away(films: np.ndarray) -> None:
    members, others, synthetic = films[:80], films[80:160], films[160:]
    attacks = logan_white_box(Rote(members), *map(Records, (synthetic, members, others)))
    entries = {name: membership_result(scores, "W", resamples=100) for name, scores in attacks.items()}
    assert entries["logan_white_box"].auc > 0.95
    assert entries["logan_white_box_paper"].auc > 0.95


def test_a_critic_that_never_saw_them_betrays_nobody(films: np.ndarray) -> None:
    held = 0
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(240)
        members, others, real = films[order].reshape(3, 80, *films.shape[1:])
        scores = logan_white_box(Rote(real), *map(Records, (real, members, others)))
        low, high = membership_result(scores["logan_white_box"], "W", resamples=300).auc_ci
        held += low <= 0.5 <= high
    assert held >= 9


def test_medsynths_critic_is_asked_for_its_score(films: np.ndarray) -> None:
    critic = Critic(32, 1, 3, width=4)
    with torch.no_grad():
        expected = critic(torch.from_numpy(films[:7]).float() / 127.5 - 1).score.numpy()
    np.testing.assert_allclose(critic_scores(critic, films[:7], batch_size=3), expected, rtol=1e-4, atol=1e-6)


def test_scores_do_not_depend_on_the_batch_and_the_mode_stays(films: np.ndarray) -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1024), nn.Dropout(), nn.Linear(1024, 1), nn.Flatten(0))
    critic(torch.randn(64, 1, 32, 32))
    state = {key: value.clone() for key, value in critic.state_dict().items()}
    whole = critic_scores(critic, films[:20])
    np.testing.assert_allclose(critic_scores(critic, films[:20], batch_size=6), whole, rtol=1e-4, atol=1e-5)
    assert critic.training and critic[1].training
    assert all(torch.equal(value, state[key]) for key, value in critic.state_dict().items())


def test_a_critic_gets_images_between_minus_one_and_one() -> None:
    class Brightness(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2, 3))

    images = np.array([0, 255, 51], np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 3, 4, 4), np.uint8)
    np.testing.assert_allclose(critic_scores(Brightness(), images), [-1, 1, -0.6], atol=1e-6)


def test_people_go_with_the_scores(films: np.ndarray) -> None:
    people = np.arange(4) // 2
    critic = Critic(32, 1, 2, width=2)
    attacks = logan_white_box(critic, Records(films[8:10]), Records(films[:4], people), Records(films[4:8], people + 9))
    assert attacks["logan_white_box"].non_member_subjects.tolist() == [9, 9, 10, 10]
    assert attacks["logan_white_box_paper"].member_subjects is people
    assert attacks["logan_white_box_paper"].non_member_subjects is None
