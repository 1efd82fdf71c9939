"""What a release needs of an audit: verdicts on all that counts, and evidence for every modality."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from mmgen.evaluation.privacy.gate import ATTACKS, BLIND, Thresholds, Verdict, judge

KINDS = frozenset((*ATTACKS, BLIND, "copies", "pass_through", "effort"))
"""Entries of a section ``privacy``, before the modality in their names."""
# Texts in it: threat models, feature spaces of this library, how pass-through is measured.
_TEXTS = re.compile(r"[WGS]|none|pixels|own|\d+ x \d+ patches equal to a training record's at the same place")
_NONE = "which is no evidence that nothing leaks"


def judged(
    record: Mapping[str, Any], thresholds: Thresholds, with_model: bool, modalities: Iterable[str]
) -> list[Verdict]:
    """Verdicts on all attacks that count for what is released, and red ones on evidence that is missing.

    Every modality must have been audited: counted copies, pass-through and an attack on membership with a result.

    Args:
        record: ``privacy.json`` of the audit, {} if there was none.
        with_model: whether a generator is released, which needs attacks on it too.
        modalities: names of those that are released.
    """
    privacy = _counting(record.get("privacy", {}), with_model)
    verdicts = judge(privacy, thresholds)
    if not record or verdicts[0].attack == "audit":
        return verdicts
    told = {verdict.attack for verdict in verdicts}
    for key, entry in privacy.items():
        if not isinstance(entry, Mapping) and key not in told:
            verdicts.append(red(key, f"{key}: gave no result, {_NONE}"))
    audited = record["of"].get("modalities")
    audited = audited if isinstance(audited, list) else []
    for name in modalities:
        if name in audited:
            verdicts += _missing(privacy, name, f"/{name}" if len(audited) > 1 else "")
        else:
            verdicts.append(red(f"audit/{name}", f"{name}: this modality is not audited; audit it too"))
    if with_model and not {_threat(entry) for entry in privacy.values()} & {"W", "G"}:
        verdicts.append(red("attacks", f"generator: not attacked, {_NONE}"))
    return verdicts


def presentable(record: Mapping[str, Any], modalities: Collection[str]) -> dict[str, Any]:
    """An audit whose verdicts may stand on cards: entries on other modalities and texts that are not known are left
    out."""
    privacy = {key: entry for key, entry in record.get("privacy", {}).items() if is_known(key, modalities)}
    for key, entry in privacy.items():
        if isinstance(entry, Mapping) and not is_known_text(str(entry.get("how"))):
            privacy[key] = {name: value for name, value in entry.items() if name != "how"}
    if "refused" in record.get("privacy", {}):
        privacy["refused"] = "no audit was possible"
    return {**record, "created": _time(record.get("created")), "privacy": privacy} if record else {}


def is_known(key: str, modalities: Collection[str]) -> bool:
    """Whether an entry of a section ``privacy`` is of a known kind and on one of these modalities or on tuples."""
    kind, slash, modality = key.partition("/")
    return kind in KINDS and (not slash or modality in (*modalities, "joint"))


def is_known_text(text: str) -> bool:
    """Whether a text of an audit is one that this library writes, such as the name of a network for features."""
    import timm

    if _TEXTS.fullmatch(text):
        return True
    name, at, digest = text.partition("@")
    architecture, dot, _ = name.partition(".")
    known = timm.is_model(architecture) and (not dot or name in timm.list_pretrained(f"{architecture}.*"))
    return known and (not at or re.fullmatch("[0-9a-f]{8}", digest) is not None)


def _time(text: Any) -> str | None:
    """An ISO time, None of anything else."""
    try:
        return datetime.fromisoformat(text).isoformat()
    except (TypeError, ValueError):
        return None


def red(attack: str, line: str) -> Verdict:
    """A verdict that closes the gate."""
    return Verdict(attack, "red", line, allowed=False)


def _missing(privacy: Mapping[str, Any], name: str, suffix: str) -> list[Verdict]:
    """Red verdicts on evidence that there is not for one modality, whose entries end in ``suffix``."""
    wanted = {"copies": "copies not counted", "pass_through": "pass-through not measured"}
    found = [
        red(f"{kind}/{name}", f"{name}: {words}, {_NONE}")
        for kind, words in wanted.items()
        if not _counts(privacy.get(kind + suffix))
    ]
    attacks = (privacy.get(kind + suffix) for kind in ATTACKS)
    if not any(_threat(entry) and _is_finite(entry["auc"]) for entry in attacks if _counts(entry) and "auc" in entry):
        found.append(red(f"attacks/{name}", f"{name}: membership not attacked, {_NONE}"))
    return found


def _counting(privacy: Mapping[str, Any], with_model: bool) -> dict[str, Any]:
    """The entries that count: for data alone without what needs the critic, and without what needs the generator if
    there is an attack that does not; otherwise the latter is the evidence there is."""
    if with_model:
        return dict(privacy)
    threats = {_threat(entry) for entry in privacy.values()}
    stronger = {"W", "G"} if "S" in threats else {"W"}
    return {key: entry for key, entry in privacy.items() if _threat(entry) not in stronger}


def _threat(entry: Any) -> str | None:
    """Threat model of an attack on membership; None of anything else."""
    return entry.get("threat_model") if _counts(entry) else None


def _counts(entry: Any) -> bool:
    return isinstance(entry, Mapping) and entry.get("counts") is not False


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
