"""Typed flags: a dataclass becomes a command line, a YAML file can fill it, flags go on top."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmgen.data.opening import read_yaml
from mmgen.errors import UserError

T = TypeVar("T")


def parse_config(cls: type[T], arguments: Sequence[str] | None = None, description: str | None = None) -> T:
    """Parse ``arguments`` (by default the process's) into a dataclass; ``--config FILE.yaml`` gives defaults, flags
    override them.

    Raises:
        UserError: the file is missing, not YAML, or holds a key that is no flag.
    """
    import tyro

    rest = list(sys.argv[1:] if arguments is None else arguments)
    refuse_repeats(rest, cls)
    values: dict[str, Any] = {}
    for position, argument in enumerate(rest):
        if argument == "--config" or argument.startswith("--config="):
            inline = argument.partition("=")[2]
            values = _read_yaml(cls, Path(inline or "".join(rest[position + 1 : position + 2])))
            rest = rest[:position] + rest[position + (1 if inline else 2) :]
            break
    # tyro parses values of a file as it parses flags, so both are checked against the same types.
    from_file = [token for name, value in values.items() for token in _as_flags(name, value)]
    return tyro.cli(cls, args=[*from_file, *rest], description=description)


def refuse_below_one(config: Any, *names: str) -> None:
    """Raise UserError for a flag of these that was given and has a value, or a smallest value, below 1."""
    for name in names:
        value = getattr(config, name)
        least = min(value, default=0) if isinstance(value, tuple) else value
        if least is not None and least < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {least}.")


def refuse_repeats(arguments: Sequence[str], *classes: type[Any]) -> None:
    """Raise UserError for a flag of several values that is given twice: the first values would be lost in silence."""
    for cls in classes:
        for field in dataclasses.fields(cls):
            flag = "--" + field.name.replace("_", "-")
            times = sum(argument.partition("=")[0].replace("_", "-") == flag for argument in arguments)
            if times > 1 and str(field.type).startswith("tuple"):
                raise UserError(f"{flag} is given {times} times; give all its values after one: {flag} VALUE VALUE.")


def _read_yaml(cls: type[Any], path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path) or {}
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the configuration {path}: {error}.") from error
    known = {field.name for field in dataclasses.fields(cls)}
    if not isinstance(values, dict):
        raise UserError(f"The configuration {path} must map flags to values.")
    values = {str(key).replace("-", "_"): value for key, value in values.items()}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise UserError(f"The configuration {path} has unknown keys {unknown}; known are {sorted(known)}.")
    return values


def _as_flags(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if isinstance(value, list | tuple):
        return [flag, *map(str, value)]
    return [flag, str(value)]
