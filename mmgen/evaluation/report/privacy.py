"""The part of the report page about privacy: attacks, copies and pass-through, each with the gate's verdict."""

from __future__ import annotations

from mmgen.evaluation.privacy.attacks import attack_name, noun
from mmgen.evaluation.privacy.gate import Verdict, judge
from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.privacy.results import (
    CopiesResult,
    DisguisedCopiesResult,
    Interval,
    MembershipResult,
    PassThroughResult,
    RecognisedResult,
)
from mmgen.evaluation.report.text import NOTHING, Column, Mark, Table, interval, number, percent, score

WORDS = {"green": "Nothing found", "amber": "Unclear", "red": "Leaks"}
UNKNOWN = "Not known"
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


def privacy_tables(privacy: PrivacySection) -> list[Table]:
    """Attacks on membership, those that only measure realism below; then copies and pass-through by modality, disguised
    copies with what the search would have found, and recognised people."""
    verdicts = {verdict.attack: verdict for verdict in judge(privacy)}
    parts = (_attack_tables, _copy_tables, _disguise_tables, _people_tables)
    return [table for part in parts for table in part(privacy, verdicts)]


def findings(privacy: PrivacySection) -> list[tuple[Mark, str]]:
    """What the gate says of every check, in its words; nothing where nothing was audited."""
    audited = privacy.results or privacy.refused is not None
    return [(_mark(verdict), sentence(verdict.line)) for verdict in judge(privacy)] if audited else []


def attacks(privacy: PrivacySection) -> dict[str, MembershipResult]:
    """The results of attacks, those that measure membership first."""
    return dict(sorted(privacy.of_type(MembershipResult).items(), key=lambda item: not item[1].counts))


def sentence(line: str) -> str:
    """A line of the gate as a sentence."""
    return f"{line[:1].upper()}{line[1:]}."


def _attack_tables(privacy: PrivacySection, verdicts: dict[str, Verdict]) -> list[Table]:
    results = attacks(privacy)
    if not results:
        return []
    rows = [[_title(attack_name(key)), _mark(verdicts.get(key)), *_cells(result)] for key, result in results.items()]
    realism = [not result.counts for result in results.values()]
    groups = {}
    if any(realism):
        groups = {realism.index(True): "For comparison: does not measure membership"}
        groups |= {} if realism[0] else {0: "Tells members from others?"}
    names = ("AUC (95 % interval)", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "Accuracy (chance)", "Members / others")
    columns = [Column(name, numeric=False) for name in ("Attack", "Verdict", "Attacker")] + [*map(Column, names)]
    threats = {result.threat_model for result in results.values()}
    attackers = "; ".join(words for threat, words in ATTACKERS.items() if threat in threats)
    notes = [*([f"{attackers}."] if attackers else []), *NOTES, *([REALISM_NOTE] if any(realism) else [])]
    return [Table("Attacks on the training data", columns, rows, notes, groups)]


def _cells(result: MembershipResult) -> list[str]:
    return [
        number(result.threat_model),
        _with_interval(result.auc, result.auc_ci),
        _with_interval(result.tpr_at_1_fpr, result.tpr_at_1_fpr_ci),
        score(result.tpr_at_01_fpr),
        score(result.accuracy) + ("" if result.chance is None else f" ({score(result.chance)})"),
        f"{number(result.n_members)} / {number(result.n_non_members)}",
    ]


def _with_interval(value: float | None, ends: Interval | None) -> str:
    return score(value) + ("" if ends is None else f" ({interval(ends, digits=2)})")


def _copy_tables(privacy: PrivacySection, verdicts: dict[str, Verdict]) -> list[Table]:
    """By modality: a measure, its value, what it should be, and the verdict."""
    copies, passed = privacy.of_type(CopiesResult), privacy.of_type(PassThroughResult)
    columns = [Column("What", numeric=False), Column("Synthetic data"), Column("Reference"), Column("Verdict", False)]
    tables = []
    for end in dict.fromkeys(key[len(key.partition("/")[0]) :] for key in privacy.results if key in copies | passed):
        rows, notes = [], []
        if (copied := copies.get(f"copies{end}")) is not None:
            rows, things = _copy_rows(copied, end, verdicts), noun(end)
            near = f"Near copies are closer than {number(copied.limit)} to a training record."
            notes = [] if copied.limit is None else [near]
            notes.append(
                "Copies by ratio lie three times nearer to a training record than to those of other people; the "
                f"reference is how many held-out {things} do. Identifiable: training {things} that a synthetic one is "
                f"closer to than any other training record is; the reference is the same share of held-out {things}. "
                f"Reference of the distance: held-out {things} to training {things}."
            )
        if (taken := passed.get(f"pass_through{end}")) is not None:
            mark = _mark(verdicts.get(f"pass_through{end}"))
            rows.append(["Taken over as it is", percent(taken.share), "0 %", mark])
            patches = "" if taken.patches is None else f", {number(taken.patches)} patches compared"
            notes += [f"Taken over as it is: {taken.how}{patches}."] if taken.how else []
        tables.append(Table(f"{_title(noun(end))}: copies of training {noun(end)}", columns, rows, notes))
    return tables


def _copy_rows(copies: CopiesResult, end: str, verdicts: dict[str, Verdict]) -> list[list[str | Mark]]:
    of = "" if copies.of is None else f" of {number(copies.of)}"
    ends = "" if copies.share_closer_ci is None else f" ({interval(copies.share_closer_ci, 100, 0)} %)"
    keys = ("exact_copies", "near_copies", "copies_by_ratio", "share_closer_to_training")
    exact, near, by_ratio, closer = (_mark(verdicts.get(f"{key}{end}")) for key in keys)
    by_ratio_of_others = number(copies.by_ratio_of_others)
    by_ratio_of_others += "" if copies.of_others is None else f" of {number(copies.of_others)}"
    to_training, real = number(copies.distance_to_training), number(copies.real_distance)
    identifiable = map(percent, (copies.identifiability, copies.identifiability_of_others))
    return [
        ["Exact copies", number(copies.exact) + of, "0", exact],
        ["Near copies", number(copies.near) + of, "0", near],
        ["Copies by ratio", number(copies.by_ratio) + of, by_ratio_of_others, by_ratio],
        [
            "Closer to a training than to a held-out record",
            percent(copies.share_closer_to_training) + ends,
            "50 %",
            closer,
        ],
        ["Identifiable records", *identifiable, NOTHING],
        ["Median distance to the nearest training record", to_training, real, NOTHING],
        ["Median distance to the nearest held-out record", number(copies.distance_to_others), NOTHING, NOTHING],
    ]


def _disguise_tables(privacy: PrivacySection, verdicts: dict[str, Verdict]) -> list[Table]:
    """By modality: how many disguised copies, and the share that was found of those that the audit planted."""
    columns = [Column("What", numeric=False), Column("Synthetic data"), Column("Reference"), Column("Verdict", False)]
    tables = []
    for key, result in privacy.of_type(DisguisedCopiesResult).items():
        things, name = noun(key), _title(noun(key))
        ends = "" if result.found_ci is None else f" ({interval(result.found_ci, 100, 1)} %)"
        found = f"{number(result.found)} of {number(result.of)}{ends}"
        others = f"{number(result.compared_found)} of {number(result.compared)}"
        rows = [
            ["Disguised copies", found, others, _mark(verdicts.get(key))],
            ["Chance of so many if none is a copy", number(result.p_value), percent(result.false_alarm_rate), NOTHING],
        ]
        notes = [
            f"Disguised: moved, turned, cropped, recoloured, mixed or otherwise changed. Reference: real {things} of "
            "other people that are as much alike; the chance below which the gate closes, which is how often an "
            "innocent set raises a false alarm."
        ]
        notes += [f"{_title(result.note)}."] if result.note else []
        tables.append(Table(f"{name}: disguised copies of training {things}", columns, rows, notes))
        if result.power:
            shares = sorted(result.power.items(), key=lambda item: item[1])
            notes = [
                f"{number(result.planted)} training {things} were disguised in each way by the audit itself. Found: "
                "would be listed if such copies were a twentieth of the set."
            ]
            if result.power_alone is not None:
                notes.append(f"As the only copy in the set {percent(result.power_alone)} would raise the alarm.")
            found = [[_title(kind), percent(share)] for kind, share in shares]
            heads = [Column("Disguise", numeric=False), Column("Found")]
            tables.append(Table(f"{name}: what this audit would have found", heads, found, notes))
    return tables


def _people_tables(privacy: PrivacySection, verdicts: dict[str, Verdict]) -> list[Table]:
    """Shares of records that are taken for a person of the training data."""
    results = privacy.of_type(RecognisedResult)
    if not results:
        return []
    rows, notes = [], []
    for key, result in results.items():
        shares = ((result.recognised, result.recognised_ci), (result.others, result.others_ci), (result.real, None))
        cells = [percent(share) + (f" ({interval(ci, 100, 1)} %)" if ci else "") for share, ci in shares]
        auc = _with_interval(result.auc, result.auc_ci)
        rows.append([_title(noun(key)), *cells, auc, score(result.verification_auc), _mark(verdicts.get(key))])
        notes += [f"{_title(noun(key))}: {result.note}."] if result.note else []
    heads = ("Synthetic", "Other people, real", "The same people, real", "AUC, synthetic", "AUC, two people")
    columns = [Column("Records", numeric=False), *map(Column, heads), Column("Verdict", numeric=False)]
    notes = [
        "Share that a network which recognises people takes for a person of the training data, at 1 % false matches. "
        "Other people: chance; the same people: what a real record gives away. AUC, synthetic: chance that a synthetic "
        "record is more like a training person than another person's record is; two people: how well the network "
        "tells people apart whom it has not seen.",
        *notes,
    ]
    return [Table("People recognised", columns, rows, notes)]


def _mark(verdict: Verdict | None) -> Mark:
    return REALISM if verdict is None else Mark(verdict.light, UNKNOWN if verdict.unknown else WORDS[verdict.light])


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]
