"""Traces in text: absolute paths, names of this machine and its user, numbers of source files."""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

PATH, NAME = "[path]", "[name]"
# Accounts and machines of these names say nothing of anybody, and the words are needed in texts and configurations.
GENERIC = frozenset(
    (
        "admin", "administrator", "audio", "build", "centos", "class", "cloud", "colab", "computer", "container", "cpu",
        "data", "debian", "default", "desktop", "docker", "fedora", "gpu", "guest", "home", "host", "image", "images",
        "jovyan", "jupyter", "label", "laptop", "linux", "local", "localdomain", "localhost", "macbook", "medsynth",
        "mmgen", "model", "node", "nobody", "none", "notebook", "own", "research", "root", "runner", "sample",
        "samples", "seed", "server", "synthetic", "test", "ubuntu", "unknown", "user", "username", "users", "vagrant",
        "windows", "work", "worker", "workstation",
    )
)  # fmt: skip
SOURCE_ID = re.compile(r"source_(?:.*_)?ids?", re.IGNORECASE)
"""Columns and keys that tell which real file a sample was made from."""

# Where a path of this machine begins: a URL of any kind but http(s), a drive, a network share, a home, or a slash that
# a name follows, at the start of a word.
_BEGIN = (
    r"(?:(?<![\w+.\-])(?!https?:)[a-z][a-z0-9+.\-]*:/{2,3}(?=\S)|(?<![\w+.\-])file:/+|(?<!\w)[a-z]:[\\/]|"
    r"(?<![\w\\])\\\\(?=\w)|(?<![\w/~])~(?:[a-z][\w.\-]*)?[\\/]|(?<![\w/.<~])/(?=[^\W\d]|\.\w)|"
    r"(?<=<)/(?=[\w.\-]+/))"
)
# After it everything up to a blank; and further words, as of a folder with blanks, as long as they go on with a slash.
_REST = r"(?:\\ |[^\s\"'`<>|])*(?: [^\s\"'`<>|\\/]*[^\s\"'`<>|\\/.,;:!?)][\\/][^\s\"'`<>|]*)*"
_WHOLE = re.compile(_BEGIN, re.IGNORECASE)
_QUOTED = re.compile(rf"([\"'`]){_BEGIN}[^\n]*?\1", re.IGNORECASE)
_LOOSE = re.compile(_BEGIN + _REST, re.IGNORECASE)
_CLOSING = ").,;:]}!?"


@dataclass(frozen=True)
class Scrubber:
    """Takes traces out of text.

    What is taken out: source ids (keys and columns of :data:`SOURCE_ID`); absolute paths, POSIX, Windows or in a home,
    and URLs other than http(s), with :data:`PATH` in their place; and names, in any case and as whole words, with
    :data:`NAME` in their place. Where an unquoted path has blanks in it, a last part that has no slash after the blank
    stays.

    Attributes:
        names: of user and machine.
        keep: texts that stay as they are, such as labels; names that are among their words stay everywhere, because
            samples are told apart by them.
    """

    names: frozenset[str]
    keep: frozenset[str] = frozenset()

    @classmethod
    def of_this_machine(cls, keep: Iterable[str] = ()) -> Scrubber:
        """For the names of the user who calls this and of the machine; see :func:`names_of_this_machine`."""
        return cls(names_of_this_machine(), frozenset(keep))

    def keeping(self, keep: Iterable[str]) -> Scrubber:
        """With further texts that stay."""
        return Scrubber(self.names, self.keep | set(keep))

    def value(self, text: str) -> str:
        """A single value, such as a table's cell: all of it goes if it begins as a path does."""
        if text in self.keep:
            return text
        return PATH if _WHOLE.match(text.strip()) and "\n" not in text else self.prose(text)

    def prose(self, text: str) -> str:
        """Running text."""
        text = _QUOTED.sub(lambda found: f"{found[1]}{PATH}{found[1]}", text)
        text = _LOOSE.sub(_replaced, text)
        return text if self._names is None else self._names.sub(NAME, text)

    def tree(self, value: Any) -> Any:
        """A JSON value: without source ids, and every text in it, keys too, without traces."""
        if isinstance(value, dict):
            return {self._key(key): self.tree(item) for key, item in value.items() if not SOURCE_ID.fullmatch(key)}
        if isinstance(value, list):
            return [self.tree(item) for item in value]
        return self.value(value) if isinstance(value, str) else value

    def json(self, content: bytes, indent: int | None = None) -> bytes:
        """A JSON document; raises ValueError if it is none."""
        return json.dumps(self.tree(json.loads(content)), indent=indent, ensure_ascii=False).encode()

    def _key(self, key: str) -> str:
        if key in self.keep:
            return key
        if _WHOLE.match(key):
            return PATH
        # An underscore joins here: a name that is a part of an identifier (max in max_side) is none.
        return key if self._keys is None else self._keys.sub(NAME, key)

    @cached_property
    def _alternatives(self) -> str:
        kept = {word for text in self.keep for word in _words(text)}
        names = (name for name in self.names if name.casefold() not in kept)
        return "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))

    @cached_property
    def _names(self) -> re.Pattern[str] | None:
        words = self._alternatives
        return re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])", re.IGNORECASE) if words else None

    @cached_property
    def _keys(self) -> re.Pattern[str] | None:
        words = self._alternatives
        return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE) if words else None


def names_of_this_machine() -> frozenset[str]:
    """Account, home folder and full name of the user, and the machine's name with and without its domain.

    Names of fewer than three characters or without a letter, and :data:`GENERIC` ones, are left out: as words of a text
    they would be found everywhere.
    """
    found = set()
    for name in _machine_names():
        name = name.strip()
        if len(name) >= 3 and any(map(str.isalpha, name)) and name.casefold() not in GENERIC:
            found.add(name)
    return frozenset(found)


def _machine_names() -> Iterator[str]:
    with suppress(OSError, KeyError, ImportError):  # a container's user may have no entry
        yield getpass.getuser()
    with suppress(OSError, KeyError, ImportError):
        import pwd  # POSIX only

        account = pwd.getpwuid(os.getuid())
        full_name = account.pw_gecos.partition(",")[0].strip()
        yield account.pw_name
        if " " in full_name:
            yield full_name
    with suppress(RuntimeError):
        yield Path.home().name
    for variable in ("USER", "LOGNAME", "USERNAME", "HOSTNAME", "COMPUTERNAME"):
        yield os.environ.get(variable, "").partition(".")[0]
    for host in (socket.gethostname(), platform.node()):
        yield host
        yield host.partition(".")[0]


def _words(text: str) -> Iterator[str]:
    yield text.casefold()
    yield from re.findall(r"[^\W_]+", text.casefold())


def _replaced(found: re.Match[str]) -> str:
    text = found[0]
    return PATH + text[len(text.rstrip(_CLOSING)) :]
