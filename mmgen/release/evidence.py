"""What a release needs of an audit: verdicts on all that counts, and evidence for every modality."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mmgen.evaluation.privacy.attacks import KINDS
from mmgen.evaluation.privacy.gate import NO_EVIDENCE, Thresholds, Verdict, judge
from mmgen.evaluation.privacy.record import AuditRecord, PrivacySection
from mmgen.evaluation.privacy.results import CopiesResult, MembershipResult, NoResult, PassThroughResult, Result


def judged(
    record: AuditRecord | None, thresholds: Thresholds, with_model: bool, modalities: Iterable[str]
) -> list[Verdict]:
    """Verdicts on all attacks that count for what is released, and red ones on evidence that is missing.

    Every modality must have been audited: counted copies, pass-through and an attack on membership with a result.

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
    if with_model and not {_threat(result) for result in privacy.results.values()} & {"W", "G"}:
        verdicts.append(red("attacks", f"generator: not attacked, {NO_EVIDENCE}"))
    return verdicts


def red(attack: str, line: str) -> Verdict:
    """A verdict that closes the gate."""
    return Verdict(attack, "red", line, allowed=False)


def _missing(privacy: PrivacySection, name: str, suffix: str) -> list[Verdict]:
    """Red verdicts on evidence that there is not for one modality, whose entries end in ``suffix``."""
    verdicts = []
    if not isinstance(privacy.results.get(f"copies{suffix}"), CopiesResult):
        verdicts.append(red(f"copies/{name}", f"{name}: copies not counted, {NO_EVIDENCE}"))
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
