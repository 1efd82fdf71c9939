"""All methods of condensation by name."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args

from mmgen.condensation import dcgan, dim, dm, it_gan, medsynth, subset
from mmgen.condensation.condenser import Condenser
from mmgen.errors import UserError
from mmgen.names import AugmentationName, BudgetName, MethodName

METHODS: dict[str, type[Condenser]] = {
    "subset": subset.Subset,
    "dm": dm.DM,
    "it_gan": it_gan.ITGAN,
    "dim": dim.DiM,
    "dcgan": dcgan.DCGAN,
    "medsynth": medsynth.MedSynth,
}
PRESETS: dict[str, dict[str, Any]] = {
    "subset": subset.PRESETS,
    "dm": dm.PRESETS,
    "it_gan": it_gan.PRESETS,
    "dim": dim.PRESETS,
    "dcgan": dcgan.PRESETS,
    "medsynth": medsynth.PRESETS,
}


def preset(
    method: MethodName, budget: BudgetName, images_per_class: int, augmentation: AugmentationName, seed: int = 0
) -> Any:
    """The settings of a method, of its own kind.

    Args:
        budget: sizes and lengths: "quick" to see it run, "small" for a set of some thousand images without a GPU,
            "paper" as published.
        images_per_class: for methods that are fitted for one number.
        augmentation: what may change in this kind of picture.

    Raises:
        UserError: unknown method or budget, or no positive number of images.
    """
    if method not in METHODS or budget not in get_args(BudgetName):
        raise UserError(f"There is no {budget!r} of {method!r}; methods are {', '.join(METHODS)}.")
    if images_per_class < 1:
        raise UserError(f"At least 1 image a class is made, not {images_per_class}.")
    chosen = PRESETS[method][budget]
    changes: dict[str, Any] = {"augmentation": augmentation, "seed": seed}
    if "images_per_class" in {field.name for field in fields(chosen)}:
        changes["images_per_class"] = images_per_class
    return replace(chosen, **changes)
