"""Words, numbers and tables of the report page, whatever they are about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mmgen.evaluation.scores import Statistic
from mmgen.evaluation.typed_json import from_json, is_number

NOTHING = "\u2013"  # en dash
NAMES = {
    "image": "Images",
    "audio": "Sounds",
    "joint": "Tuples",
    "resnet18": "ResNet-18",
    "densenet121": "DenseNet-121",
    "convnet": "ConvNet",
    "vit_lora": "ViT + LoRA",
    "mfcc": "MFCC + logistic regression",
    "auc": "AUC",
    "real": "Real",
    "synthetic": "Synthetic",
    "real+synthetic": "Real + synthetic",
    "random_subset": "Random real subset",
    "synthetic_fresh": "Fresh synthetic samples",
    "medsynth": "MedSynth",
    "masked_patch_error": "Error on hidden patches",
    "nearest_training_distance": "Distance to the nearest training image",
    "exact_copies": "Exact copies of training images",
    "val": "Validation",
    "all": "All",
}


@dataclass(frozen=True)
class Column:
    """One column of a table; numbers are set to the right."""

    name: str
    numeric: bool = True


@dataclass(frozen=True)
class Mark:
    """A light with its word: shape and word say the same as the colour."""

    light: Literal["green", "amber", "red", "none"]
    word: str


@dataclass(frozen=True)
class Table:
    """A table of finished text; the first cell of a row is its heading.

    ``groups`` holds headings of groups of rows, by the number of the first row of each.
    """

    caption: str
    columns: list[Column]
    rows: list[list[str | Mark]]
    notes: list[str] = field(default_factory=list)
    groups: dict[int, str] = field(default_factory=dict)


def name_of(key: str, data: dict | None = None) -> str:
    """Readable name of a key: the ``title`` of its entry in ``data`` if there is one, else a known or derived name."""
    title = as_dict(as_dict(data).get(key)).get("title")
    derived = key.replace("_", " ")
    return (title if isinstance(title, str) else "") or NAMES.get(key) or derived[:1].upper() + derived[1:]


def number(value: Any) -> str:
    """A value as short text: three significant digits, a dash for None."""
    if not is_number(value):
        return NOTHING if value is None else str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if 0 < abs(value) < 1e-3:
        digits, exponent = f"{value:.1e}".split("e")
        return f"{digits} \u00d7 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return f"{value:.3g}"


def score(value: Any) -> str:
    """A score in 0..1 with three decimals, ``mean ± std`` where there are several trainings; a dash for None."""
    if isinstance(value, dict):
        value = from_json(Statistic, value, "the score")
    if isinstance(value, Statistic):
        if value.mean is None:
            return NOTHING
        return f"{value.mean:.3f}" + (f" ± {value.std:.3f}" if value.std is not None and value.std > 0 else "")
    return f"{value:.3f}" if is_number(value) else NOTHING


def interval(ends: Any, scale: float = 1.0, digits: int = 3) -> str:
    """Both ends of an interval as ``0.490 to 0.570``, a dash where there is none."""
    if not isinstance(ends, list | tuple) or len(ends) != 2 or not all(map(is_number, ends)):
        return NOTHING
    return " to ".join(f"{scale * end:.{digits}f}" for end in ends)


def percent(share: Any) -> str:
    """A share as percent, three significant digits."""
    return f"{number(100 * share)} %" if is_number(share) else NOTHING


def byte_size(count: Any) -> str:
    """Bytes as ``512 B``, ``4.1 kB`` or ``12.3 MB``."""
    if not is_number(count):
        return NOTHING
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.95 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return f"{count:.{0 if units[0] == 'B' else 1}f} {units[0]}"


def duration(seconds: Any) -> str:
    """Seconds as ``4.2 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    if not is_number(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def mean(value: Any) -> float | None:
    """The mean of ``{"mean", "std"}``; None for anything else."""
    middle = as_dict(value).get("mean")
    return middle if is_number(middle) else None


def as_dict(value: Any) -> dict:
    """The value if it is a dict, else an empty one: what has another form than expected is left out of the page."""
    return value if isinstance(value, dict) else {}
