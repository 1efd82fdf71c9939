"""Texts from elsewhere in Markdown files."""

from __future__ import annotations

import re

# Characters that mean something in Markdown or HTML wherever they stand: an underscore not within a word, and what
# makes a link of an address that is written out.
_MARKUP = re.compile(r"[\\`*<>\[\]|&~$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)


def in_markdown(text: str) -> str:
    """A text that shows as itself in Markdown, also in a table: on one line, without markup."""
    words = "".join(character if character.isprintable() else " " for character in text).split()
    return _MARKUP.sub(r"\\\g<0>", " ".join(words))
