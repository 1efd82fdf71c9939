"""Texts of a release: the privacy section of cards, the README at its top, the audit that goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmgen.evaluation.privacy.gate import Thresholds, Verdict
from mmgen.release.evidence import is_known, is_known_text

# What of an audit may be passed on: numbers. Pairs, for one, name rows of the training data.
_ENTRY = (
    "auc", "auc_ci", "tpr_at_1_fpr", "tpr_at_1_fpr_ci", "tpr_at_01_fpr", "accuracy", "chance", "threat_model",
    "n_members", "n_non_members", "counts", "roc", "exact", "near", "of", "limit", "share_closer_to_training",
    "share_closer_ci", "identifiability", "identifiability_of_others", "distance_to_training", "distance_to_others",
    "share", "how", "patches", "compared", "features", "real_distance",
)  # fmt: skip


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


def without_records(privacy: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Section ``privacy`` of a report as it may be shared: numbers on these modalities, nothing of single records, and
    no text that is not known."""
    return {
        key: {name: entry[name] for name in _ENTRY if name in entry and _is_shared(entry[name])}
        for key, entry in privacy.items()
        if isinstance(entry, Mapping) and is_known(key, modalities)
    }


def _is_shared(value: Any) -> bool:
    """Whether a value is a number, nothing but numbers, or a known text."""
    if isinstance(value, Mapping):
        return value.keys() <= {"fpr", "tpr"} and all(map(_is_shared, value.values()))
    if isinstance(value, list):
        return not any(isinstance(item, str) for item in value) and all(map(_is_shared, value))
    return is_known_text(value) if isinstance(value, str) else True


def shared_audit(
    record: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    thresholds: Thresholds,
    digests: Mapping[str, Any],
    modalities: Sequence[str],
) -> dict[str, Any]:
    """``privacy.json`` of a release: the audit's numbers, what they were judged by, and nothing of single records.

    Args:
        record: ``privacy.json`` of the audit, {} if there was none.
        digests: {"model", "data_sets"} of what is released.
    """
    return {
        "audited": bool(record),
        "created": record.get("created"),
        "of": dict(digests),
        "privacy": without_records(record.get("privacy", {}), modalities),
        "thresholds": asdict(thresholds),
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }


def override_record(verdicts: Sequence[Verdict], override: Override | None) -> dict[str, Any]:
    """Entry "override" of ``privacy.json``: who, why, when, and against what; None where there was no need."""
    if override is None:
        return {"override": None}
    return {"override": asdict(override) | {"failed": [verdict.line for verdict in verdicts if not verdict.allowed]}}
