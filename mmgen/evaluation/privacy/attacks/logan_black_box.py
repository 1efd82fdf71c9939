"""LOGAN without the critic: the attacker trains a GAN on the synthetic set (Hayes et al. 2019, section 4.2)."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.data.samples import Sliceable
from mmgen.errors import UserError
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.attacker_gan import MULTIPLE, DCGANConfig, discriminator_logits
from mmgen.evaluation.privacy.membership import Scores
from mmgen.evaluation.privacy.results import MembershipResult
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.images import to_unit_range
from mmgen.models.modality import Modality

_CHUNK = 256


def logan_black_box(
    modality: Modality,
    synthetic: Sliceable,
    members: Records,
    non_members: Records,
    config: DCGANConfig,
    device: torch.device | str = "cpu",
) -> dict[str, Scores]:
    """Scores of the black-box attack (threat model "G" or "S"), by name of the attack.

    The discriminator of a GAN that is trained on the synthetic samples alone remembers some of them; a member that the
    synthetic set copies is remembered too and called real.

    "logan_black_box" sets members against real samples that were not trained on. "logan_black_box_paper" takes the
    synthetic samples for non-members, as the LOGAN and MedSynth papers do. The discriminator has learnt to call these
    real, so that this measures how members differ from synthetic samples, not membership.

    Args:
        modality: of the samples; log-mels are normalised by it, images have a range of their own.
        synthetic, members, non_members: samples of the same shape, (N, C, H, W).
        config: the attacker's GAN.
        device: where the GAN is trained.

    Raises:
        UserError: no synthetic samples, or a GAN that diverges.
    """
    if not synthetic.shape[0]:
        raise UserError("The attacker's GAN has nothing to learn from: there are no synthetic samples.")
    sides = {"synthetic": synthetic, "members": members.values, "non-members": non_members.values}
    ready = {name: _prepared(values, modality, config.side).to(device) for name, values in sides.items()}
    logits = discriminator_logits(ready["synthetic"], ready, config)
    return {
        "logan_black_box": Scores(logits["members"], logits["non-members"], members.subjects, non_members.subjects),
        "logan_black_box_paper": Scores(logits["members"], logits["synthetic"], members.subjects),
    }


def _prepared(values: Sliceable, modality: Modality, side: int) -> Tensor:
    """Small normalised samples (N, C, h, w) float32; h and w are multiples of 8."""
    height, width = values.shape[2:]
    factor = min(1.0, side / max(height, width))
    size = [max(MULTIPLE, round(length * factor / MULTIPLE) * MULTIPLE) for length in (height, width)]
    parts = []
    for start in range(0, values.shape[0], _CHUNK):
        x = torch.from_numpy(np.ascontiguousarray(values[start : start + _CHUNK]))
        x = to_unit_range(x) if x.dtype == torch.uint8 else modality.normalise(x)
        parts.append(F.adaptive_avg_pool2d(x, size))
    return torch.cat(parts)


def run(case: Case) -> dict[str, MembershipResult]:
    """The attack with a GAN of the attacker's own."""
    records = (case.synthetic.values, case.members, case.non_members)
    scores = logan_black_box(case.modality, *records, _gan(case), case.evidence.device)
    return {kind.key: case.result(scores[kind.key], counts=kind.measures == "membership") for kind in KINDS}


def _gan(case: Case) -> DCGANConfig:
    return replace(case.effort.gan, seed=case.seed)


KINDS = (
    Kind("logan_black_box", "LOGAN, black box"),
    Kind("logan_black_box_paper", "LOGAN, black box, as in the paper", measures="realism"),
)
ATTACK = Attack(KINDS, run, settings=lambda case: {"gan": asdict(_gan(case))}, may_fail=True)
