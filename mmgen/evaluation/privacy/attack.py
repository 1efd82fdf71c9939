"""An attack as the audit, the gate and the page see it: its keys and names, what it needs, and how it is run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from mmgen.data.samples import Samples
from mmgen.evaluation.fidelity.features import Extractor
from mmgen.evaluation.privacy.attacker_gan import DCGANConfig
from mmgen.evaluation.privacy.membership import Scores, membership_result
from mmgen.evaluation.privacy.results import MembershipResult, Result, Threat
from mmgen.evaluation.privacy.sides import Records, Side
from mmgen.models.attention_gan import Critic
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality


@dataclass(frozen=True)
class Effort:
    """How much work the attacks may be.

    Attributes:
        gan: the attacker's GAN of the black-box attack.
        draws: masks that the error of a reconstruction is averaged over.
        resamples: draws of the bootstrap.
    """

    gan: DCGANConfig = field(default_factory=DCGANConfig)
    draws: int = 4
    resamples: int = 1000


@dataclass(frozen=True)
class Evidence:
    """All that attacks can use.

    Attributes:
        modalities: of the records.
        synthetic: what the attacker has, by modality, without blank records (see :func:`varied`).
        members: records that the model has learnt from, without blank ones.
        non_members: records of the same kind that it has never seen.
        extractors: by modality, the space in which the closest record is sought beside that of raw values.
        threat: whether the attacker can ask the generator for samples (G) or has this set alone (S).
        model: a masked autoencoder, for the attack on its reconstructions.
        critic: of a GAN, for the white-box attack.
        mask_ratio: of the reconstructions.
        mirrored: modalities whose mirror images are the same picture.
        device: where the attacker's GAN is trained; model and critic lie there too.
    """

    modalities: Mapping[str, Modality]
    synthetic: Mapping[str, Samples]
    members: Side
    non_members: Side
    extractors: Mapping[str, Extractor]
    threat: Threat = "S"
    model: CrossModalMAE | None = None
    critic: Critic | None = None
    mask_ratio: float = 0.75
    mirrored: tuple[str, ...] = ("image",)
    device: torch.device | str = "cpu"


@dataclass(frozen=True)
class Case:
    """The evidence of one modality, or of all together.

    Attributes:
        name: the modality; "" for all.
    """

    evidence: Evidence
    effort: Effort
    seed: int
    name: str = ""

    @property
    def modality(self) -> Modality:
        """That of the records."""
        return self.evidence.modalities[self.name]

    @property
    def synthetic(self) -> Samples:
        """What the attacker has."""
        return self.evidence.synthetic[self.name]

    @property
    def members(self) -> Records:
        """Records that the model has learnt from."""
        return self.evidence.members.records(self.name)

    @property
    def non_members(self) -> Records:
        """Records that it has never seen."""
        return self.evidence.non_members.records(self.name)

    @cached_property
    def features(self) -> tuple[Records, Records, Records]:
        """Synthetic records, members and non-members in the feature space."""
        extractor, evidence = self.evidence.extractors[self.name], self.evidence
        sides = (Side(evidence.synthetic), evidence.members, evidence.non_members)
        return tuple(Records(extractor(side.samples[self.name]), side.subjects.get(self.name)) for side in sides)

    def key(self, kind: str, name: str) -> str:
        """Key of an entry in section ``privacy``: with the modality where there are several."""
        return f"{kind}/{name}" if len(self.evidence.modalities) > 1 else kind

    def result(self, scores: Scores, threat: Threat | None = None, counts: bool = True) -> MembershipResult:
        """The result of an attack that gave these scores; its threat model is that of the evidence if None is given."""
        return membership_result(scores, threat or self.evidence.threat, self.seed, counts, self.effort.resamples)


@dataclass(frozen=True)
class Kind:
    """Entries of one key in section ``privacy``.

    Attributes:
        key: of the entry, without a modality.
        name: for a reader.
        measures: "membership"; "realism", how members differ from synthetic records; "difference", how both sides
            differ without any model; or "copying".
        result: type of the entry.
    """

    key: str
    name: str
    measures: Literal["membership", "realism", "difference", "copying"] = "membership"
    result: type[Result] = MembershipResult


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        kinds: the entries that it makes.
        run: results by the key of their kind; of an attack on ``all_modalities`` by :meth:`Case.key`.
        needs: what of the evidence it cannot do without; it depends on the weights of models and on the feature space.
        settings: what else its result depends on, beside the records, the seed and the resamples.
        possible: whether it is worth a try on these records.
        threat: what the attacker holds; None: a generator or a set, as the evidence says.
        all_modalities: run once, on all modalities together.
        may_fail: a UserError is a result that is missing, and not the end of the audit.
        version: raise it when the attack gives another result than before: earlier ones are then measured anew.
    """

    kinds: tuple[Kind, ...]
    run: Callable[[Case], Mapping[str, Result]]
    needs: tuple[Literal["features", "critic", "model"], ...] = ()
    settings: Callable[[Case], Mapping[str, Any]] = lambda case: {}
    possible: Callable[[Case], bool] = lambda case: True
    threat: Threat | None = None
    all_modalities: bool = False
    may_fail: bool = False
    version: int = 1

    @property
    def key(self) -> str:
        """Name of the attack, that of its first entry."""
        return self.kinds[0].key

    def applies(self, case: Case) -> bool:
        """Whether there is what it needs."""
        there = [getattr(case.evidence, need) is not None for need in self.needs if need != "features"]
        return all(there) and self.all_modalities == (not case.name) and self.possible(case)

    def depends_on(self, case: Case) -> dict[str, Any]:
        """All that its result depends on, but for the records: equal dependencies, equal results."""
        evidence = case.evidence
        models = {*self.needs} | {"model"} if "features" in self.needs else self.needs
        weights = {name: _digest(getattr(evidence, name)) for name in ("critic", "model") if name in models}
        return {
            "version": self.version,
            "modality": asdict(case.modality) if case.name else None,
            "threat": evidence.threat,
            "seed": case.seed,
            "resamples": case.effort.resamples,
            "features": evidence.extractors[case.name].name if "features" in self.needs else None,
            **weights,
            **self.settings(case),
        }

    def failed(self, case: Case, reason: str) -> dict[str, MembershipResult]:
        """Entries without a result."""
        threat = self.threat or case.evidence.threat
        keys = [kind.key for kind in self.kinds if kind.measures == "membership"]
        if self.all_modalities:
            keys = list(dict.fromkeys(case.key(key, name) for key in keys for name in case.evidence.modalities))
        return dict.fromkeys(keys, MembershipResult(threat_model=threat, note=reason))


def _digest(model: nn.Module | None) -> str | None:
    """Of all weights."""
    if model is None:
        return None
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]
