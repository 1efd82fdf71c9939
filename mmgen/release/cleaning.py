"""Free texts of a release without what they say of this machine and its user."""

from __future__ import annotations

import getpass
import os
import re
import socket
import unicodedata
from collections.abc import Iterator
from contextlib import suppress

_LONGEST, _LONGEST_READ = 500, 2_000  # characters; hardly any text shrinks to a quarter
# The rest of a path or address up to a blank that is not escaped; what ends a sentence does not belong to it.
_REST = r"(?:\\ |\S)*[^\s\"'`.,;:!?)\]}>]"
_PATTERNS = (
    (rf"\b[a-z][a-z0-9+.-]*://{_REST}", "[address]"),
    (r"[^\s@<>(),;\"]+@[^\s@]*\w", "[address]"),
    (r"([\"'`])(?:~|/|\\\\|[a-z]:[\\/]).*?\1", "[path]"),  # in quotes there may be blanks
    (rf"(?:(?<!\w)[a-z]:[\\/]|\\\\){_REST}(?: \S*\\{_REST})*", "[path]"),
    (rf"(?<![\w./])/(?:home|users)/[^/]{{1,40}}/{_REST}", "[path]"),  # in names of users too
    (rf"(?<![\w/])(?:~[\w.-]*|\.{{0,2}})/{_REST}", "[path]"),
    (r"(?<![\w.-])(?:[\w-]+\.){2,}[a-z]{2,}(?![\w-])", "[host]"),
    (r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])", "[host]"),
)


def cleaned(text: str) -> str:
    """A text on one line of at most 500 characters, without control characters and changes of direction.

    Absolute paths, URLs, addresses of e-mail, names of hosts, and this machine's name and its user's login name are
    replaced by [path], [address], [host] and [user].
    """
    shows = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text[:_LONGEST_READ])
    text = " ".join("".join(c for c in shows if unicodedata.category(c)[0] != "C").split())
    for pattern, placeholder in (*_of_this_machine(), *_PATTERNS):
        text = re.sub(pattern, placeholder, text, flags=re.IGNORECASE)
    for login in _logins():  # in their own spelling: many are a first name in small letters
        text = re.sub(rf"(?<!\w){re.escape(login)}(?!\w)", "[user]", text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _of_this_machine() -> Iterator[tuple[str, str]]:
    home = os.path.expanduser("~")
    if len(home) > 1:  # which may have blanks
        yield rf"(?<![\w/]){re.escape(home)}(?![\w-])(?:/{_REST})?", "[path]"
    for name in (socket.gethostname(), socket.gethostname().partition(".")[0]):
        if name:
            yield rf"(?<![\w./\\@-]){re.escape(name)}(?:\.[\w-]+)*(?![\w-])", "[host]"


def _logins() -> set[str]:
    names = {os.path.basename(os.path.expanduser("~"))}
    with suppress(OSError, KeyError, ImportError):  # a user without a name
        names.add(getpass.getuser())
    return names - {"", "~"}
