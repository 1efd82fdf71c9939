"""The model's part of a release: its files, made from the loaded model or by allow-list."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmgen.artifacts.card_facts import FACTS, CardFacts
from mmgen.artifacts.cards import write_card
from mmgen.artifacts.models import Model, preview
from mmgen.data.settings import settings_from_dict
from mmgen.errors import UserError
from mmgen.release.content import copy_tensors

_NAME = re.compile(r"[a-z0-9_+@.]+")
_MEASURES = frozenset(
    (
        "auc", "accuracy", "balanced_accuracy", "recovery", "seeds", "folds", "n_train", "n_test", "updates",
        "max_side",
    )
)  # fmt: skip
_STATISTICS = frozenset(("mean", "std", "ci95"))


def copy_model(model: Model, source: Path, target: Path, privacy: str) -> None:
    """Write the files that a receiver of a model loads and reads to a new folder.

    The weights are copied without notes. Configuration, preview and card are made from the model itself, whatever lies
    in the folder; what the card says of data and results comes from ``card.json``, of which only numbers and known
    names are read (:class:`mmgen.artifacts.card_facts.CardFacts`); of ``utility.json`` see :func:`shared_utility`.

    Args:
        model: what was loaded from ``source``.
        privacy: section of the card, Markdown.

    Raises:
        UserError: a file is a link or damaged.
    """
    for name in ("model.safetensors", "config.json", FACTS, "utility.json"):
        if (source / name).is_symlink():
            raise UserError(f"{source / name} is a link, which is not followed; put the file itself there.")
    target.mkdir(parents=True)
    utility = source / "utility.json"
    try:
        copy_tensors(source / "model.safetensors", target / "model.safetensors")
        for settings in model.preprocessing.values():  # which the model itself does not look at
            settings_from_dict(settings)
        _write_json(target / "config.json", {"kind": model.kind, **model.config})
        if utility.is_file() and (shared := shared_utility(json.loads(utility.read_text(encoding="utf-8")))):
            _write_json(target / "utility.json", shared)
        write_card(model, target, CardFacts.read(source), privacy)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"A file of the model {source} is damaged ({error}); save the model again.") from error
    if not (model.needs_real_data or model.may_hold_real_pixels):
        from PIL import Image

        Image.fromarray(preview(model)).save(target / "preview.png")


def shared_utility(document: Any) -> dict[str, Any]:
    """What of a section ``utility`` may be passed on: scores and sizes by modality, classifier and training set.

    Everything else goes: names with other signs than ``a-z0-9_+@.``, other measures, and whatever is no number, or no
    mean, deviation and interval of numbers.
    """
    return _nested(document, 3)


def _nested(values: Any, depth: int) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        return {}
    if depth == 0:
        kept = {name: _numbers(value) for name, value in values.items() if name in _MEASURES}
        return {name: value for name, value in kept.items() if value is not None}
    below = {name: _nested(value, depth - 1) for name, value in values.items() if _NAME.fullmatch(name)}
    return {name: value for name, value in below.items() if value}


def _numbers(value: Any) -> Any:
    """A number, or a mapping of statistics to numbers; None of anything else."""
    if not isinstance(value, Mapping):
        return value if _is_number(value) else None
    kept = {name: part for name, part in value.items() if name in _STATISTICS and _are_numbers(part)}
    return kept or None


def _are_numbers(value: Any) -> bool:
    pair = isinstance(value, list) and len(value) == 2
    return all(map(_is_number, value)) if pair else _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
