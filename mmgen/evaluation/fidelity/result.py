"""Results of fidelity measures, and their form in ``report.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mmgen.evaluation import typed_json
from mmgen.evaluation.typed_json import from_json

Better = Literal["lower", "higher"]
Closeness = Literal["near", "far"]
# An error that is more than the first times that of real against real is said to be far from it, and so is a score that
# has less than the second of it. What is best at the real value may be no more than twice it, either: by chance alone
# the fine structure of 15 X-rays or lesions has up to 1.8 times the energy of 15 others.
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
        exact_copies: of the distance to training images: how many synthetic images are copies of one.
    """

    value: float | None
    real_vs_real: float | None = None
    better: Better | None = None
    range: tuple[float | None, float | None] | None = None
    samples: int | None = None
    features: str | None = None
    note: str | None = None
    exact_copies: int | None = None

    @property
    def references(self) -> Mapping[str, float]:
        """Other values to compare with, by name."""
        return {} if self.exact_copies is None else {"exact_copies": self.exact_copies}

    @property
    def closeness(self) -> Closeness | None:
        """Whether the value is about as good as that of real against real; None where that cannot be said."""
        value, real = self.value, self.real_vs_real
        if value is None or real is None:
            return None
        most_times = 1 / HALF if self.better is None else SEVERAL
        too_high, too_low = abs(value) > most_times * abs(real), value < HALF * real
        # Of a similarity up to 1, what counts may be what is missing to 1.
        most = None if self.range is None else self.range[1]
        crowded = most is not None and most - value < HALF * (most - real)
        if self.better == "lower":
            far = value > real and (too_high or crowded)
        else:
            far = too_low if self.better == "higher" else too_high or too_low
        return "far" if far else "near"

    def to_json(self) -> dict[str, Any]:
        """An entry of section ``fidelity``; a measure that could not be had says why before its other facts."""
        content = typed_json.to_json(self, always=("value", "real_vs_real", "better"))
        behind = ("samples", "features") if self.value is None and "note" in content else ()
        return content | {key: content.pop(key) for key in behind if key in content}


@dataclass(frozen=True)
class PatchError:
    """Error of a masked autoencoder on hidden patches of test data; it has no real-against-real value.

    Attributes:
        baseline: error of predicting the mean patch of the training data; ``ratio`` is the value by it.
        mean_sample_baseline: of predicting the mean sample.
        single_modal: of a model of this modality alone, if there is one.
    """

    value: float | None
    baseline: float | None = None
    ratio: float | None = None
    mean_sample_baseline: float | None = None
    better: Better | None = "lower"
    single_modal: float | None = None
    # As of a measure that says nothing of them.
    real_vs_real = range = samples = features = note = None

    @property
    def references(self) -> Mapping[str, float]:
        """The baselines, and the model of one modality."""
        return {key: value for key, value in self.to_json().items() if key not in ("value", "better")}

    @property
    def closeness(self) -> Closeness | None:
        """Near is what is better than a baseline that knows nothing."""
        return None if self.ratio is None else "near" if self.ratio < 1 else "far"

    def to_json(self) -> dict[str, Any]:
        """An entry of section ``fidelity``."""
        return typed_json.to_json(self, always=("value",))


PATCH_ERROR, COPY_DISTANCE = "masked_patch_error", "nearest_training_distance"
# modality -> measure -> result
Fidelity = Mapping[str, Mapping[str, FidelityResult | PatchError]]


def results_from_json(content: Mapping[str, Any], place: str) -> dict[str, FidelityResult | PatchError]:
    """Measures of one modality by name; what has no value, such as curves, is none."""
    entries = from_json(Mapping[str, Mapping[str, Any]], content, place)
    return {
        name: from_json(PatchError if name == PATCH_ERROR else FidelityResult, entry, f"{place}, {name}")
        for name, entry in entries.items()
        if "value" in entry
    }


def fidelity_from_json(section: Any) -> dict[str, dict[str, FidelityResult | PatchError]]:
    """Section ``fidelity`` of a report; raises UserError for another form."""
    place = "the fidelity section"
    by_modality = from_json(Mapping[str, Mapping[str, Any]], section, place)
    return {name: results_from_json(entries, f"{place}, {name}") for name, entries in by_modality.items()}
