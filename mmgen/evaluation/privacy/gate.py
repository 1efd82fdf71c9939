"""The judgement of a privacy audit: may what was audited be passed on?

Input is section "privacy" of a report. An interval decides, not a single number: an attack closes the gate when even
the lower end of its 95 % interval is above the threshold. A value that is above while its interval is not is said, but
does not close it. What was not measured is no evidence of anything, so it closes the gate too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from mmgen.errors import UserError
from mmgen.evaluation.privacy.attacks import KINDS, attack_name, noun
from mmgen.evaluation.privacy.record import EFFORT, PrivacySection
from mmgen.evaluation.privacy.results import (
    CopiesResult,
    EffortResult,
    Interval,
    Light,
    MembershipResult,
    NoResult,
    PassThroughResult,
    Verdict,
    is_number,
)

LIGHTS: tuple[Light, ...] = ("green", "amber", "red")
# An interval that reaches this far above the threshold is too wide to rule out a leak.
TOO_WIDE = 0.1
# A share of members that guessing gives more often than this does not close the gate: some ten attacks are tried, and
# hardly one audit of a hundred is to be closed by luck.
LUCK = 0.001
# Records below which nothing at all can be said.
FEWEST = 10
NO_EVIDENCE = "which is no evidence that nothing leaks"


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
        least_records: an attack on fewer members, or against fewer non-members, is no evidence that nothing leaks.

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
            if not is_number(value) or value < 0 or (field.name not in counts and value > 1):
                kind = "a count of 0 or more" if field.name in counts else "a share between 0 and 1"
                raise UserError(f"Threshold {field.name} is {kind}, not {value}.")


@dataclass(frozen=True)
class _Finding:
    light: Light
    text: str
    value: float | None = None
    threshold: float | None = None


def judge(privacy: PrivacySection, thresholds: Thresholds | None = None) -> list[Verdict]:
    """One verdict per attack, kind of copy, share and pass-through of section "privacy", in its order.

    Results with ``counts`` false do not measure membership and get none, but for the blind baseline: where members and
    non-members differ without any model, that is said. A section in which nothing can be judged, or that was refused,
    gives a single red or one more red verdict.
    """
    thresholds = thresholds or Thresholds()
    verdicts, differences = [], []
    for key, result in privacy.results.items():
        kind = KINDS.get(key.partition("/")[0])
        difference = kind is not None and kind.measures == "difference"
        if isinstance(result, NoResult):
            if kind is not None and not difference:
                verdicts.append(_no_result(key))
        elif isinstance(result, EffortResult):
            if result.fast:
                text = "the attacks were short; audit in full before a release"
                differences.append(_verdict(EFFORT, [_Finding("amber", text)], "effort: "))
        elif isinstance(result, CopiesResult):
            verdicts += _judge_copies(key, result, thresholds)
        elif isinstance(result, PassThroughResult):
            verdicts.append(_judge_pass_through(key, result, thresholds))
        elif difference:
            differences.append(_judge_difference(key, result))
        elif result.counts:
            verdicts.append(_judge_attack(key, result, thresholds))
    if privacy.refused is not None:
        verdicts.append(_verdict("audit", [_Finding("red", f"not audited: {privacy.refused}")]))
    if not verdicts:
        verdicts = [_verdict("audit", [_Finding("red", "not audited: no attack has been run")])]
    return verdicts + differences


def opens(verdicts: Sequence[Verdict]) -> bool:
    """Whether what was judged may be passed on: there is a verdict and none is red."""
    return bool(verdicts) and all(verdict.allowed for verdict in verdicts)


def worst(lights: Sequence[Light]) -> Light:
    """The worst of several lights, green if there is none."""
    return max(lights, key=LIGHTS.index, default="green")


def _judge_attack(key: str, result: MembershipResult, thresholds: Thresholds) -> Verdict:
    if result.auc is None:
        return _no_result(key)
    auc, limit = result.auc, thresholds.mia_auc
    low, high = result.auc_ci or (auc, auc)
    light: Light = "amber"
    if low > limit:
        light, text = "red", f"members can be told from others (allowed: lower end up to {limit:g})"
    elif auc > limit:
        low, text = auc, "members may be told from others, the interval is too wide to tell"
    elif high < 1 - limit:
        text = "the order is reversed: read the other way round, the scores tell members from others"
    elif high > limit + TOO_WIDE:
        text = "members were not told from others, but the interval is wide"
    else:
        light, text = "green", "members cannot be told from others"
    findings = [_Finding(light, text, low, limit)]
    known = [n for n in (result.n_members, result.n_non_members) if n is not None]
    fewest = min(known, default=0)
    if fewest < thresholds.least_records:
        few = f"too few records for evidence ({fewest:.0f}, at least {thresholds.least_records} are needed)"
        light = "red" if fewest < min(FEWEST, thresholds.least_records) else "amber"
        findings.append(_Finding(light, few, low, limit))
    if (tpr := result.tpr_at_1_fpr) is None:
        findings.append(_Finding("red", "how many members are found at 1 % false alarms is not known"))
    else:
        words = f"at 1 % false alarms {_percent(tpr)} of the members are found{{}}"
        luck = len(known) == 2 and _by_luck(tpr, *known) > LUCK
        findings.append(_compared(tpr, result.tpr_at_1_fpr_ci, thresholds.tpr_at_1_fpr, words, "", luck))
    return _verdict(key, findings, _title(key, result))


def _no_result(key: str) -> Verdict:
    return _verdict(key, [_Finding("red", f"{attack_name(key)}: gave no result, {NO_EVIDENCE}")])


def _title(key: str, result: MembershipResult) -> str:
    ends = "" if result.auc_ci is None else f" ({result.auc_ci[0]:.2f} to {result.auc_ci[1]:.2f})"
    return f"{attack_name(key)}: AUC {result.auc:.2f}{ends}: "


def _by_luck(tpr: float, members: int, non_members: int) -> float:
    """How often at least this share of the members is found at 1 % false alarms although nothing leaks.

    A share t of n members is above all but k = 1 % of the non-members where at most k of these are among the t n + k
    highest scores of all: a hypergeometric probability. Resampling does not show it: it draws no higher non-member.
    """
    from scipy.stats import hypergeom

    allowed = int(0.01 * non_members)
    return float(hypergeom.cdf(allowed, members + non_members, non_members, round(min(tpr, 1.0) * members) + allowed))


def _judge_difference(key: str, result: MembershipResult) -> Verdict:
    """Whether both sides can be told apart by who knows nothing of the model; this closes no gate."""
    if result.auc is None:
        return _verdict(key, [_Finding("amber", f"{attack_name(key)}: not compared")])
    low, _ = result.auc_ci or (result.auc, result.auc)
    finding = _Finding("green", "members and others are alike", low, 0.5)
    if low > 0.5:
        text = (
            "members and others differ anyway, so that attacks may have found that difference and not membership; take "
            "non-members from where the members come from"
        )
        finding = _Finding("amber", text, low, 0.5)
    return _verdict(key, [finding], _title(key, result))


def _judge_copies(key: str, copies: CopiesResult, thresholds: Thresholds) -> list[Verdict]:
    things, suffix = noun(key), key[len("copies") :]
    verdicts = []
    counted = (("exact", copies.exact, thresholds.exact_copies), ("near", copies.near, thresholds.near_copies))
    for kind, count, limit in counted:
        title = f"{'near ' if kind == 'near' else ''}copies of {things}: "
        if count is None:
            finding = _Finding("red", "not counted, which is no evidence that there are none")
        else:
            light = "red" if count > limit else "amber" if count > 0 else "green"
            of = "" if copies.of is None else f" of {copies.of:,.0f}"
            many = f"{count:,.0f}" if count else "none"
            words = f"is {'an exact' if kind == 'exact' else 'a near'} copy" if count == 1 else f"are {kind} copies"
            finding = _Finding(light, f"{many}{of} synthetic {things} {words} of training {things}", count, limit)
        verdicts.append(_verdict(f"{kind}_copies{suffix}", [finding], title))
    share, limit = copies.share_closer_to_training, thresholds.share_closer_to_training
    title, closeness = f"closeness of {things}: ", f"share_closer_to_training{suffix}"
    if share is None:
        return [*verdicts, _verdict(closeness, [_Finding("red", f"not measured, {NO_EVIDENCE}")], title)]
    words = f"{_percent(share)} of the synthetic {things} are closer to a training than to a held-out record{{}}"
    findings = [_compared(share, copies.share_closer_ci, limit, words, "; 50 % is ideal")]
    if copies.of is not None and copies.of < thresholds.least_records:
        few = f"too few {things} for evidence ({copies.of:.0f}, at least {thresholds.least_records} are needed)"
        findings.append(_Finding("amber", few, share, limit))
    return [*verdicts, _verdict(closeness, findings, title)]


def _judge_pass_through(key: str, result: PassThroughResult, thresholds: Thresholds) -> Verdict:
    share, limit, things = result.share, thresholds.pass_through, noun(key)
    title = f"pass-through of {things}: "
    if share is None:
        return _verdict(key, [_Finding("red", f"not measured, {NO_EVIDENCE}")], title)
    light: Light = "red" if share > limit else "amber" if share > 0 else "green"
    part, verb = (f"{_percent(share)} of the patches of", "are") if share > 0 else ("nothing of", "is")
    compared = f" ({result.how})" if result.how else ""
    text = f"{part} synthetic {things} {verb} taken over from training {things}{compared}"
    return _verdict(key, [_Finding(light, text, share, limit)], title)


def _compared(
    value: float, interval: Interval | None, limit: float, words: str, ideal: str, luck: bool = False
) -> _Finding:
    """A share against its limit; ``words`` with a place for the interval, ``ideal`` is added when it is low enough,
    ``luck``: a value this high may come by chance, whatever its interval."""
    low, high = interval or (value, value)  # a value without an interval is judged as if it were certain
    ends = f" ({100 * low:.0f} to {_percent(high)}" if low < high else " ("
    allowed = f"{ends}{'; ' if low < high else ''}allowed: up to {_percent(limit)})"
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


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.1 else f"{100 * share:.2g} %"
