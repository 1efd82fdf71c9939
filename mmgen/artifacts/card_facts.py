"""Facts on a model's card beyond the model itself: numbers and names that are validated when they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from mmgen.data.loading import PairedData
from mmgen.data.opening import read_json
from mmgen.errors import UserError
from mmgen.names import IMAGE, ClassifierName

Counts = Mapping[str, Mapping[str, int]]
FACTS = "card.json"


@dataclass(frozen=True)
class Scores:
    """Macro AUC of a classifier on real test images, 0..1, by the images it was trained on.

    Attributes:
        classifier: a name of :data:`mmgen.names.ClassifierName`.
        images_per_class: of the condensed and of the random real images.
        condensed, random_real, all_real: the AUC.
    """

    classifier: str
    images_per_class: int
    condensed: float
    random_real: float
    all_real: float


@dataclass(frozen=True)
class CardFacts:
    """Facts on a card beyond the model itself; ``card.json`` beside a model holds them.

    Attributes:
        counts: training files by modality and label.
        subjects: number of people in the training data, None if unknown.
        training_images, training_bytes: number and size of the training images' files; 0 if not recorded.
        images_per_class: sizes of the condensed sets that were made.
        hidden_patch_errors: error on hidden patches by modality, 1 is that of the mean patch.
        scores: what classifiers reach.
        members: :attr:`mmgen.data.loading.PairedData.members` of the training data; empty if not recorded. A release
            compares them with those of the audit; they are on no card.
    """

    counts: Counts = field(default_factory=dict)
    subjects: int | None = None
    training_images: int = 0
    training_bytes: int = 0
    images_per_class: tuple[int, ...] = ()
    hidden_patch_errors: Mapping[str, float] = field(default_factory=dict)
    scores: tuple[Scores, ...] = ()
    members: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: PairedData, images_per_class: Sequence[int] = ()) -> CardFacts:
        """Facts on the training images of a condensation."""
        manifest = data.manifests[IMAGE].of_split("train")
        return cls(
            data.training_counts(),
            None if manifest.subjects is None else len(set(manifest.subjects)),
            len(data.splits["train"][IMAGE]),
            sum(manifest.files.size(path) for path in manifest.paths),
            tuple(images_per_class),
            members=data.members,
        )

    @classmethod
    def read(cls, folder: Path) -> CardFacts:
        """Facts that lie beside a model; none where there is no such file, as of models that others saved.

        Raises:
            UserError: the file is damaged.
        """
        path = folder / FACTS
        try:
            return cls.from_json(read_json(path)) if path.is_file() else cls()
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); save the model again.") from error

    @classmethod
    def from_json(cls, values: Any) -> CardFacts:
        """The inverse of ``dataclasses.asdict``; keys it does not know are left out.

        Raises:
            ValueError: a count or measure that is no number, a classifier that is not known, or another form.
        """
        try:
            counts = {_checked(name, str): _numbers(labels, int) for name, labels in values["counts"].items()}
            subjects = None if values["subjects"] is None else _checked(values["subjects"], int)
            sizes = (_checked(values[name], int) for name in ("training_images", "training_bytes"))
            errors = _numbers(values["hidden_patch_errors"], int, float)
            images_per_class = tuple(_checked(count, int) for count in values["images_per_class"])
            scores = tuple(map(_scores, values["scores"]))
            members = {_checked(name, str): _fingerprint(own) for name, own in values.get("members", {}).items()}
            return cls(counts, subjects, *sizes, images_per_class, errors, scores, members)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{FACTS} has another form: {error}") from error


def _scores(values: Mapping[str, Any]) -> Scores:
    if values["classifier"] not in get_args(ClassifierName):
        raise ValueError(f"{FACTS} names a classifier that is not known")
    numbers = (_checked(values[name], int, float) for name in ("condensed", "random_real", "all_real"))
    return Scores(values["classifier"], _checked(values["images_per_class"], int), *numbers)


def _fingerprint(value: Any) -> str:
    if not re.fullmatch("[0-9a-f]{24}", _checked(value, str)):
        raise ValueError(f"{FACTS} holds no fingerprint where there should be one")
    return value


def _numbers(values: Mapping[str, Any], *kinds: type) -> dict[str, Any]:
    return {_checked(name, str): _checked(value, *kinds) for name, value in values.items()}


def _checked(value: Any, *kinds: type) -> Any:
    """A value of one of these types, of numbers one that is not negative, nor larger than what is counted here."""
    if type(value) not in kinds or (not isinstance(value, str) and not 0 <= value <= 1e15):
        raise ValueError(f"{FACTS} holds no {kinds[-1].__name__} where there should be one")
    return value
