"""Dataclasses as JSON, and JSON as dataclasses whose values are checked against the types of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from numbers import Real
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mmgen.errors import UserError

_FORMS = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
LARGEST = 1e18  # numbers beyond it are no results, and fit no array


def from_json(kind: Any, value: Any, place: str) -> Any:
    """A value of a type from what JSON holds: dataclasses, mappings by text, tuples, literals, numbers, text, truth
    values, or None.

    Keys that a dataclass does not know are left out, and its defaults stand for those that are missing.

    Args:
        place: what the value is, for messages.

    Raises:
        UserError: the value has another form.
    """
    if kind is Any:
        return value
    origin, parts = get_origin(kind), get_args(kind)
    if NoneType in parts:
        return None if value is None else from_json(parts[0], value, place)
    if is_dataclass(kind) or origin is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(place, "an object", value)
        if origin is Mapping:
            return {key: from_json(parts[1], item, f"{place}, {key}") for key, item in value.items()}
        hints = get_type_hints(kind)
        needed = (field.name for field in fields(kind) if field.default is field.default_factory is MISSING)
        if missing := [name for name in needed if name not in value]:
            raise _wrong(place, f"an object with '{missing[0]}'", value)
        known = {field.name: value[field.name] for field in fields(kind) if field.name in value}
        return kind(**{key: from_json(hints[key], item, f"{place}, {key}") for key, item in known.items()})
    if origin is tuple:
        kinds = parts[:1] * len(value) if ... in parts and isinstance(value, list) else parts
        if not isinstance(value, list) or len(value) != len(kinds):
            raise _wrong(place, "a list of the right length", value)
        return tuple(from_json(part, item, place) for part, item in zip(kinds, value, strict=True))
    if origin is Literal:
        if value not in parts:
            raise _wrong(place, f"one of {', '.join(parts)}", value)
    elif kind in (int, float):
        is_nan = kind is float and value != value  # a result that says nothing
        if not (is_number(value) or is_nan) or (kind is int and isinstance(value, float)):
            raise _wrong(place, _FORMS[kind], value)
    elif not isinstance(value, kind):
        raise _wrong(place, _FORMS[kind], value)
    return value


def to_json(value: Any, always: tuple[str, ...] = ()) -> Any:
    """Dataclasses as objects without what is None, but for the fields in ``always``; tuples as lists."""
    if is_dataclass(value):
        content = {field.name: getattr(value, field.name) for field in fields(value)}
        return {key: to_json(item) for key, item in content.items() if item is not None or key in always}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, tuple) else value


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be one of a result, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(abs(value) <= LARGEST)


def _wrong(place: str, form: str, value: Any) -> UserError:
    said = {dict: "an object", list: "a list"}.get(type(value)) or repr(str(value)[:40])
    return UserError(f"{place} is not {form} but {said}; measure it again.")
