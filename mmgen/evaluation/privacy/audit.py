"""All attacks on one model or synthetic set, as section ``privacy`` of a report."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.features import Extractor
from mmgen.evaluation.measured import Measured, fingerprint
from mmgen.evaluation.privacy.blind import FOLDS, blind_scores
from mmgen.evaluation.privacy.copies import Records, closest_record
from mmgen.evaluation.privacy.dcgan_attack import DCGANConfig, logan_black_box
from mmgen.evaluation.privacy.domias import domias_scores
from mmgen.evaluation.privacy.logan import logan_white_box
from mmgen.evaluation.privacy.membership import Scores, membership_entry
from mmgen.evaluation.privacy.pass_through import pass_through
from mmgen.evaluation.privacy.reconstruction import reconstruction_scores
from mmgen.evaluation.privacy.sides import Side, apart, varied
from mmgen.models.attention_gan import Critic
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality

logger = logging.getLogger(__name__)

VERSION = 1
"""Raise it when an attack gives another result than before: earlier ones are then measured anew."""
Threat = Literal["G", "S"]


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


FULL = Effort()
FAST = Effort(DCGANConfig(updates=300), draws=2, resamples=300)


@dataclass(frozen=True)
class Audited:
    """What is audited, and against whom.

    Attributes:
        modalities: of the records.
        synthetic: what the attacker has, by modality, without blank records (see :func:`varied`).
        members: records that the model has learnt from, without blank ones.
        others: records of the same kind that it has never seen.
        threat: whether the attacker can ask the generator for samples (G) or has this set alone (S).
        model: a masked autoencoder, for the attack on its reconstructions.
        critic: of a GAN, for the white-box attack.
        extractors: by modality, the space in which the closest record is sought beside that of raw values.
        mask_ratio: of the reconstructions.
        mirrored: modalities whose mirror images are the same picture.
        device: where the attacker's GAN is trained; model and critic lie there too.
    """

    modalities: Mapping[str, Modality]
    synthetic: Mapping[str, Samples]
    members: Side
    others: Side
    extractors: Mapping[str, Extractor]
    threat: Threat = "S"
    model: CrossModalMAE | None = None
    critic: Critic | None = None
    mask_ratio: float = 0.75
    mirrored: tuple[str, ...] = ("image",)
    device: torch.device | str = "cpu"


def audit_section(
    what: Audited,
    effort: Effort = FULL,
    measured: Measured | None = None,
    seed: int = 0,
    leave_out_shared: bool = False,
) -> dict[str, Any]:
    """Section ``privacy`` of a report: an entry for each attack, "copies" and "pass_through", with ``/modality`` where
    there are several.

    An attack that is impossible on these data has an entry without a result, which the gate does not take for a good
    one; "effort" says how hard the attacks tried. Blank and silent records are left out of the non-members; the other
    sides must hold none. Results are taken from ``measured`` where they were computed before.

    Raises:
        UserError: an empty side, or records or people that are on both (see :func:`apart`).
    """
    others = apart(what.members, varied(what.others, "non-members"), leave_out_shared)
    job = _Job.on(what, others, effort, measured or Measured(None), seed)
    section: dict[str, Any] = {"effort": {"fast": effort != FULL, "updates": effort.gan.updates}}
    for name in what.modalities:
        suffix = f"/{name}" if len(what.modalities) > 1 else ""
        entries = job.near(name) | job.by_features(name) | job.black_box(name) | job.white_box(name)
        section |= {f"{attack}{suffix}": entry for attack, entry in entries.items()}
    return section | job.reconstruction()


@dataclass(frozen=True)
class _Job:
    what: Audited
    synthetic: Side
    members: Side
    others: Side
    effort: Effort
    measured: Measured
    seed: int
    content: Mapping[str, Mapping[str, str]]
    """Fingerprints of each modality."""

    @classmethod
    def on(cls, what: Audited, others: Side, effort: Effort, measured: Measured, seed: int) -> _Job:
        """All attacks with these non-members."""
        sides = {"synthetic": Side(what.synthetic), "members": what.members, "others": others}
        content = {
            name: {side: fingerprint(data.samples[name], data.people.get(name)) for side, data in sides.items()}
            for name in what.modalities
        }
        return cls(what, sides["synthetic"], what.members, others, effort, measured, seed, content)

    def once(self, attack: str, name: str, more: Mapping[str, Any], run: Callable[[], Any]) -> Any:
        """The result of an attack on a modality ("": all), from an earlier run on the same if there was one."""
        depends_on = {
            "version": VERSION,
            "content": {n: self.content[n] for n in ([name] if name else self.what.modalities)},
            "modality": asdict(self.what.modalities[name]) if name else None,
            "threat": self.what.threat,
            "seed": self.seed,
            "resamples": self.effort.resamples,
            **more,
        }

        def measure() -> Any:
            logger.info("Attack %s%s", attack.replace("_", " "), f" on {name}" if name else "")
            return run()

        return self.measured.once(f"{attack}/{name}" if name else attack, depends_on, measure)

    def tried(self, attacks: Mapping[str, str], run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Entries of attacks ({name: threat model}), or why there are none."""
        try:
            return run()
        except UserError as error:
            logger.warning("Not attacked by %s: %s", ", ".join(attacks).replace("_", " "), error)
            return {
                attack: {"auc": None, "threat_model": threat, "counts": True, "note": str(error)}
                for attack, threat in attacks.items()
            }

    def entry(self, scores: Scores, threat: str, counts: bool = True) -> dict[str, Any]:
        """What the scores of an attack say."""
        return membership_entry(scores, threat, self.seed, counts, self.effort.resamples)

    def near(self, name: str) -> dict[str, Any]:
        """Copies, pass-through, and the attack by distance, in raw values."""
        mirrored = name in self.what.mirrored

        def run() -> dict[str, Any]:
            made = self.synthetic.samples[name].values
            sides = self.members.records(name), self.others.records(name)
            copies, scores = closest_record(made, *sides, mirrored, self.seed, f"nearest {name}")
            passed = pass_through(self.what.modalities[name], made, sides[0].values)
            return {"copies": copies, "pass_through": passed, "closest_record": self.entry(scores, self.what.threat)}

        return self.once("copies", name, {"mirrored": mirrored}, run)

    def by_features(self, name: str) -> dict[str, Any]:
        """The attacks by distance and by density in a feature space, and how far both sides differ there anyway."""
        extractor = self.what.extractors[name]

        def run() -> dict[str, Any]:
            made = extractor(self.synthetic.samples[name])
            members, others = (
                Records(extractor(side.samples[name]), side.people.get(name)) for side in (self.members, self.others)
            )
            _, scores = closest_record(made, members, others, seed=self.seed)

            def density() -> dict[str, Any]:
                reference, tested = _halves(others, self.seed)
                found = domias_scores(members, tested, made, reference.values, seed=self.seed)
                return {"domias": self.entry(found, self.what.threat)}

            entries = {"closest_record_features": self.entry(scores, self.what.threat)}
            entries |= self.tried({"domias": self.what.threat}, density)
            if min(len(np.unique(side.owners)) for side in (members, others)) >= FOLDS:
                entries["blind_baseline"] = self.entry(blind_scores(members, others, self.seed), "none", counts=False)
            return {key: entry | {"features": extractor.name} for key, entry in entries.items()}

        own = {} if self.what.model is None else {"model": _digest(self.what.model)}
        return self.once("features", name, {"features": extractor.name, **own}, run)

    def black_box(self, name: str) -> dict[str, Any]:
        """LOGAN with a GAN of the attacker's own."""
        gan = replace(self.effort.gan, seed=self.seed)

        def run() -> dict[str, Any]:
            scores = logan_black_box(
                self.what.modalities[name],
                self.synthetic.samples[name],
                self.members.samples[name],
                self.others.samples[name],
                gan,
                self.members.people.get(name),
                self.others.people.get(name),
                self.what.device,
            )
            return self.entries(scores, self.what.threat)

        attacks = {"logan_black_box": self.what.threat}
        return self.tried(attacks, lambda: self.once("logan_black_box", name, {"gan": asdict(gan)}, run))

    def white_box(self, name: str) -> dict[str, Any]:
        """LOGAN with the critic that the generator was trained against."""
        critic = self.what.critic
        if critic is None:
            return {}

        def run() -> dict[str, Any]:
            sides = self.members.records(name), self.others.records(name)
            return self.entries(logan_white_box(critic, *sides, self.synthetic.samples[name].values), "W")

        weights = _digest(critic)
        return self.once("logan_white_box", name, {"critic": weights}, run)

    def entries(self, scores: Mapping[str, Scores], threat: str) -> dict[str, Any]:
        """Entries of attacks of which those of the paper's protocol do not count."""
        return {key: self.entry(value, threat, not key.endswith("_paper")) for key, value in scores.items()}

    def reconstruction(self) -> dict[str, Any]:
        """How well a masked autoencoder restores records of both sides."""
        model = self.what.model
        if model is None:
            return {}

        def run() -> dict[str, Any]:
            scores = reconstruction_scores(
                model, self.members.samples, self.others.samples, self.what.mask_ratio, self.effort.draws, self.seed
            )
            several = len(self.what.modalities) > 1
            return {
                f"reconstruction/{name}" if several else "reconstruction": self.entry(
                    Scores(*pair, self._people(self.members, name), self._people(self.others, name)), "W"
                )
                for name, pair in scores.items()
            }

        weights = _digest(model)
        more = {"model": weights, "draws": self.effort.draws, "ratio": self.what.mask_ratio}
        names = [f"reconstruction/{name}" for name in self.what.modalities] if len(self.what.modalities) > 1 else []
        attacks = dict.fromkeys(names or ["reconstruction"], "W")
        return self.tried(attacks, lambda: self.once("reconstruction", "", more, run))

    @staticmethod
    def _people(side: Side, name: str) -> np.ndarray | None:
        """Owners of the records of a modality; tuples ("joint") are built around the first modality's."""
        return side.people.get(next(iter(side.samples)) if name == "joint" else name)


def _digest(model: nn.Module) -> str:
    """Of all weights."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def _halves(records: Records, seed: int) -> tuple[Records, Records]:
    """Two halves of records, with nobody in both; raises UserError for records of one person."""
    people = records.owners
    everyone = np.unique(people)
    if len(everyone) < 2:
        raise UserError("All non-members are of one person, and a part of them must be set apart; add more people.")
    chosen = np.random.default_rng(seed).permutation(everyone)[: len(everyone) // 2]
    first = np.isin(people, chosen)
    return tuple(Records(records.values[half], people[half]) for half in (first, ~first))
