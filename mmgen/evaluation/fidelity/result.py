"""What a fidelity measure gave, and its form in ``report.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from mmgen.evaluation.json_fields import Fields

Better = Literal["lower", "higher"]
# An error that is more than the first times that of real against real is said to be far from it, and so is a score that
# has less than the second of it.
SEVERAL, HALF = 3.0, 0.5


@dataclass(frozen=True)
class FidelityResult:
    """A measure of synthetic against real data, beside the same of real against real data.

    Attributes:
        value, real_vs_real: None where the measure needs more or larger samples.
        better: direction; None: best is the real value.
        range: least and greatest value; None: open.
        samples: of each side.
        features: feature space, of measures in one.
        note: what to know about this value.
    """

    value: float | None
    real_vs_real: float | None = None
    better: Better | None = None
    range: tuple[float | None, float | None] | None = None
    samples: int | None = None
    features: str | None = None
    note: str | None = None

    @property
    def references(self) -> Mapping[str, float]:
        """Other values to compare with, by name."""
        return {}

    @property
    def closeness(self) -> Literal["near", "far"] | None:
        """Whether the value is about as good as that of real against real; None where that cannot be said."""
        value, real = self.value, self.real_vs_real
        if value is None or real is None:
            return None
        too_high, too_low = abs(value) > SEVERAL * abs(real), value < HALF * real
        # Of a similarity up to 1, what counts may be what is missing to 1.
        most = None if self.range is None else self.range[1]
        crowded = most is not None and most - value < HALF * (most - real)
        if self.better == "lower":
            far = value > real and (too_high or crowded)
        else:
            far = too_low if self.better == "higher" else too_high or too_low
        return "far" if far else "near"

    def to_json(self) -> dict[str, Any]:
        """An entry of section ``fidelity``; a measure that could not be had says why first."""
        content = {"value": self.value, "real_vs_real": self.real_vs_real, "better": self.better}
        optional = {"range": None if self.range is None else list(self.range)}
        optional |= {"note": self.note} if self.value is None else {}
        optional |= {"samples": self.samples, "features": self.features}
        optional |= {} if self.value is None else {"note": self.note}
        return content | {key: value for key, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """The result of an entry; keys that are not known are left out. Raises UserError for another form."""
        return cls(
            fields.number("value"),
            fields.number("real_vs_real"),
            fields.choice("better", "lower", "higher"),
            fields.pair("range"),
            fields.count("samples"),
            fields.text("features"),
            fields.text("note"),
        )


@dataclass(frozen=True)
class PatchError(FidelityResult):
    """Error of a masked autoencoder on hidden patches of test data; it has no real-against-real value.

    Attributes:
        baseline: error of predicting the mean patch of the training data; ``ratio`` is the value by it.
        mean_sample_baseline: of predicting the mean sample.
        single_modal: of a model of this modality alone, if there is one.
    """

    better: Better | None = "lower"
    baseline: float | None = None
    ratio: float | None = None
    mean_sample_baseline: float | None = None
    single_modal: float | None = None

    @property
    def references(self) -> Mapping[str, float]:
        """The baselines, and the model of one modality."""
        names = ("baseline", "ratio", "mean_sample_baseline", "single_modal")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def closeness(self) -> Literal["near", "far"] | None:
        """Near is what is better than a baseline that knows nothing."""
        return None if self.ratio is None else "near" if self.ratio < 1 else "far"

    def to_json(self) -> dict[str, Any]:
        """An entry of section ``fidelity``."""
        names = ("value", "baseline", "ratio", "mean_sample_baseline", "better")
        single = {} if self.single_modal is None else {"single_modal": self.single_modal}
        return {name: getattr(self, name) for name in names} | single

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """As :meth:`FidelityResult.from_json`."""
        names = ("baseline", "ratio", "mean_sample_baseline", "single_modal")
        return cls(fields.number("value"), **{name: fields.number(name) for name in names})


@dataclass(frozen=True)
class CopyDistance(FidelityResult):
    """Median distance to the nearest training image: neither small nor large is better.

    Attributes:
        exact_copies: synthetic images that are copies of training images.
    """

    exact_copies: int | None = None

    @property
    def references(self) -> Mapping[str, float]:
        """The number of copies."""
        return {} if self.exact_copies is None else {"exact_copies": self.exact_copies}

    def to_json(self) -> dict[str, Any]:
        """An entry of section ``fidelity``."""
        return super().to_json() | self.references

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """As :meth:`FidelityResult.from_json`."""
        return cls(fields.number("value"), fields.number("real_vs_real"), exact_copies=fields.count("exact_copies"))


PATCH_ERROR, COPY_DISTANCE = "masked_patch_error", "nearest_training_distance"
_KINDS = {PATCH_ERROR: PatchError, COPY_DISTANCE: CopyDistance}

# modality -> measure -> result
Fidelity = Mapping[str, Mapping[str, FidelityResult]]


def results_from_json(fields: Fields) -> dict[str, FidelityResult]:
    """Measures of one modality by name; what has no value, such as curves, is none."""
    entries = {name: entry for name, entry in fields.parts().items() if "value" in entry.content}
    return {name: _KINDS.get(name, FidelityResult).from_json(entry) for name, entry in entries.items()}


def fidelity_from_json(section: Any) -> dict[str, dict[str, FidelityResult]]:
    """Section ``fidelity`` of a report; raises UserError for another form."""
    parts = Fields(section, "the fidelity section").parts()
    return {modality: results_from_json(entries) for modality, entries in parts.items()}
