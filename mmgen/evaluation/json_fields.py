"""A JSON object whose values are checked as they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmgen.errors import UserError


class Fields:
    """Values of a JSON object by key; None where a key is missing or null.

    Args:
        content: what was read.
        place: what it is, for messages.

    Raises:
        UserError: it, or later a value, has another form than asked for.
    """

    def __init__(self, content: Any, place: str) -> None:
        self.place = place
        if not isinstance(content, Mapping):
            raise _error(place, "an object", content)
        self.content = content

    def number(self, key: str) -> float | None:
        """A finite number."""
        return self._value(key, "a number", int, float)

    def count(self, key: str) -> int | None:
        """A whole number."""
        return self._value(key, "a whole number", int)

    def text(self, key: str) -> str | None:
        """Text."""
        return self._value(key, "text", str)

    def choice(self, key: str, *choices: str) -> str | None:
        """One of some words."""
        value = self.content.get(key)
        if value is not None and value not in choices:
            raise self.wrong(key, f"one of {', '.join(choices)}")
        return value

    def pair(self, key: str) -> tuple[float | None, float | None] | None:
        """Both ends of an interval; an open one is None."""
        value = self._value(key, "a pair of numbers", list, tuple)
        if value is None:
            return None
        if len(value) != 2 or not all(end is None or is_number(end) for end in value):
            raise self.wrong(key, "a pair of numbers")
        return value[0], value[1]

    def sequence(self, key: str) -> Sequence[Any]:
        """A list; empty if it is missing."""
        return self._value(key, "a list", list) or []

    def part(self, key: str) -> Fields | None:
        """An object."""
        value = self.content.get(key)
        return None if value is None else Fields(value, f"{self.place}, {key}")

    def parts(self, key: str | None = None) -> dict[str, Fields]:
        """The objects in the object under a key, or in this one."""
        whole = self if key is None else self.part(key)
        return {} if whole is None else {name: Fields(v, f"{whole.place}, {name}") for name, v in whole.content.items()}

    def _value(self, key: str, form: str, *kinds: type) -> Any:
        value = self.content.get(key)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise self.wrong(key, form)
        return value

    def wrong(self, key: str, form: str) -> UserError:
        """The error of a value that has not this form."""
        return _error(f"'{key}' of {self.place}", form, self.content.get(key))


def _error(place: str, form: str, value: Any) -> UserError:
    return UserError(f"{place} is not {form} but {str(value)[:40]!r}; measure it again.")


def is_number(value: Any) -> bool:
    """Whether a value is a number and neither a truth value nor missing."""
    return isinstance(value, int | float) and not isinstance(value, bool)
