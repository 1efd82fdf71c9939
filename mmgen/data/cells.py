"""Texts as cells of a table that other people open."""

from __future__ import annotations

import re
from typing import Any

# Spreadsheets take a cell that begins so for a formula, and run it.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def to_cell(value: Any) -> Any:
    """A value as it is written into a table for others: a text that a spreadsheet would run gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def from_cell(text: str) -> str:
    """The inverse of :func:`to_cell`, for texts."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text
