"""The gate's judgement on copies: plain ones, disguised ones, real pixels, and people who are recognised."""

from __future__ import annotations

from statistics import fmean, median

from mmgen.evaluation.privacy.attacks import noun
from mmgen.evaluation.privacy.findings import NO_EVIDENCE, Finding, compared, make_verdict, missing, percent, too_few
from mmgen.evaluation.privacy.results import (
    CopiesResult,
    DisguisedCopiesResult,
    Interval,
    PassThroughResult,
    RecognisedResult,
    Verdict,
)

# Copies of each kind that an audit must plant to know what it finds.
FEWEST_PLANTED = 3
DOUBTFUL = 5.0  # times the rate of false alarms, a chance below which is worth a warning
WIDEST = 0.1  # share, by which chance must be known where people may be recognised
WEAKEST = 3  # kinds of disguise that are named because hardly any are found
# Where no held-out record is a copy by ratio, one synthetic record is one too many, as it is by distance: in d
# dimensions chance makes one of 3^d, and none of 3,874 X-rays, lesions, brain slices and coughs was one of another
# person's (d: 13 to 45). Where some are, since a person or a file is on both sides or records have few dimensions, the
# synthetic ones must be more than chance gives as often as this (exact one-sided test of equal shares).
COPIES_BY_CHANCE = 0.01


def judge_copies(
    key: str, copies: CopiesResult, limits: tuple[int, int], share_limit: float, least: int
) -> list[Verdict]:
    """On exact and near copies (``limits``), on those by ratio (the second limit), and on the share closer to training,
    of at least ``least`` records."""
    things, suffix = noun(key), key[len("copies") :]
    verdicts = []
    for kind, count, limit in zip(("exact", "near"), (copies.exact, copies.near), limits, strict=True):
        title = f"{'near ' if kind == 'near' else ''}copies of {things}: "
        if count is None:
            finding = missing("not counted, which is no evidence that there are none")
        else:
            light = "red" if count > limit else "amber" if count > 0 else "green"
            of = "" if copies.of is None else f" of {copies.of:,.0f}"
            many = f"{count:,.0f}" if count else "none"
            words = f"is {'an exact' if kind == 'exact' else 'a near'} copy" if count == 1 else f"are {kind} copies"
            finding = Finding(light, f"{many}{of} synthetic {things} {words} of training {things}", count, limit)
        verdicts.append(make_verdict(f"{kind}_copies{suffix}", [finding], title))
    finding = _by_ratio(copies, limits[1], things)
    verdicts.append(make_verdict(f"copies_by_ratio{suffix}", [finding], f"copies by ratio of {things}: "))
    share = copies.share_closer_to_training
    title, closeness = f"closeness of {things}: ", f"share_closer_to_training{suffix}"
    if share is None:
        return [*verdicts, make_verdict(closeness, [missing(f"not measured, {NO_EVIDENCE}")], title)]
    words = f"{percent(share)} of the synthetic {things} are closer to a training than to a held-out record{{}}"
    findings = [compared(share, copies.share_closer_ci, share_limit, words, "; 50 % is ideal")]
    if copies.of is not None and copies.of < least:
        findings.append(too_few(copies.of, least, things))
    return [*verdicts, make_verdict(closeness, findings, title)]


def _by_ratio(copies: CopiesResult, limit: int, things: str) -> Finding:
    """How many there are, beside how many held-out records are one."""
    from scipy.stats import hypergeom

    count, of, others, of_others = copies.by_ratio, copies.of, copies.by_ratio_of_others, copies.of_others
    if None in (count, of, others, of_others) or not (0 <= count <= of and 0 <= others <= of_others):
        return missing(f"not counted, {NO_EVIDENCE}")
    many, known = (f"{number:,.0f}" if number else "none" for number in (count, others))
    verb = "lies" if count == 1 else "lie"
    text = (
        f"{many} of {of:,.0f} synthetic {things} {verb} three times nearer to a training record than to those of other "
    )
    text += f"people, of {of_others:,.0f} held-out ones {known}"
    if count <= limit or not others:
        return Finding("red" if count > limit else "amber" if count else "green", text, count, limit)
    p_value = float(hypergeom.sf(count - 1, of + of_others, count + others, of))
    if p_value > COPIES_BY_CHANCE:
        return Finding("amber", f"{text}, so that this may be chance (p = {p_value:.2g})", count)
    return Finding("red", f"{text} (p = {p_value:.2g})", count, limit)


def judge_pass_through(key: str, result: PassThroughResult, limit: float) -> Verdict:
    """On real pixels in the synthetic set."""
    share, things = result.share, noun(key)
    title = f"pass-through of {things}: "
    if share is None:
        return make_verdict(key, [missing(f"not measured, {NO_EVIDENCE}")], title)
    light = "red" if share > limit else "amber" if share > 0 else "green"
    part, verb = (f"{percent(share)} of the patches of", "are") if share > 0 else ("nothing of", "is")
    how = f" ({result.how})" if result.how else ""
    text = f"{part} synthetic {things} {verb} taken over from training {things}{how}"
    return make_verdict(key, [Finding(light, text, share, limit)], title)


def could_find(result: DisguisedCopiesResult, least_power: float) -> bool:
    """Whether a search could have found disguised copies: of those that it planted itself it found enough."""
    return bool(result.power) and _middle(result) >= least_power and (result.planted or 0) >= FEWEST_PLANTED


def judge_disguised(key: str, result: DisguisedCopiesResult, least_power: float, least: int) -> Verdict:
    """On disguised copies; ``least``: people by whose real records chances must be known."""
    things, findings = noun(key), []
    if result.note and result.found is None:
        why = missing(f"this audit could not have found disguised copies ({result.note})")
        return make_verdict(key, [why], f"disguised copies of {things}: ")
    if not could_find(result, least_power):
        if not result.power:
            why = "it planted none of its own"
        elif (result.planted or 0) < FEWEST_PLANTED:
            why = f"it planted {result.planted or 0:.0f} of each kind, at least {FEWEST_PLANTED} are needed"
        else:
            why = f"it finds {percent(_middle(result))} of its own, at least {percent(least_power)} are needed"
        findings.append(missing(f"this audit could not have found disguised copies ({why})"))
    findings.append(_found(result, things))
    if findings[-1].value is not None and (result.people or 0) < least:
        findings.append(too_few(result.people or 0, least, f"people to compare {things} of"))
    return make_verdict(key, findings, f"disguised copies of {things}: ")


def _found(result: DisguisedCopiesResult, things: str) -> Finding:
    """How many there are, beside how many by chance, how many of its own the audit finds, and how often it errs."""
    found, of, p_value, rate = result.found, result.of, result.p_value, result.false_alarm_rate
    if found is None or of is None or p_value is None or rate is None or not 0 < rate < 1 or p_value > 1:
        return missing(f"not searched for, {NO_EVIDENCE}")
    light = "red" if p_value <= rate else "amber" if p_value <= DOUBTFUL * rate or found > 0 else "green"
    many = f"{found:,.0f}" if found else "none"
    ends = "" if result.found_ci is None or not found else f" (exact 95 % interval {_ends(result.found_ci)})"
    words = "is a disguised copy" if found == 1 else "are disguised copies"
    text = f"{many} of {of:,.0f} synthetic {things}{ends} {words} of training {things}"
    if light == "red" and found:
        text += f" (p = {p_value:.2g})"
    elif light == "red":
        text = f"{of:,.0f} synthetic {things} as a whole are too much like training {things} (p = {p_value:.2g})"
    elif light == "amber":
        text = f"some of {of:,.0f} synthetic {things} may be, or this may be chance (p = {p_value:.2g})"
    if result.compared is not None and result.compared_found is not None:
        many = f"{result.compared_found:,.0f}" if result.compared_found else "none"
        verb = "is" if result.compared_found == 1 else "are"
        text += f", of {result.compared:,.0f} real {things} of other people {many} {verb} as much alike"
    if result.power:
        weakest = sorted(result.power.items(), key=lambda item: item[1])[:WEAKEST]
        named = ", ".join(f"{percent(share)} of '{kind}'" for kind, share in weakest)
        one = "" if result.power_alone is None else f", of one alone {percent(result.power_alone)}"
        power = f"{percent(_middle(result))} of its own where they are a twentieth of a set{one} (least: {named})"
        text += f"; this audit finds {power} and raises a false alarm on {percent(rate)} of innocent sets"
    # Of what may be chance no number is too high; an alarm closes the gate whatever is listed.
    return Finding(light, text, max(found, 1) if light == "red" else found, None if light == "amber" else 0)


def judge_recognised(key: str, result: RecognisedResult, limit: float) -> Verdict:
    """On people of the training data who are recognised more often than ``limit`` and than other people are."""
    things, share = noun(key), result.recognised
    title = f"people on {things}: " if things == "images" else f"people in {things}: "
    if share is None:
        unmeasured = missing(f"not searched for, {NO_EVIDENCE}")
        if result.note:
            unmeasured = Finding("amber", f"whether they are recognised could not be measured: {result.note}")
        return make_verdict(key, [unmeasured], title)
    low, high = result.recognised_ci or (share, share)
    others = 0.0 if result.others is None else result.others
    by_chance = max(others, (result.others_ci or (others, others))[1])
    unsure = by_chance - others > WIDEST and low > max(limit, others)
    limit = max(limit, by_chance)
    of = "" if result.of is None else f" of {result.of:,.0f} synthetic {things}"
    text = f"{percent(share)}{of} ({_ends((low, high))}) are taken for a person of the training data"
    if result.others is not None:
        text += f", of real ones of other people {percent(others)}"
        text += "" if result.others_ci is None else f" ({_ends(result.others_ci)})"
    findings = [Finding("green", text, low, limit)]
    if low > limit:
        findings = [Finding("red", f"{text}; allowed: lower end up to {percent(limit)}", low, limit)]
    elif unsure:
        findings = [missing(f"{text}, of whom there are too few to tell")]
    elif share > limit:
        findings = [Finding("amber", f"{text}; the interval is too wide to tell", share, limit)]
    if result.real is not None and result.real <= by_chance:
        findings.append(Finding("amber", "real records of these people are not recognised either", share, limit))
    return make_verdict(key, findings, title)


def _middle(result: DisguisedCopiesResult) -> float:
    """Median over kinds, of each the mean over its strengths, which stand behind a comma."""
    by_kind: dict[str, list[float]] = {}
    for name, share in (result.power or {}).items():
        by_kind.setdefault(name.partition(",")[0], []).append(share)
    return median(fmean(shares) for shares in by_kind.values())


def _ends(interval: Interval) -> str:
    return f"{100 * interval[0]:.2g} to {percent(interval[1])}"
