"""The judgement of a privacy audit: may what was audited be passed on?

Input is section "privacy" of a report. An interval decides, not a single number: an attack closes the gate when even
the lower end of its 95 % interval is above the threshold. A value that is above while its interval is not is said, but
does not close it. What was not measured, was measured on too few records or in a hurry, or by a search that would not
have found what it sought, is no evidence of anything, so it closes the gate too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from mmgen.errors import UserError
from mmgen.evaluation.privacy.attacks import KINDS, attack_name
from mmgen.evaluation.privacy.findings import (
    LIGHTS,
    NO_EVIDENCE,
    Finding,
    compared,
    make_verdict,
    missing,
    percent,
    too_few,
)
from mmgen.evaluation.privacy.gate_copies import (
    could_find,
    judge_copies,
    judge_disguised,
    judge_pass_through,
    judge_recognised,
)
from mmgen.evaluation.privacy.record import EFFORT, PrivacySection
from mmgen.evaluation.privacy.results import (
    CopiesResult,
    DisguisedCopiesResult,
    EffortResult,
    Light,
    MembershipResult,
    NoResult,
    PassThroughResult,
    RecognisedResult,
    Verdict,
    is_number,
)

# An interval that reaches this far above the threshold is too wide to rule out a leak.
TOO_WIDE = 0.1
# A share of members that guessing gives more often than this does not close the gate: some ten attacks are tried, and
# hardly one audit of a hundred is to be closed by luck.
LUCK = 0.001
SHORT = "the attacks were short; audit in full before a release (mmgen audit without --fast, --out RUN/audit)"


@dataclass(frozen=True)
class Thresholds:
    """What an audit may show at most for the gate to open.

    Attributes:
        mia_auc: AUC of a membership attack, 0..1, compared with the lower end of its 95 % interval.
        tpr_at_1_fpr: share of members found at 1 % false alarms, 0..1, compared like the AUC.
        exact_copies, near_copies: synthetic records that are copies of training records; as many as near ones may be
            copies by ratio.
        share_closer_to_training: share of synthetic records that are closer to a training than to a held-out record,
            0..1, compared like the AUC.
        pass_through: share of synthetic records that is taken over from training records as it is, 0..1.
        recognised: share of synthetic records that are taken for a person of the training data, 0..1, compared like the
            AUC; the share of other people who are is allowed too.
        least_records: an attack on fewer members, or against fewer non-members, closes the gate, and so do fewer
            synthetic records, or fewer records of other people to search for disguised copies by.
        least_power: share of disguised copies, 0..1, that an audit must find of its own in the median of their kinds.

    Raises:
        UserError: a share outside 0..1 or a negative count.
    """

    mia_auc: float = 0.55
    tpr_at_1_fpr: float = 0.03
    exact_copies: int = 0
    near_copies: int = 0
    share_closer_to_training: float = 0.55
    pass_through: float = 0.0
    recognised: float = 0.03
    least_records: int = 30
    least_power: float = 0.5

    def __post_init__(self) -> None:
        counts = ("exact_copies", "near_copies", "least_records")
        for field in fields(self):
            value = getattr(self, field.name)
            if not is_number(value) or value < 0 or (field.name not in counts and value > 1):
                kind = "a count of 0 or more" if field.name in counts else "a share between 0 and 1"
                raise UserError(f"Threshold {field.name} is {kind}, not {value}.")


def judge(privacy: PrivacySection, thresholds: Thresholds | None = None) -> list[Verdict]:
    """One verdict per attack, kind of copy, share and pass-through of section "privacy", in its order; a search for
    disguised copies that could not have found any comes first, how hard the attacks tried last.

    Results with ``counts`` false do not measure membership and get none, but for the blind baseline: where members and
    non-members differ without any model, that is said. A section in which nothing can be judged, or that was refused,
    gives a single red or one more red verdict.
    """
    thresholds = thresholds or Thresholds()
    least = thresholds.least_records
    first, verdicts, last = [], [], []
    for key, result in privacy.results.items():
        kind = KINDS.get(key.partition("/")[0])
        difference = kind is not None and kind.measures == "difference"
        if isinstance(result, NoResult):
            if kind is not None and not difference:
                verdicts.append(_no_result(key))
        elif isinstance(result, EffortResult):
            if result.fast is not False:
                last.append(make_verdict(EFFORT, [missing(SHORT)], "effort: "))
        elif isinstance(result, CopiesResult):
            limits = thresholds.exact_copies, thresholds.near_copies
            verdicts += judge_copies(key, result, limits, thresholds.share_closer_to_training, least)
        elif isinstance(result, DisguisedCopiesResult):
            placed = verdicts if could_find(result, thresholds.least_power) else first
            placed.append(judge_disguised(key, result, thresholds.least_power, least))
        elif isinstance(result, RecognisedResult):
            verdicts.append(judge_recognised(key, result, thresholds.recognised))
        elif isinstance(result, PassThroughResult):
            verdicts.append(judge_pass_through(key, result, thresholds.pass_through))
        elif difference:
            last.append(_judge_difference(key, result))
        elif result.counts:
            verdicts.append(_judge_attack(key, result, thresholds))
    if privacy.refused is not None:
        verdicts.append(make_verdict("audit", [missing(f"not audited: {privacy.refused}")]))
    if not first + verdicts:
        verdicts = [make_verdict("audit", [missing("not audited: no attack has been run")])]
    return first + verdicts + last


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
    findings = [Finding(light, text, low, limit)]
    known = [n for n in (result.n_members, result.n_non_members) if n is not None]
    fewest = min(known, default=0)
    if fewest < thresholds.least_records:
        findings.append(too_few(fewest, thresholds.least_records))
    if (tpr := result.tpr_at_1_fpr) is None:
        findings.append(missing("how many members are found at 1 % false alarms is not known"))
    else:
        words = f"at 1 % false alarms {percent(tpr)} of the members are found{{}}"
        luck = len(known) == 2 and _by_luck(tpr, *known) > LUCK
        findings.append(compared(tpr, result.tpr_at_1_fpr_ci, thresholds.tpr_at_1_fpr, words, "", luck))
    return make_verdict(key, findings, _title(key, result))


def _no_result(key: str) -> Verdict:
    return make_verdict(key, [missing(f"{attack_name(key)}: gave no result, {NO_EVIDENCE}")])


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
        return make_verdict(key, [Finding("amber", f"{attack_name(key)}: not compared")])
    low, _ = result.auc_ci or (result.auc, result.auc)
    finding = Finding("green", "members and others are alike", low, 0.5)
    if low > 0.5:
        text = (
            "members and others differ anyway, so that attacks may have found that difference and not membership; take "
            "non-members from where the members come from"
        )
        finding = Finding("amber", text, low, 0.5)
    return make_verdict(key, [finding], _title(key, result))
