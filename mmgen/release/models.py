"""The model's part of a release: its files, made from the loaded model or by allow-list."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from mmgen.artifacts.card_facts import FACTS, CardFacts
from mmgen.artifacts.cards import write_card
from mmgen.artifacts.models import save_model
from mmgen.data.opening import read_json
from mmgen.errors import UserError
from mmgen.evaluation.typed_json import is_number
from mmgen.models.generative import GenerativeModel
from mmgen.names import ClassifierName

_SETS = re.compile(r"(real|synthetic|real\+synthetic|random_subset|synthetic_fresh|synthetic_phase1)(@\d+)?")
_MEASURES = frozenset(
    (
        "auc", "accuracy", "balanced_accuracy", "recovery", "seeds", "folds", "n_train", "n_test", "updates",
        "max_side", "hard_label_recovery", "improvement_over_random",
    )
)  # fmt: skip


_DAMAGED = "A file of the model {} is damaged ({}); save the model again."


def copy_model(model: GenerativeModel, source: Path, target: Path, privacy: str) -> None:
    """Write the files that a receiver of a model loads and reads to a new folder.

    Weights, configuration, preview and card are written from the loaded model, whatever else lies in its folder. Read
    there are only ``card.json``, numbers and known names for the card (:class:`mmgen.artifacts.card_facts.CardFacts`),
    and ``utility.json``, see :func:`shared_utility`.

    Args:
        model: what was loaded from ``source``.
        privacy: section of the card, Markdown.

    Raises:
        UserError: a file is a link or damaged.
    """
    for name in ("model.safetensors", "config.json", "utility.json"):
        _refuse_link(source / name)
    utility, facts = source / "utility.json", read_facts(source)
    try:
        scores = read_json(utility) if utility.is_file() else {}
        save_model(model, target, facts, shared_utility(scores, model.preprocessing))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(_DAMAGED.format(source, error)) from error
    (target / FACTS).unlink()  # what may be shared of it is on the card
    write_card(model, target, facts, privacy)


def read_facts(folder: Path) -> CardFacts:
    """:meth:`mmgen.artifacts.card_facts.CardFacts.read`; raises UserError if the file is a link or damaged."""
    _refuse_link(folder / FACTS)
    try:
        return CardFacts.read(folder)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(_DAMAGED.format(folder, error)) from error


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise UserError(f"{path} is a link, which is not followed; put the file itself there.")


def shared_utility(document: Any, modalities: Collection[str]) -> dict[str, Any]:
    """The part of a section ``utility`` that is shared: scores and sizes by modality, classifier and training set.

    Everything else goes: names that are not known, other measures, and whatever is no number, or no mean, deviation and
    interval of numbers.
    """
    return _nested(document, (modalities.__contains__, get_args(ClassifierName).__contains__, _SETS.fullmatch))


def _nested(values: Any, levels: Sequence[Callable[[str], Any]]) -> dict[str, Any]:
    """Measures below keys that are known, a test for those of each level."""
    if not isinstance(values, Mapping):
        return {}
    if not levels:
        kept = {name: _numbers(value) for name, value in values.items() if name in _MEASURES}
        return {name: value for name, value in kept.items() if value is not None}
    below = {name: _nested(value, levels[1:]) for name, value in values.items() if levels[0](name)}
    return {name: value for name, value in below.items() if value}


def _numbers(value: Any) -> Any:
    """A number, or a mapping of statistics to numbers or pairs of them; None of anything else."""
    if isinstance(value, Mapping):
        kept = {name: part for name, part in value.items() if name in ("mean", "std", "ci95")}
        pairs = {name: part if isinstance(part, list) and len(part) == 2 else [part] for name, part in kept.items()}
        return {name: part for name, part in kept.items() if None not in map(_number, pairs[name])} or None
    return _number(value)


def _number(value: Any) -> float | None:
    return value if is_number(value) else None
