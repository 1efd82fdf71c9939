"""Errors that a user can cause and mend."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from importlib.metadata import requires
from traceback import walk_tb
from types import ModuleType

# Where the name that is imported is not the name that is installed.
_DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn"}
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class UserError(ValueError):
    """Wrong input or settings: the message is one clear sentence naming the file, label or value and the way out.

    Example:
        >>> import mmgen
        >>> try:
        ...     mmgen.Modality("chest X-ray", shape=(1, 32, 32), patch=(8, 8))
        ... except mmgen.UserError as error:
        ...     print(error)
        Modality name 'chest X-ray' must be made of at most 100 letters, digits and underscores.
    """


class EnvironmentProblem(UserError):  # noqa: N818
    """A package or a variable of the environment is at fault, and none of the user's files."""


def refuse_broken_package(error: BaseException) -> None:
    """Raise :class:`EnvironmentProblem` with the package and the way out if ``error`` comes from an import.

    Whatever may fail because of a file asks this first: a package that does not load is no fault of the file.
    """
    if isinstance(error, EnvironmentProblem):
        raise error
    if (package := _failed_import(error)) is None:
        return
    name = _DISTRIBUTIONS.get(package, package)
    wanted = [found for text in requires("mmgen") or () if (found := re.match(r"([\w.-]+)([^;\[]*)", text))]
    versions = next((found[2].replace(" ", "") for found in wanted if found[1].lower() == name.lower()), "")
    reason = " ".join(str(error).split()).rstrip(".")
    raise EnvironmentProblem(
        f"The package {name} does not load ({reason or type(error).__name__}); mend it: "
        f"pip install --force-reinstall --no-deps '{name}{versions}'"
    ) from error


def _failed_import(error: BaseException) -> str | None:
    """The package whose code was being imported, or was not there, when the error was raised; None for others."""
    for frame, _ in walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        # A file beside the program is a part of it.
        ours = package in ("mmgen", "__main__") or os.path.dirname(frame.f_code.co_filename) == sys.path[0]
        if frame.f_code.co_name == "<module>" and not ours:
            return package
    name: object = None
    if isinstance(error, ImportError):
        name = error.name
    elif isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):  # half a package, or another release
        name = error.obj.__name__
    package = str(name or "").partition(".")[0]
    return package if package not in ("", "mmgen") else None


def first_few(names: Iterable[object], limit: int = 5) -> str:
    """``names`` as :func:`shown`, joined by commas, the rest past ``limit`` as a number: ``"a, b, c and 7 more"``."""
    listed = list(names)
    more = len(listed) - limit
    return ", ".join(shown(name, 400) for name in listed[:limit]) + (f" and {more} more" if more > 0 else "")


def shown(name: object, limit: int = 200) -> str:
    """A text from elsewhere, such as the name of a file, as it may stand in a message: shortened, and on one line with
    everything escaped that could move a terminal's cursor or turn the text around."""
    text = str(name)
    if len(text) > limit:  # of a path both ends tell something
        text = f"{text[: limit // 2]}…{text[-limit // 2 :]}"
    return text if is_clean(text) else "".join(c if is_clean(c) else ascii(c)[1:-1] for c in text)


def is_clean(text: str) -> bool:
    """Whether a text is one line of characters that show as themselves: without control characters, line separators,
    overrides of the direction of writing, and halves of characters (the leavings of undecodable bytes)."""
    return text.isprintable() or not any(
        unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _TURNING for c in text
    )
