"""What attacks return: typed results, written to and read from the entries of section ``privacy``.

What a file holds may be damaged or written by hand. A value that is not what its field says is read as None, which the
gate takes for a result that is missing and never for a good one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args

from mmgen.evaluation.typed_json import is_number, to_json

ThreatModel = Literal["G", "S", "W", "none"]
"""What an attacker holds: "W" the model itself, "G" a generator to query, "S" the synthetic set, "none" neither."""
Interval = tuple[float, float]
Light = Literal["green", "amber", "red"]
PairKind = Literal["exact", "near", "by_ratio", "nearest"]
# What of an audit may be passed on: numbers. Pairs, for one, name rows of the training data.
SHARED = (
    "auc", "auc_ci", "tpr_at_1_fpr", "tpr_at_1_fpr_ci", "tpr_at_01_fpr", "accuracy", "chance", "threat_model",
    "n_members", "n_non_members", "counts", "roc", "exact", "near", "of", "by_ratio", "by_ratio_of_others", "of_others",
    "limit", "share_closer_to_training", "share_closer_ci", "identifiability", "identifiability_of_others",
    "distance_to_training", "distance_to_others", "share", "how", "patches", "compared", "features", "real_distance",
    "found", "found_ci", "p_value", "false_alarm_rate", "falsely_listed", "compared_found", "power", "power_alone",
    "planted", "recognised", "recognised_ci", "others", "others_ci", "real", "verification_auc", "people",
)  # fmt: skip


def exact_interval(hits: float, of: float) -> Interval:
    """Exact 95 % interval of a share (Clopper and Pearson 1934); counts may be broken."""
    from scipy.stats import beta

    low = beta.ppf(0.025, hits, of - hits + 1) if hits > 0 else 0.0
    high = beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return float(low), float(high)


def _numbers(value: Any) -> tuple[float, ...]:
    """Numbers of a list, none of anything else."""
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(value) if listed and all(map(is_number, value)) else ()


def _curve(value: Any) -> Curve | None:
    fpr, tpr = (_numbers(value.get(key) if isinstance(value, Mapping) else None) for key in ("fpr", "tpr"))
    return Curve(fpr, tpr) if len(fpr) == len(tpr) > 1 else None


def _shares(value: Any) -> dict[str, float] | None:
    """Shares by name, 0..1; None of anything else."""
    given = value if isinstance(value, Mapping) else {"": None}
    return dict(given) if all(is_number(share) and 0 <= share <= 1 for share in given.values()) else None


def _pairs(value: Any) -> tuple[Pair, ...]:
    pairs = []
    for *numbers, kind in _values(value, Pair):
        if all(map(is_number, numbers)) and kind in get_args(PairKind):
            pairs.append(Pair(*numbers, kind))
    return tuple(pairs)


def _disguised_pairs(value: Any) -> tuple[DisguisedPair, ...]:
    pairs = []
    for *numbers, transform, inverted in _values(value, DisguisedPair):
        if all(map(is_number, numbers)) and len(_numbers(transform)) == 6 and isinstance(inverted, bool):
            pairs.append(DisguisedPair(*numbers, _numbers(transform), inverted))
    return tuple(pairs)


def _values(value: Any, kind: type) -> list[list[Any]]:
    """The values of the fields of a dataclass in every entry of a list."""
    entries = value if isinstance(value, Sequence) else ()
    return [[entry.get(part.name) for part in fields(kind)] for entry in entries if isinstance(entry, Mapping)]


# What makes the value of a field, by its annotation, of a JSON value.
_READERS: dict[str, Callable[[Any], Any]] = {
    "float | None": lambda value: value if is_number(value) else None,
    "int | None": lambda value: value if is_number(value) else None,
    "str | None": lambda value: value if isinstance(value, str) else None,
    "bool": lambda value: value is not False,
    "bool | None": lambda value: value if isinstance(value, bool) else None,
    "Interval | None": lambda value: numbers if len(numbers := _numbers(value)) == 2 else None,
    "Curve | None": _curve,
    "tuple[Pair, ...]": _pairs,
    "tuple[DisguisedPair, ...]": _disguised_pairs,
    "Mapping[str, float] | None": _shares,
}


@dataclass(frozen=True)
class Result:
    """Base of all results: fields that are None are not known."""

    always: ClassVar[tuple[str, ...]] = ()
    """Fields that an entry has even where they are None."""

    def to_json(self) -> dict[str, Any]:
        """The entry of section ``privacy``."""
        return to_json(self, self.always)

    def shared(self) -> dict[str, Any]:
        """The entry without anything of single records."""
        entry = self.to_json()
        return {name: entry[name] for name in SHARED if name in entry}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """The result that an entry holds; what is missing or of another type is None, other keys are left out."""
        return cls(**{part.name: _READERS[part.type](entry.get(part.name)) for part in fields(cls)})


@dataclass(frozen=True)
class NoResult(Result):
    """An entry that holds no numbers at all."""


@dataclass(frozen=True)
class EffortResult(Result):
    """How hard the attacks tried: whether they were short, and for how many updates the attacker's GAN was trained."""

    fast: bool | None = None
    updates: int | None = None


@dataclass(frozen=True)
class Curve:
    """Rates of false and of true positives, from (0, 0) to (1, 1)."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


@dataclass(frozen=True)
class MembershipResult(Result):
    """How well an attack tells training samples from others.

    Attributes:
        auc: chance that a member scores higher than another sample, ties count half: 0.5 is no leak, 1 a full one.
            Below 0.5 nothing leaks to this attack. None: the attack was impossible, ``note`` says why.
        tpr_at_1_fpr, tpr_at_01_fpr: share of members that are found by the lowest threshold which at most 1 % (0.1 %)
            of the non-members reach. Equal scores are on the same side, so an attack that says the same of all finds
            none. With fewer than 100 (1000) non-members it is the share of members above all of them.
        auc_ci, tpr_at_1_fpr_ci: 95 % percentile intervals of the bootstrap. Subjects are drawn with all their samples,
            members and non-members separately. Where the two sides do not overlap at all, the interval is a point.
        accuracy: share of members among the n top-scored, n their number (Hayes et al. 2019, LOGAN); ties are broken
            at random. ``chance`` is what guessing gives.
        threat_model: what the attacker holds.
        counts: False marks a protocol that measures something other than membership.
        roc: at most 200 points, dense at small rates for a logarithmic axis.
        features: name of the feature space that was attacked in.
    """

    always = ("auc",)

    auc: float | None = None
    auc_ci: Interval | None = None
    tpr_at_1_fpr: float | None = None
    tpr_at_1_fpr_ci: Interval | None = None
    tpr_at_01_fpr: float | None = None
    accuracy: float | None = None
    chance: float | None = None
    threat_model: str | None = None
    n_members: int | None = None
    n_non_members: int | None = None
    counts: bool = True
    roc: Curve | None = None
    note: str | None = None
    features: str | None = None


@dataclass(frozen=True)
class Pair:
    """A synthetic record and the training record nearest to it, by their rows."""

    synthetic: int
    training: int
    distance: float
    kind: PairKind


@dataclass(frozen=True)
class CopiesResult(Result):
    """Copies of training records among synthetic ones, and on which side these lie.

    Attributes:
        exact, near, of: synthetic records that are the same as a training record, nearly the same (``limit``: half the
            distance that 1 % of held-out records have to training records), and how many there are.
        distance_to_training, distance_to_others: medians; ``real_distance``: of held-out to training.
        by_ratio, by_ratio_of_others, of_others: synthetic records that lie three times nearer to a training record than
            to those of other subjects; how many held-out records do, of how many. None of one training subject.
        pairs: synthetic rows beside training rows, all copies and some more, each the closest first.
        share_closer_to_training, share_closer_ci: share of synthetic records whose nearest real record is a training
            record, of equally many (``compared``) from both sides: 0.5 is ideal; 95 % interval over subjects of both
            sides.
        identifiability: share of training records whose nearest synthetic record is closer than their nearest other
            training record (0..1, lower is better); ``identifiability_of_others``: the same of held-out records. None
            where one record a side is compared.
    """

    always = ("identifiability", "identifiability_of_others")

    exact: int | None = None
    near: int | None = None
    of: int | None = None
    limit: float | None = None
    distance_to_training: float | None = None
    distance_to_others: float | None = None
    real_distance: float | None = None
    pairs: tuple[Pair, ...] = ()
    share_closer_to_training: float | None = None
    share_closer_ci: Interval | None = None
    identifiability: float | None = None
    identifiability_of_others: float | None = None
    compared: int | None = None
    by_ratio: int | None = None
    by_ratio_of_others: int | None = None
    of_others: int | None = None


@dataclass(frozen=True)
class PassThroughResult(Result):
    """Real patches in a synthetic set.

    Attributes:
        share: of the patches that are a training record's, 0..1, 0 is best.
        patches: how many counted.
        how: what was compared, in words.
    """

    share: float | None = None
    patches: int | None = None
    how: str | None = None


@dataclass(frozen=True)
class DisguisedPair:
    """A synthetic record and the training record whose disguised copy it seems to be, by their rows.

    Attributes:
        score: how much more alike they are than records of different people; the threshold of the set is 0.
        transform: (2 x 3, row by row) the affine map from places in the synthetic record to places in the training
            record, both from -1 to 1 across the record.
        inverted: dark and bright are exchanged.
    """

    synthetic: int
    training: int
    score: float
    transform: tuple[float, ...]
    inverted: bool


@dataclass(frozen=True)
class DisguisedCopiesResult(Result):
    """Copies of training records that were moved, turned, cropped, recoloured or otherwise disguised.

    Attributes:
        found, of: synthetic records that are listed as copies, which are none where the set raises no alarm, and how
            many synthetic records there are.
        found_ci: exact 95 % interval of the share of such records.
        p_value: chance that an innocent set of this size holds as many records as much like training records; there is
            an alarm where it is at most ``false_alarm_rate``.
        false_alarm_rate: stated chance of an alarm on an innocent set.
        falsely_listed: stated share of listed records that are there by chance.
        compared, compared_found, people: real records of people other than those they were compared with, by which
            chances are known; how many of them are as much alike as what is listed, or as what would raise the alarm
            alone; and of how many people they are.
        power: share, 0..1, of training records that the audit disguised itself which would be listed if such copies
            were a twentieth of the set, by kind of disguise and strength.
        power_alone: share of all these that would raise the alarm as the only copy in the set.
        planted: records of each kind.
        pairs: those found, the most alike first.
        note: why nothing could be searched.
    """

    found: int | None = None
    of: int | None = None
    found_ci: Interval | None = None
    p_value: float | None = None
    false_alarm_rate: float | None = None
    falsely_listed: float | None = None
    compared: int | None = None
    compared_found: int | None = None
    people: int | None = None
    power: Mapping[str, float] | None = None
    power_alone: float | None = None
    planted: int | None = None
    pairs: tuple[DisguisedPair, ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class RecognisedResult(Result):
    """Whether synthetic records show people of the training data to a network that recognises people.

    Attributes:
        recognised, recognised_ci: share of synthetic records that are taken for a person of the training data at 1 %
            false matches; 95 % interval.
        of: synthetic records.
        others, others_ci: the same of real records of people who are not in the training data: chance.
        real: the same of further real records of people in the training data: what a real record gives away.
        auc, auc_ci: chance that a synthetic record is more like its nearest training person than a record of other
            people is; 0.5 is ideal.
        verification_auc: of the network on pairs of records of people it has not seen.
        people: with several records, on which it was trained and tested.
        note: why nothing could be measured.
    """

    recognised: float | None = None
    recognised_ci: Interval | None = None
    of: int | None = None
    others: float | None = None
    others_ci: Interval | None = None
    real: float | None = None
    auc: float | None = None
    auc_ci: Interval | None = None
    verification_auc: float | None = None
    people: int | None = None
    note: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The judgement on one entry of an audit.

    Attributes:
        attack: key of the entry, such as "domias/image", or of a part: entry "copies/image" gives "exact_copies/image"
            and others; "audit" if the audit as a whole is missing.
        light: "green": nothing found; "amber": allowed, but to be known; "red": too much leaks.
        line: one line of plain words for a terminal or a page.
        allowed: whether the gate stays open, false for red.
        value: the number that was compared (of an attack that is judged red: the lower end of its interval); None if
            there is none.
        threshold: what it was compared with.
        excess: how far ``value`` is above ``threshold``, 0 if it is not.
        unknown: red because too little is known, and not because something leaks.
    """

    attack: str
    light: Light
    line: str
    allowed: bool
    value: float | None = None
    threshold: float | None = None
    excess: float = 0.0
    unknown: bool = False
