"""All methods of condensation by name, and their settings."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args

from mmgen.condensation.condenser import Condenser
from mmgen.condensation.dcgan import DCGAN
from mmgen.condensation.dim import DiM
from mmgen.condensation.dm import DM
from mmgen.condensation.it_gan import ITGAN
from mmgen.condensation.mae import MAE
from mmgen.condensation.medsynth import MedSynth
from mmgen.condensation.subset import Subset
from mmgen.data.loading import PairedData
from mmgen.errors import UserError
from mmgen.names import IMAGE, AugmentationName, BudgetName, MethodName
from mmgen.training.run import Run

METHODS: dict[str, type[Condenser]] = {
    method.method: method for method in (Subset, DM, ITGAN, DiM, DCGAN, MAE, MedSynth)
}


def preset(
    method: MethodName, budget: BudgetName, images_per_class: int, augmentation: AugmentationName, **options: Any
) -> Any:
    """The settings of a method, of its own kind.

    Args:
        budget: sizes and lengths: "quick" to see it run, "small" for a set of some thousand images without a GPU,
            "paper" as published.
        images_per_class: for methods that are fitted for one number.
        augmentation: changes that are allowed in this kind of picture.
        options: of the method's own, see :attr:`Condenser.options`.

    Raises:
        UserError: unknown method or budget, options of another method, or no positive number of images.
    """
    if method not in METHODS or budget not in get_args(BudgetName):
        raise UserError(f"There is no {budget!r} of {method!r}; methods are {', '.join(METHODS)}.")
    if images_per_class < 1:
        raise UserError(f"At least 1 image a class is made, not {images_per_class}.")
    kind = METHODS[method]
    if foreign := [name for name in options if name not in kind.options]:
        owners = [name for name, other in METHODS.items() if foreign[0] in other.options]
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        verb, them = ("belongs", "it") if len(foreign) == 1 else ("belong", "them")
        raise UserError(f"{flags} {verb} to the method {', '.join(owners)}, not to {method}; leave {them} out.")
    settings = kind.adapt(kind.presets[budget], **options)
    changes: dict[str, Any] = {"augmentation": augmentation}
    if "images_per_class" in {field.name for field in fields(settings)}:
        changes["images_per_class"] = images_per_class
    return replace(settings, **changes)


def settings_of(method: MethodName, flags: Any, images_per_class: int = 1) -> Any:
    """:func:`preset` with the options that were given.

    Args:
        flags: a dataclass with ``preset``, ``augmentation`` and options of any method; an option that differs from its
            default was given.
    """
    known = {name for kind in METHODS.values() for name in kind.options}
    given = {
        field.name: getattr(flags, field.name)
        for field in fields(flags)
        if field.name in known and getattr(flags, field.name) != field.default
    }
    return preset(method, flags.preset, images_per_class, flags.augmentation or "none", **given)


def make_condenser(method: MethodName, settings: Any, run: Run, data: PairedData) -> Condenser:
    """An untrained condenser of the training images."""
    train, validation = data.splits["train"][IMAGE], data.splits["val"][IMAGE]
    subjects = train.subject_numbers()
    return METHODS[method](settings, run, train, validation, subjects, IMAGE)
