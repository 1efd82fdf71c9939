"""What speaks for or against a release, in words, and the verdict that is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmgen.evaluation.privacy.results import Interval, Light, Verdict

LIGHTS: tuple[Light, ...] = ("green", "amber", "red")
NO_EVIDENCE = "which is no evidence that nothing leaks"


@dataclass(frozen=True)
class Finding:
    """One of the reasons for a verdict.

    Attributes:
        light, text, value, threshold: as in :class:`Verdict`.
        unknown: it says how little is known, and not what leaks.
    """

    light: Light
    text: str
    value: float | None = None
    threshold: float | None = None
    unknown: bool = False


def missing(text: str) -> Finding:
    """Red, because something is not known."""
    return Finding("red", text, unknown=True)


def too_few(count: float, least: int, things: str = "records") -> Finding:
    """Red, because there are fewer than ``least`` records."""
    return missing(f"too few {things} for evidence ({count:,.0f}, at least {least} are needed)")


def make_verdict(key: str, findings: Sequence[Finding], title: str = "") -> Verdict:
    """All that speaks against, worst first, or the first finding if nothing does; the worst one gives the numbers."""
    by_weight = sorted(findings, key=lambda finding: LIGHTS.index(finding.light), reverse=True)
    # Of what closes the gate a leak says more than what is not known.
    closing = [finding for finding in by_weight if finding.light == "red" and not finding.unknown]
    deciding = [*closing, *by_weight][0]
    said = [finding.text for finding in by_weight if finding.light != "green"] or [findings[0].text]
    value, limit = deciding.value, deciding.threshold
    excess = max(0.0, float(value - limit)) if value is not None and limit is not None else 0.0
    unknown = deciding.light == "red" and not closing
    return Verdict(key, deciding.light, title + "; ".join(said), deciding.light != "red", value, limit, excess, unknown)


def compared(
    value: float, interval: Interval | None, limit: float, words: str, ideal: str, luck: bool = False
) -> Finding:
    """A share against its limit; ``words`` with a place for the interval, ``ideal`` is added when it is low enough,
    ``luck``: a value this high may come by chance, whatever its interval."""
    low, high = interval or (value, value)  # a value without an interval is judged as if it were certain
    ends = f" ({100 * low:.0f} to {percent(high)}" if low < high else " ("
    allowed = f"{ends}{'; ' if low < high else ''}allowed: up to {percent(limit)})"
    if low > limit and not luck:
        return Finding("red", words.format(allowed), low, limit)
    if value > limit:
        why = "which may be chance with so few others" if luck else "the interval is too wide to tell"
        return Finding("amber", f"{words.format(allowed)}, {why}", value, limit)
    told = f"{ends}{ideal})" if low < high else f" ({ideal[2:]})" if ideal else ""
    return Finding("green", words.format(told), value, limit)


def percent(share: float) -> str:
    """A share in words: "12 %", of less than a tenth with two digits."""
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.1 else f"{100 * share:.2g} %"
