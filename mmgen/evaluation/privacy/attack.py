"""An attack as the audit, the gate and the page see it: its keys and names, what it needs, and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch

from mmgen.artifacts.models import model_digest
from mmgen.data.samples import Samples
from mmgen.evaluation.fidelity.features import Extractor
from mmgen.evaluation.privacy.membership import Scores
from mmgen.evaluation.privacy.results import MembershipResult, Result, ThreatModel
from mmgen.evaluation.privacy.sides import Records, Side
from mmgen.models.attention_gan import Critic
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.modality import Modality
from mmgen.models.teacher import Teacher


@dataclass(frozen=True)
class Effort:
    """How much work the attacks may be.

    Attributes:
        updates: of the attacker's GAN in the black-box attack.
        draws: masks or noises that the error of a reconstruction or of denoising is averaged over.
        resamples: draws of the bootstrap.
        planted: records under each kind and strength of disguise, to learn from and as many to be found.
        innocent: records of each side by which the search for disguised copies is calibrated.
        gan: other settings of the attacker's GAN, by name.
        recognition: updates of the network that recognises people.
        drawn: samples that stored and drawn ones of a generator make together, over all classes.
        student: updates of the network that learns from soft labels.
    """

    updates: int = 4000
    draws: int = 4
    resamples: int = 1000
    planted: int = 4
    innocent: int = 300
    gan: Mapping[str, int] = field(default_factory=dict)
    recognition: int = 400
    drawn: int = 1000
    student: int = 400


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
        model: a masked autoencoder, for the attacks on its reconstructions and on how it takes out noise.
        critic: of a GAN, for the white-box attack.
        mirrored: modalities whose mirror images are the same picture.
        device: where the attacker's networks are trained; model and critic lie there too.
        soft_labels: samples of the synthetic set with its soft labels, by modality; None where it has none.
        teacher: the classifier that a generator carries.
    """

    modalities: Mapping[str, Modality]
    synthetic: Mapping[str, Samples]
    members: Side
    non_members: Side
    extractors: Mapping[str, Extractor]
    threat: ThreatModel = "S"
    model: CrossModalMAE | None = None
    critic: Critic | None = None
    mirrored: tuple[str, ...] = ("image",)
    device: torch.device | str = "cpu"
    soft_labels: Mapping[str, Samples] | None = None
    teacher: Teacher | None = None

    @property
    def denoiser(self) -> DenoisingMAE | None:
        """The model, if it takes out noise."""
        return self.model if self.model is not None and self.model.kind == DenoisingMAE.kind else None


@dataclass(frozen=True)
class Case:
    """The evidence of one modality, ``name``, or of all together: ""."""

    evidence: Evidence
    effort: Effort
    seed: int
    name: str = ""

    @property
    def sides(self) -> tuple[Side, Side]:
        """Members and non-members."""
        return self.evidence.members, self.evidence.non_members

    @property
    def records(self) -> tuple[Records, Records, Records]:
        """Synthetic records, members and non-members, in raw values."""
        sides = (Side(self.evidence.synthetic), self.evidence.members, self.evidence.non_members)
        return tuple(side.records(self.name) for side in sides)

    @cached_property
    def features(self) -> tuple[Records, Records, Records]:
        """The same in the feature space."""
        extractor = self.evidence.extractors[self.name]
        return tuple(Records(extractor(records.values), records.subjects) for records in self.records)

    def key(self, kind: str, name: str) -> str:
        """Key of an entry in section ``privacy``: with the modality where there are several."""
        return f"{kind}/{name}" if len(self.evidence.modalities) > 1 else kind


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
        kinds: the entries that it makes; the first one's key is its name.
        run: scores of members and non-members, or a finished result, by the key of their kind; from an attack on all
            modalities by :meth:`Case.key`.
        needs: what of the evidence it cannot do without; its result depends on the weights of these models.
        settings: what else its result depends on, beside the records, the seed and the resamples.
        threat: what the attacker holds; None: a generator or a set, as the evidence says.
        all_modalities: run once, on all modalities together.
        may_fail: a UserError is a result that is missing, and not the end of the audit.
        version: raise it when the attack gives another result than before: earlier ones are then measured anew.
    """

    kinds: tuple[Kind, ...]
    run: Callable[[Case], Mapping[str, Scores | Result]]
    needs: tuple[Literal["features", "critic", "model", "denoiser", "soft_labels", "teacher"], ...] = ()
    settings: Callable[[Case], Mapping[str, Any]] = lambda case: {}
    threat: ThreatModel | None = None
    all_modalities: bool = False
    may_fail: bool = False
    version: int = 1

    def depends_on(self, case: Case) -> dict[str, Any]:
        """All that its result depends on, but for the records: equal dependencies, equal results."""
        evidence, needs = case.evidence, {*self.needs}
        models = {"critic": evidence.critic if "critic" in needs else None}
        models["teacher"] = evidence.teacher.network if "teacher" in needs else None
        # Features may be those of the model.
        models["model"] = evidence.model if needs & {"model", "denoiser", "features"} else None
        return {
            "version": self.version,
            "modality": asdict(evidence.modalities[case.name]) if case.name else None,
            "features": evidence.extractors[case.name].name if "features" in needs else None,
            "effort": (evidence.threat, case.seed, case.effort.resamples),
            **{name: None if model is None else model_digest(model) for name, model in models.items()},
            **self.settings(case),
        }
