"""The judgement of a privacy audit: may what was audited be passed on?

Input is section "privacy" of a report. An interval decides, not a single number: an attack closes the gate when even
the lower end of its 95 % interval is above the threshold. A value that is above while its interval is not is said, but
does not close it. What was not measured is no evidence of anything, so it closes the gate too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Literal

from mmgen.errors import UserError

Light = Literal["green", "amber", "red"]
LIGHTS: tuple[Light, ...] = ("green", "amber", "red")
# An interval that reaches this far above the threshold is too wide to rule out a leak.
TOO_WIDE = 0.1
# A share of members that chance gives more often than this does not close the gate: some ten attacks are tried, and
# hardly one audit of a hundred is to be closed by luck.
LUCK = 0.001
ATTACKS = {
    "logan_white_box": "LOGAN, white box",
    "logan_white_box_paper": "LOGAN, white box, as in the paper",
    "logan_black_box": "LOGAN, black box",
    "logan_black_box_paper": "LOGAN, black box, as in the paper",
    "closest_record": "closest record",
    "closest_record_features": "closest record, by features",
    "domias": "DOMIAS",
    "reconstruction": "reconstruction error",
}
BLIND = "blind_baseline"
# Records below which nothing at all can be said.
FEWEST = 10
NOUNS = {"": "records", "image": "images", "audio": "sounds", "joint": "tuples"}


@dataclass(frozen=True)
class Thresholds:
    """What an audit may show at most for the gate to open.

    Attributes:
        mia_auc: AUC of a membership attack, 0..1, compared with the lower end of its 95 % interval.
        tpr_at_1_fpr: share of members found at 1 % false alarms, 0..1, compared like the AUC.
        exact_copies, near_copies: synthetic records that are copies of training records.
        share_closer_to_training: share of synthetic records that are closer to a training than to a held-out record,
            0..1, compared like the AUC.
        pass_through: share of synthetic records that is taken over from training records as it is, 0..1.
        least_records: an attack on fewer members, or against fewer others, is no evidence that nothing leaks.

    Raises:
        UserError: a share outside 0..1 or a negative count.
    """

    mia_auc: float = 0.55
    tpr_at_1_fpr: float = 0.03
    exact_copies: int = 0
    near_copies: int = 0
    share_closer_to_training: float = 0.55
    pass_through: float = 0.0
    least_records: int = 30

    def __post_init__(self) -> None:
        counts = ("exact_copies", "near_copies", "least_records")
        for field in fields(self):
            value = getattr(self, field.name)
            if not _is_number(value) or value < 0 or (field.name not in counts and value > 1):
                kind = "a count of 0 or more" if field.name in counts else "a share between 0 and 1"
                raise UserError(f"Threshold {field.name} is {kind}, not {value}.")


@dataclass(frozen=True)
class Verdict:
    """What one entry of an audit says.

    Attributes:
        attack: key of the entry, such as "domias/image"; entry "copies/image" gives "exact_copies/image",
            "near_copies/image" and "share_closer_to_training/image"; "audit" if the audit as a whole is missing.
        light: "green": nothing found; "amber": allowed, but to be known; "red": too much leaks.
        line: one line of plain words for a terminal or a page.
        allowed: whether the gate stays open, false for red.
        value: the number that was compared (of an attack that is judged red: the lower end of its interval); None if
            there is none.
        threshold: what it was compared with.
        excess: how far ``value`` is above ``threshold``, 0 if it is not.
    """

    attack: str
    light: Light
    line: str
    allowed: bool
    value: float | None = None
    threshold: float | None = None
    excess: float = 0.0


@dataclass(frozen=True)
class _Finding:
    light: Light
    text: str
    value: float | None = None
    threshold: float | None = None


def judge(privacy: Mapping[str, Any], thresholds: Thresholds | None = None) -> list[Verdict]:
    """One verdict per attack, kind of copy, share and pass-through of section "privacy", in its order.

    Entries with ``"counts": False`` do not measure membership and get none, but for the blind baseline: where members
    and others differ without any model, that is said. A section in which nothing can be
    judged, or that says ``{"refused": reason}``, gives a single red or one more red verdict.
    """
    thresholds = thresholds or Thresholds()
    verdicts, differences = [], []
    for key, entry in privacy.items():
        kind = key.partition("/")[0]
        if kind == BLIND and isinstance(entry, Mapping):
            differences.append(_judge_difference(key, entry))
        elif kind == "refused":
            verdicts.append(_verdict("audit", [_Finding("red", f"not audited: {entry}")]))
        elif kind == "effort":
            if isinstance(entry, Mapping) and entry.get("fast"):
                text = "the attacks were short; audit in full before a release"
                differences.append(_verdict(key, [_Finding("amber", text)], "effort: "))
        elif not isinstance(entry, Mapping):
            if kind not in (*ATTACKS, "copies", "pass_through"):
                continue
            text = f"{attack_name(key)}: gave no result, which is no evidence that nothing leaks"
            verdicts.append(_verdict(key, [_Finding("red", text)]))
        elif entry.get("counts") is False:
            continue
        elif kind == "copies":
            verdicts += _judge_copies(key, entry, thresholds)
        elif kind == "pass_through":
            verdicts.append(_judge_pass_through(key, entry, thresholds))
        elif "auc" in entry or kind in ATTACKS:
            verdicts.append(_judge_attack(key, entry, thresholds))
    if not verdicts:
        verdicts = [_verdict("audit", [_Finding("red", "not audited: no attack has been run")])]
    return verdicts + differences


def opens(verdicts: Sequence[Verdict]) -> bool:
    """Whether what was judged may be passed on: there is a verdict and none is red."""
    return bool(verdicts) and all(verdict.allowed for verdict in verdicts)


def worst(lights: Sequence[Light]) -> Light:
    """The worst of several lights, green if there is none."""
    return max(lights, key=LIGHTS.index, default="green")


def attack_name(key: str) -> str:
    """Readable name of an entry: "DOMIAS" for "domias", "DOMIAS, images" for "domias/image"."""
    kind, _, modality = key.partition("/")
    name = (ATTACKS | {BLIND: "both sides without the model"}).get(kind, kind.replace("_", " "))
    return f"{name}, {noun(key)}" if modality else name


def noun(key: str) -> str:
    """What the records of an entry are called: "images" for "copies/image", "records" without a modality."""
    modality = key.partition("/")[2]
    return NOUNS.get(modality, f"{modality} records")


def _judge_attack(key: str, entry: Mapping[str, Any], thresholds: Thresholds) -> Verdict:
    name, auc = attack_name(key), entry.get("auc")
    if not _is_number(auc):
        return _verdict(key, [_Finding("red", f"{name}: gave no result, which is no evidence that nothing leaks")])
    findings = [_judge_auc(entry, thresholds)]
    fewest = min((entry[n] for n in ("n_members", "n_non_members") if _is_number(entry.get(n))), default=0)
    if fewest < thresholds.least_records:
        few = f"too few records for evidence ({fewest:.0f}, at least {thresholds.least_records} are needed)"
        light: Light = "red" if fewest < min(FEWEST, thresholds.least_records) else "amber"
        findings.append(_Finding(light, few, findings[0].value, thresholds.mia_auc))
    if not _is_number(tpr := entry.get("tpr_at_1_fpr")):
        findings.append(_Finding("red", "how many members are found at 1 % false alarms is not known"))
    else:
        words = f"at 1 % false alarms {_percent(tpr)} of the members are found{{}}"
        luck = _by_chance(tpr, entry.get("n_members"), entry.get("n_non_members")) > LUCK
        findings.append(_compared(tpr, entry.get("tpr_at_1_fpr_ci"), thresholds.tpr_at_1_fpr, words, "", luck))
    return _verdict(key, findings, f"{name}: AUC {auc:.2f}{_interval(entry.get('auc_ci'))}: ")


def _by_chance(tpr: float, members: Any, others: Any) -> float:
    """How often at least this share of the members is found at 1 % false alarms although nothing leaks.

    A share t of n members is above all but k = 1 % of the others where at most k others are among the t n + k highest
    scores of all: a hypergeometric chance. Resampling does not show it: it never draws a higher other.
    """
    from scipy.stats import hypergeom

    if not (_is_number(members) and _is_number(others)):
        return 0.0
    allowed = int(0.01 * others)
    return float(hypergeom.cdf(allowed, members + others, others, round(tpr * members) + allowed))


def _judge_difference(key: str, entry: Mapping[str, Any]) -> Verdict:
    """Whether members and others can be told apart by who knows nothing of the model; this closes no gate."""
    auc, limit = entry.get("auc"), 0.5
    name = attack_name(key)
    if not _is_number(auc):
        return _verdict(key, [_Finding("amber", f"{name}: not compared")])
    low, _ = _ends(entry.get("auc_ci"), auc)
    text = (
        "members and others are alike"
        if low <= limit
        else (
            "members and others differ anyway, so that attacks may have found that difference and not membership; take "
            "non-members from where the members come from"
        )
    )
    light: Light = "green" if low <= limit else "amber"
    return _verdict(
        key, [_Finding(light, text, low, limit)], f"{name}: AUC {auc:.2f}{_interval(entry.get('auc_ci'))}: "
    )


def _judge_auc(entry: Mapping[str, Any], thresholds: Thresholds) -> _Finding:
    auc, limit = entry["auc"], thresholds.mia_auc
    low, high = _ends(entry.get("auc_ci"), auc)
    if low > limit:
        text = f"members can be told from others (allowed: lower end up to {limit:g})"
        return _Finding("red", text, low, limit)
    if auc > limit:
        return _Finding("amber", "members may be told from others, the interval is too wide to tell", auc, limit)
    if high < 1 - limit:
        text = "the order is reversed: read the other way round, the scores tell members from others"
        return _Finding("amber", text, low, limit)
    if high > limit + TOO_WIDE:
        return _Finding("amber", "members were not told from others, but the interval is wide", low, limit)
    return _Finding("green", "members cannot be told from others", low, limit)


def _judge_copies(key: str, entry: Mapping[str, Any], thresholds: Thresholds) -> list[Verdict]:
    things, suffix = noun(key), key[len("copies") :]
    verdicts = []
    for kind, limit in (("exact", thresholds.exact_copies), ("near", thresholds.near_copies)):
        count, whole = entry.get(kind), entry.get("of")
        title = f"{'near ' if kind == 'near' else ''}copies of {things}: "
        if not _is_number(count):
            found = _Finding("red", "not counted, which is no evidence that there are none")
        else:
            light = "red" if count > limit else "amber" if count > 0 else "green"
            of = f" of {whole:,.0f}" if _is_number(whole) else ""
            many = f"{count:,.0f}" if count else "none"
            copies = f"is {'an exact' if kind == 'exact' else 'a near'} copy" if count == 1 else f"are {kind} copies"
            text = f"{many}{of} synthetic {things} {copies} of training {things}"
            found = _Finding(light, text, count, limit)
        verdicts.append(_verdict(f"{kind}_copies{suffix}", [found], title))
    return [*verdicts, _judge_share(suffix, things, entry, thresholds)]


def _judge_share(suffix: str, things: str, entry: Mapping[str, Any], thresholds: Thresholds) -> Verdict:
    share, limit = entry.get("share_closer_to_training"), thresholds.share_closer_to_training
    title = f"closeness of {things}: "
    key = f"share_closer_to_training{suffix}"
    if not _is_number(share):
        return _verdict(key, [_Finding("red", "not measured, which is no evidence that nothing leaks")], title)
    words = f"{_percent(share)} of the synthetic {things} are closer to a training than to a held-out record{{}}"
    findings = [_compared(share, entry.get("share_closer_ci"), limit, words, "; 50 % is ideal")]
    count = entry.get("of")
    if _is_number(count) and count < thresholds.least_records:
        few = f"too few {things} for evidence ({count:.0f}, at least {thresholds.least_records} are needed)"
        findings.append(_Finding("amber", few, share, limit))
    return _verdict(key, findings, title)


def _judge_pass_through(key: str, entry: Mapping[str, Any], thresholds: Thresholds) -> Verdict:
    share, limit, things = entry.get("share"), thresholds.pass_through, noun(key)
    title = f"pass-through of {things}: "
    how = f" ({entry['how']})" if entry.get("how") else ""
    if not _is_number(share):
        return _verdict(key, [_Finding("red", "not measured, which is no evidence that nothing leaks")], title)
    light: Light = "red" if share > limit else "amber" if share > 0 else "green"
    part = f"{_percent(share)} of the patches" if share > 0 else "nothing"
    verb = "are" if share > 0 else "is"
    return _verdict(
        key,
        [_Finding(light, f"{part} of synthetic {things} {verb} taken over from training {things}{how}", share, limit)],
        title,
    )


def _compared(value: float, interval: Any, limit: float, words: str, ideal: str, luck: bool = False) -> _Finding:
    """A share against its limit; ``words`` with a place for the interval, ``ideal`` is added when it is low enough,
    ``luck``: a value this high may come by chance, whatever its interval."""
    low, high = _ends(interval, value)
    ends = f" ({100 * low:.0f} to {_percent(high)}" if low < high else " ("
    joined = "; " if low < high else ""
    allowed = f"{ends}{joined}allowed: up to {_percent(limit)})"
    if low > limit and not luck:
        return _Finding("red", words.format(allowed), low, limit)
    if value > limit:
        why = "which may be chance with so few others" if luck else "the interval is too wide to tell"
        return _Finding("amber", f"{words.format(allowed)}, {why}", value, limit)
    told = f"{ends}{ideal})" if low < high else f" ({ideal[2:]})" if ideal else ""
    return _Finding("green", words.format(told), value, limit)


def _verdict(key: str, findings: list[_Finding], title: str = "") -> Verdict:
    """All that speaks against, worst first, or the first finding if nothing does; the worst one gives the numbers."""
    by_weight = sorted(findings, key=lambda finding: LIGHTS.index(finding.light), reverse=True)
    deciding = by_weight[0]
    said = [finding.text for finding in by_weight if finding.light != "green"] or [findings[0].text]
    value, limit = deciding.value, deciding.threshold
    excess = max(0.0, float(value - limit)) if value is not None and limit is not None else 0.0
    return Verdict(key, deciding.light, title + "; ".join(said), deciding.light != "red", value, limit, excess)


def _ends(interval: Any, value: float) -> tuple[float, float]:
    """Both ends of an interval; the value itself where there is none, which judges it as if it were certain."""
    if isinstance(interval, Sequence) and len(interval) == 2 and all(map(_is_number, interval)):
        return float(interval[0]), float(interval[1])
    return float(value), float(value)


def _interval(interval: Any) -> str:
    low, high = _ends(interval, math.nan)
    return "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.1 else f"{100 * share:.2g} %"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
