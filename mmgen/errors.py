"""Errors that a user can cause and mend."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(ValueError):
    """Wrong input or settings: the message is one clear sentence naming the file, label or value and the way out.

    Example:
        >>> import mmgen
        >>> try:
        ...     mmgen.Modality("chest X-ray", shape=(1, 32, 32), patch=(8, 8))
        ... except mmgen.UserError as error:
        ...     print(error)
        Modality name 'chest X-ray' must be made of letters, digits and underscores.
    """


def first_few(names: Iterable[object], limit: int = 5) -> str:
    """``names`` joined by commas, the rest past ``limit`` as a number: ``"a, b, c, d, e and 7 more"``."""
    listed = [str(name) for name in names]
    more = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {more} more" if more > 0 else "")
