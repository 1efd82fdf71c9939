"""Where a manifest's files are: one place to open them, whether they lie in a folder or elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


class Files(Protocol):
    """A set of named files. ``str()`` of it is what messages call it."""

    def open(self, path: str) -> BinaryIO:
        """A seekable binary file; raises OSError if there is none."""
        ...

    def stamp(self, path: str) -> str:
        """Text that changes when the file's content does, without reading it; raises OSError if there is none."""
        ...

    def size(self, path: str) -> int:
        """Bytes of a file; raises OSError if there is none."""
        ...

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of ``paths`` that are no files, in their order."""
        ...

    def name(self, path: str) -> str:
        """What messages call a file: enough for the user to find it."""
        ...


@dataclass(frozen=True)
class LocalFiles:
    """Files below a folder; absolute paths stand for themselves."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def open(self, path: str) -> BinaryIO:
        """See :class:`Files`."""
        return open(os.path.join(self.root, path), "rb")  # noqa: SIM115 (the caller closes it)

    def stamp(self, path: str) -> str:
        """Size and times of change: the inode's too, since copies may keep the time of their content."""
        about = os.stat(os.path.join(self.root, path))
        return f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"

    def size(self, path: str) -> int:
        """See :class:`Files`."""
        return os.stat(os.path.join(self.root, path)).st_size

    def missing(self, paths: Iterable[str]) -> list[str]:
        """See :class:`Files`."""
        root = str(self.root)
        return [path for path in paths if not os.path.isfile(os.path.join(root, path))]

    def name(self, path: str) -> str:
        """See :class:`Files`."""
        return os.path.join(self.root, path)
