"""LOGAN with the critic at hand: what it learnt as real it calls more real (Hayes et al. 2019, section 4.1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mmgen.data.samples import Sliceable
from mmgen.evaluation.privacy.attack import Attack, Kind
from mmgen.evaluation.privacy.membership import Scores
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.attention_gan import Critique
from mmgen.models.images import to_unit_range


@torch.no_grad()
def critic_scores(critic: nn.Module, values: Sliceable, batch_size: int = 256) -> np.ndarray:
    """How real a critic finds samples: (N,) float64 scores before any squashing, higher is more real.

    Scores that a sigmoid has made 1 cannot be told apart; these can.

    Args:
        critic: (B, C, H, W) in [-1, 1] -> (B,) or :class:`Critique`; asked in evaluation mode, on its device.
        values: (N, C, H, W) uint8, or floats that the critic takes as they are.
    """
    device = next((tensor.device for tensor in critic.state_dict().values()), "cpu")
    training = critic.training
    critic.eval()
    scores = []
    for start in range(0, values.shape[0], batch_size):
        x = torch.from_numpy(np.ascontiguousarray(values[start : start + batch_size])).to(device)
        judged = critic(to_unit_range(x))
        scores.append(judged.score if isinstance(judged, Critique) else judged)
    critic.train(training)
    return torch.cat(scores).double().cpu().numpy() if scores else np.zeros(0)


def logan_white_box(critic: nn.Module, synthetic: Records, members: Records, non_members: Records) -> dict[str, Scores]:
    """Scores of the white-box attack (threat model "W"), by name of the attack.

    "logan_white_box" sets members against real samples that were not trained on. "logan_white_box_paper" is the
    protocol of the LOGAN and MedSynth papers, which take synthetic samples for non-members: it measures how real they
    look to the critic, not membership.
    """
    of_synthetic, of_members, of_non_members = (
        critic_scores(critic, side.values) for side in (synthetic, members, non_members)
    )
    return {
        "logan_white_box": Scores(of_members, of_non_members, members.subjects, non_members.subjects),
        "logan_white_box_paper": Scores(of_members, of_synthetic, members.subjects),
    }


ATTACK = Attack(
    (
        Kind("logan_white_box", "LOGAN, white box"),
        Kind("logan_white_box_paper", "LOGAN, white box, as in the paper", "realism"),
    ),
    lambda case: logan_white_box(case.evidence.critic, *case.records),
    needs=("critic",),
    threat="W",
)
