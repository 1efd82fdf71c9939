"""Evidence that a release needs of an audit: verdicts on all that counts, for every modality, and their text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache
from typing import Any

from mmgen.data.markdown import in_markdown
from mmgen.evaluation.privacy.attacks import KINDS
from mmgen.evaluation.privacy.disguises.planting import PICTURES, SOUNDS
from mmgen.evaluation.privacy.findings import NO_EVIDENCE
from mmgen.evaluation.privacy.gate import Thresholds, judge
from mmgen.evaluation.privacy.record import EFFORT, AuditRecord, PrivacySection
from mmgen.evaluation.privacy.results import (
    CopiesResult,
    DisguisedCopiesResult,
    MembershipResult,
    NoResult,
    PassThroughResult,
    Result,
    Verdict,
)

# Texts in an audit: threat models, feature spaces of this library, how pass-through is measured, why nobody could be
# recognised.
_TEXTS = re.compile(
    r"[WGS]|none|pixels|own|\d+ x \d+ patches equal to a training record's at the same place|each person has one record"
    r"|whose records they are is unknown|only \d+ people have several records \(at least \d+ are needed\)"
    r"|there are too few people to know how much alike records of other people are"
)


@dataclass(frozen=True)
class Override:
    """Who releases against the audit, why (texts after :func:`mmgen.release.cleaning.cleaned`), and when (ISO date)."""

    name: str
    because: str
    date: str

    def __str__(self) -> str:
        return f"Released by {self.name} on {self.date}, although the audit did not allow it, because: {self.because}"


def judged(
    record: AuditRecord | None, thresholds: Thresholds, with_model: bool, modalities: Iterable[str]
) -> list[Verdict]:
    """Verdicts on all attacks that count for what is released, and red ones on evidence that is missing.

    Every modality must have been audited: counted copies, a search for disguised ones, pass-through and an attack on
    membership with a result. An audit must say that its attacks were not short.

    Args:
        record: of the audit; None if there was none.
        with_model: whether a generator is released, which needs attacks on it too.
        modalities: names of those that are released.
    """
    privacy = PrivacySection({}) if record is None else _counting(record.privacy, with_model)
    verdicts = judge(privacy, thresholds)
    if record is None or verdicts[0].attack == "audit":
        return verdicts
    told = {verdict.attack for verdict in verdicts}
    for key in privacy.of_type(NoResult):
        if key not in told:
            verdicts.append(red(key, f"{key}: gave no result, {NO_EVIDENCE}"))
    for name in modalities:
        if name in record.modalities:
            verdicts += _missing(privacy, name, f"/{name}" if len(record.modalities) > 1 else "")
        else:
            verdicts.append(red(f"audit/{name}", f"{name}: this modality is not audited; audit it too"))
    if EFFORT not in privacy.results:
        verdicts.append(red(EFFORT, f"effort: whether the attacks were short is not known, {NO_EVIDENCE}"))
    if with_model and not {_threat(result) for result in privacy.results.values()} & {"W", "G"}:
        verdicts.append(red("attacks", f"generator: not attacked, {NO_EVIDENCE}"))
    return verdicts


def presentable(record: AuditRecord | None, modalities: Collection[str]) -> AuditRecord | None:
    """An audit that may stand on cards: results on other modalities and texts that are not known are left out."""
    if record is None:
        return None
    results = {}
    for key, result in record.privacy.results.items():
        kind, slash, modality = key.partition("/")
        if kind in (*KINDS, EFFORT) and (not slash or modality in (*modalities, "joint")):
            known = {part.name: _known_text(getattr(result, part.name)) for part in fields(result)}
            results[key] = replace(result, **known)
    refused = None if record.privacy.refused is None else "no audit was possible"
    try:
        created = datetime.fromisoformat(record.created or "").isoformat()
    except ValueError:
        created = None
    members = {
        name: own for name, own in record.members.items() if name in modalities and re.fullmatch("[0-9a-f]{24}", own)
    }
    return replace(record, created=created, privacy=PrivacySection(results, refused), members=members)


@cache
def _disguises() -> frozenset[str]:
    """Names of the kinds of disguise, with and without their strength."""
    kinds = [*PICTURES.items(), *SOUNDS.items()]
    named = (disguise.name(kind, strength) for kind, disguise in kinds for strength in disguise.strengths)
    return frozenset([*(kind for kind, _ in kinds), *named])


def _known_text(value: Any) -> Any:
    """A field's value; None of a text that this library does not write, such as the name of an unknown network, and
    without entries that have such names."""
    import timm

    if isinstance(value, Mapping):
        return {name: number for name, number in value.items() if name in _disguises()}
    if not isinstance(value, str) or _TEXTS.fullmatch(value):
        return value
    name, at, digest = value.partition("@")
    architecture, dot, _ = name.partition(".")
    known = timm.is_model(architecture) and (not dot or name in timm.list_pretrained(f"{architecture}.*"))
    return value if known and (not at or re.fullmatch("[0-9a-f]{8}", digest)) else None


def privacy_section(
    verdicts: Sequence[Verdict], record: AuditRecord | None, override: Override | None = None, pixels: str = ""
) -> str:
    """Markdown for cards: what the audit found, and that it was overridden, if it was.

    Args:
        record: of the audit, for its date and the fingerprint of the members; None if there was none.
        pixels: a further line, of what lets real pixels through (:func:`mmgen.artifacts.cards.pixels_line`).
    """
    lines = "\n".join([*(f"* {verdict.light}: {verdict.line}" for verdict in verdicts), *filter(None, [pixels])])
    when = f"Audited on {record.created[:10]}." if record is not None and record.created else "Not audited."
    if record is not None and record.members:
        when += f" Fingerprint of the members: {', '.join(f'{name} {own}' for name, own in record.members.items())}."
    text = f"## Privacy\n\n{when}\n\n{lines}\n\nAn audit finds leaks; it cannot prove that there are none.\n"
    if override is None:
        return text
    failed = "\n".join(f"* {verdict.line}" for verdict in verdicts if not verdict.allowed)
    return f"{text}\n## Released against the audit\n\n{in_markdown(str(override))}\n\n{failed}\n"


def red(attack: str, line: str) -> Verdict:
    """A verdict that closes the gate."""
    return Verdict(attack, "red", line, allowed=False)


def _missing(privacy: PrivacySection, name: str, suffix: str) -> list[Verdict]:
    """Red verdicts on evidence that there is not for one modality, whose entries end in ``suffix``."""
    verdicts = []
    if not isinstance(privacy.results.get(f"copies{suffix}"), CopiesResult):
        verdicts.append(red(f"copies/{name}", f"{name}: copies not counted, {NO_EVIDENCE}"))
    if not isinstance(privacy.results.get(f"disguised_copies{suffix}"), DisguisedCopiesResult):
        verdicts.append(red(f"disguised_copies/{name}", f"{name}: not searched for disguised copies, {NO_EVIDENCE}"))
    if not isinstance(privacy.results.get(f"pass_through{suffix}"), PassThroughResult):
        verdicts.append(red(f"pass_through/{name}", f"{name}: pass-through not measured, {NO_EVIDENCE}"))
    attacks = [privacy.results.get(key + suffix) for key, kind in KINDS.items() if kind.measures != "difference"]
    if not any(_threat(attack) and attack.auc is not None for attack in attacks):
        verdicts.append(red(f"attacks/{name}", f"{name}: membership not attacked, {NO_EVIDENCE}"))
    return verdicts


def _counting(privacy: PrivacySection, with_model: bool) -> PrivacySection:
    """The results that count: for data alone without what needs the critic, and without what needs the generator if
    there is an attack that does not; otherwise the latter is the evidence there is."""
    if with_model:
        return privacy
    threats = {_threat(result) for result in privacy.results.values()}
    stronger = {"W", "G"} if "S" in threats else {"W"}
    kept = {key: result for key, result in privacy.results.items() if _threat(result) not in stronger}
    return replace(privacy, results=kept)


def _threat(result: Result | None) -> str | None:
    """Threat model of an attack on membership; None of anything else."""
    return result.threat_model if isinstance(result, MembershipResult) and result.counts else None
