"""The model's part of a release: its files, made from the loaded model or by allow-list."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmgen.artifacts.models import preview
from mmgen.data.settings import settings_from_dict
from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.generative import GenerativeModel
from mmgen.release.content import copy_tensors
from mmgen.release.scrubbing import Scrubber
from mmgen.release.texts import with_section

_NAME = re.compile(r"[a-z0-9_+@.]+")
_MEASURES = frozenset(
    (
        "auc", "accuracy", "balanced_accuracy", "recovery", "seeds", "folds", "n_train", "n_test", "updates",
        "max_side",
    )
)  # fmt: skip
_STATISTICS = frozenset(("mean", "std", "ci95"))


def copy_model(model: GenerativeModel, source: Path, target: Path, scrubber: Scrubber, section: str) -> None:
    """Write the files that a receiver of a model loads and reads to a new folder.

    The weights are copied without notes. Configuration and preview are of the model itself, whatever lies in the
    folder; of ``utility.json`` see :func:`shared_utility`; the card is scrubbed.

    Args:
        model: what was loaded from ``source``.
        section: of the card, on privacy.

    Raises:
        UserError: a file is a link or damaged.
    """
    names = getattr(model, "class_names", ()), getattr(model, "labels", ()), getattr(model, "modalities", ())
    for some in names:
        scrubber = scrubber.keeping(some)
    for name in ("model.safetensors", "config.json", "README.md", "utility.json", "preview.png"):
        if (source / name).is_symlink():
            raise UserError(f"{source / name} is a link, which is not followed; put the file itself there.")
    target.mkdir(parents=True)
    try:
        copy_tensors(source / "model.safetensors", target / "model.safetensors")
        _write_json(target / "config.json", _known_config(model))
        utility = _text(source / "utility.json")
        if utility and (shared := shared_utility(json.loads(utility))):
            _write_json(target / "utility.json", shared)
        card = scrubber.prose(_text(source / "README.md"))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"A file of the model {source} is damaged ({error}); save the model again.") from error
    _draw_preview(model, target / "preview.png")
    (target / "README.md").write_text(with_section(card, section), encoding="utf-8")


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


def _known_config(model: GenerativeModel) -> dict[str, Any]:
    """The configuration, of which the part that the model itself does not look at is looked at here."""
    if isinstance(model, CrossModalMAE):
        for settings in model.preprocessing.values():
            settings_from_dict(settings)
    return {"kind": model.kind, **model.config}


def _draw_preview(model: GenerativeModel, path: Path) -> None:
    """Synthetic images; none of what only makes such from real ones."""
    from PIL import Image

    if not isinstance(model, CrossModalMAE) and not model.may_hold_real_pixels:
        Image.fromarray(preview(model)).save(path)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
