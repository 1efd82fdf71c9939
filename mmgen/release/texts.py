"""Texts of a release: the privacy section of cards, the README at its top, the audit that goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmgen.evaluation.privacy.gate import Thresholds, Verdict
from mmgen.evaluation.privacy.record import AuditRecord


@dataclass(frozen=True)
class Override:
    """Who releases against the audit, why, and when (ISO date)."""

    name: str
    because: str
    date: str


def privacy_section(
    verdicts: Sequence[Verdict], audited: str | None, override: Override | None = None, pixels: str = ""
) -> str:
    """Markdown for cards: what the audit found, and that it was overridden, if it was.

    Args:
        audited: ISO time of the audit; None if there was none.
        pixels: a further line, of what lets real pixels through (:func:`mmgen.artifacts.cards.pixels_line`).
    """
    lines = "\n".join([*(f"* {verdict.light}: {verdict.line}" for verdict in verdicts), *filter(None, [pixels])])
    when = f"Audited on {audited[:10]}." if audited else "Not audited."
    text = f"## Privacy\n\n{when}\n\n{lines}\n\nAn audit finds leaks; it cannot prove that there are none.\n"
    if override is None:
        return text
    failed = "\n".join(f"* {verdict.line}" for verdict in verdicts if not verdict.allowed)
    return (
        f"{text}\n## Released against the audit\n\nReleased by {override.name} on {override.date}, although the audit "
        f"did not allow it, because: {override.because}\n\n{failed}\n"
    )


def top_readme(model: bool, data_sets: Sequence[str], section: str) -> str:
    """README at the top of a release.

    Args:
        data_sets: their folders, relative to the release.
    """
    inside = ["* `model/`: the generator, with its card"] if model else []
    inside += [f"* `{name}/`: a synthetic data set; `{name}/README.md` says how to open it" for name in data_sets]
    inside += [
        "* `privacy.json`: the privacy audit in numbers",
        "* `SHA256SUMS`, `release.json`: every file's checksum",
    ]
    listed = "\n".join(inside)
    return f"# Synthetic release\n\nMade by generative models with mmgen. Check it with `sha256sum -c SHA256SUMS`.\n\n\
{listed}\n\n{section}"


def shared_audit(
    record: AuditRecord | None,
    verdicts: Sequence[Verdict],
    thresholds: Thresholds,
    digests: Mapping[str, Any],
) -> dict[str, Any]:
    """``privacy.json`` of a release: the audit's numbers, what they were judged by, and nothing of single records.

    Args:
        record: presentable parts of the audit (:func:`mmgen.release.evidence.presentable`); None if there was none.
        digests: {"model", "data_sets"} of what is released.
    """
    return {
        "audited": record is not None,
        "created": None if record is None else record.created,
        "of": dict(digests),
        "privacy": {} if record is None else record.privacy.shared(),
        "thresholds": asdict(thresholds),
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }


def override_record(verdicts: Sequence[Verdict], override: Override | None) -> dict[str, Any]:
    """Entry "override" of ``privacy.json``: who, why, when, and against what; None where there was no need."""
    if override is None:
        return {"override": None}
    return {"override": asdict(override) | {"failed": [verdict.line for verdict in verdicts if not verdict.allowed]}}
