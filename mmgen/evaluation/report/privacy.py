"""What the report page says about privacy: attacks, copies and pass-through, each with the gate's verdict."""

from __future__ import annotations

from typing import Any

from mmgen.evaluation.privacy.gate import ATTACKS, Verdict, attack_name, judge, noun
from mmgen.evaluation.report.text import (
    NOTHING,
    Column,
    Mark,
    Table,
    as_dict,
    interval,
    is_number,
    number,
    percent,
    score,
)

WORDS = {"green": "Nothing found", "amber": "Unclear", "red": "Leaks"}
REALISM = Mark("none", "Not judged")
ATTACKERS = {
    "W": "W (white box): the attacker holds the model itself: generator and critic, or encoder and decoders",
    "G": "G: the attacker can ask the generator for as many samples as wanted",
    "S": "S: the attacker sees the synthetic set only",
    "none": "none: who compares both sides knows nothing of model or synthetic set",
}
NOTES = (
    "AUC: chance that a member of the training data scores higher than somebody else; 0.5 is guessing, 1 a certain "
    "leak. TPR: share of members found at that share of false alarms (FPR); guessing finds as many as it raises false "
    "alarms. Accuracy: share of members among those with the highest scores.",
    "An attack leaks when even the lower end of its interval is above what is allowed, and is unclear when there are "
    "too few records to tell.",
)
REALISM_NOTE = (
    "Attacks as in the papers take synthetic records for the others. They measure realism, not membership: a high AUC "
    "says that synthetic records can be told from real ones. Both sides without the model: how well members and others "
    "are told apart by a classifier that never saw the model; what an attack achieves beyond that is the model's doing."
)


def privacy_tables(privacy: dict) -> list[Table]:
    """Attacks on membership, those that only measure realism below; then copies and pass-through by modality."""
    verdicts = {verdict.attack: verdict for verdict in judge(privacy)}
    return _attack_tables(privacy, verdicts) + _copy_tables(privacy, verdicts)


def findings(privacy: dict) -> list[tuple[Mark, str]]:
    """What the gate says of every check, in its words."""
    return [(_mark(verdict), sentence(verdict.line)) for verdict in judge(privacy)] if privacy else []


def attacks(privacy: dict) -> dict[str, dict]:
    """The entries of attacks, those that measure membership first."""
    known = {
        key: entry
        for key, entry in privacy.items()
        if isinstance(entry, dict)
        and ("auc" in entry or key.partition("/")[0] in ATTACKS)
        and key.partition("/")[0] not in ("copies", "pass_through")
    }
    return dict(sorted(known.items(), key=lambda item: item[1].get("counts") is False))


def sentence(line: str) -> str:
    """A line of the gate as a sentence."""
    return f"{line[:1].upper()}{line[1:]}."


def _attack_tables(privacy: dict, verdicts: dict[str, Verdict]) -> list[Table]:
    entries = attacks(privacy)
    if not entries:
        return []
    rows = [[_title(attack_name(key)), _mark(verdicts.get(key)), *_cells(entry)] for key, entry in entries.items()]
    realism = [entry.get("counts") is False for entry in entries.values()]
    groups = {}
    if any(realism):
        groups = {realism.index(True): "For comparison: does not measure membership"}
        groups |= {} if realism[0] else {0: "Tells members from others?"}
    names = ("AUC (95 % interval)", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "Accuracy (chance)", "Members / others")
    columns = [Column(name, numeric=False) for name in ("Attack", "Verdict", "Attacker")] + [*map(Column, names)]
    threats = {entry.get("threat_model") for entry in entries.values() if isinstance(entry.get("threat_model"), str)}
    attackers = "; ".join(words for threat, words in ATTACKERS.items() if threat in threats)
    notes = [*([f"{attackers}."] if attackers else []), *NOTES, *([REALISM_NOTE] if any(realism) else [])]
    return [Table("Attacks on the training data", columns, rows, notes, groups)]


def _cells(entry: dict[str, Any]) -> list[str]:
    threat = entry.get("threat_model")
    return [
        number(threat) if isinstance(threat, str | None) else NOTHING,
        _with_interval(entry.get("auc"), entry.get("auc_ci")),
        _with_interval(entry.get("tpr_at_1_fpr"), entry.get("tpr_at_1_fpr_ci")),
        score(entry.get("tpr_at_01_fpr")),
        score(entry.get("accuracy")) + (f" ({score(entry['chance'])})" if is_number(entry.get("chance")) else ""),
        f"{number(entry.get('n_members'))} / {number(entry.get('n_non_members'))}",
    ]


def _with_interval(value: Any, ends: Any) -> str:
    between = interval(ends, digits=2)
    return score(value) + (f" ({between})" if between != NOTHING else "")


def _copy_tables(privacy: dict, verdicts: dict[str, Verdict]) -> list[Table]:
    """By modality: what, its value, what it should be, and the verdict."""
    suffixes = dict.fromkeys(
        key.partition("/")[2]
        for key, entry in privacy.items()
        if key.partition("/")[0] in ("copies", "pass_through") and isinstance(entry, dict)
    )
    columns = [Column("What", numeric=False), Column("Synthetic data"), Column("Reference"), Column("Verdict", False)]
    tables = []
    for modality in suffixes:
        end = f"/{modality}" if modality else ""
        copies, passed = as_dict(privacy.get(f"copies{end}")), as_dict(privacy.get(f"pass_through{end}"))
        rows = _copy_rows(copies, end, verdicts) if copies else []
        notes = _copy_notes(copies, noun(end))
        if passed:
            rows.append(
                ["Taken over as it is", percent(passed.get("share")), "0 %", _mark(verdicts.get(f"pass_through{end}"))]
            )
            patches = f", {number(passed['patches'])} patches compared" if is_number(passed.get("patches")) else ""
            notes += [f"Taken over as it is: {passed['how']}{patches}."] if passed.get("how") else []
        tables.append(Table(f"{_title(noun(end))}: copies of training {noun(end)}", columns, rows, notes))
    return tables


def _copy_rows(entry: dict, end: str, verdicts: dict[str, Verdict]) -> list[list[str | Mark]]:
    of = f" of {number(entry['of'])}" if is_number(entry.get("of")) else ""
    ends = interval(entry.get("share_closer_ci"), 100, 0)
    share = percent(entry.get("share_closer_to_training")) + (f" ({ends} %)" if ends != NOTHING else "")
    identifiable = (entry.get("identifiability"), entry.get("identifiability_of_others"))
    nearest = "Median distance to the nearest training record"
    return [
        ["Exact copies", number(entry.get("exact")) + of, "0", _mark(verdicts.get(f"exact_copies{end}"))],
        ["Near copies", number(entry.get("near")) + of, "0", _mark(verdicts.get(f"near_copies{end}"))],
        [
            "Closer to a training than to a held-out record",
            share,
            "50 %",
            _mark(verdicts.get(f"share_closer_to_training{end}")),
        ],
        ["Identifiable records", *map(percent, identifiable), NOTHING],
        [nearest, number(entry.get("distance_to_training")), number(entry.get("real_distance")), NOTHING],
        ["Median distance to the nearest held-out record", number(entry.get("distance_to_others")), NOTHING, NOTHING],
    ]


def _copy_notes(entry: dict, things: str) -> list[str]:
    if not entry:
        return []
    notes = [
        f"Identifiable: training {things} that a synthetic one is closer to than any other training record is; the "
        f"reference is the same share of held-out {things}. Reference of the distance: held-out {things} to training "
        f"{things}."
    ]
    if is_number(entry.get("limit")):
        notes.insert(0, f"Near copies are closer than {number(entry['limit'])} to a training record.")
    return notes


def _mark(verdict: Verdict | None) -> Mark:
    return REALISM if verdict is None else Mark(verdict.light, WORDS[verdict.light])


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]
