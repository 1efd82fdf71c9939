"""Where a manifest's files are: one place to open them, whether they lie in a folder or elsewhere."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar

from mmgen.data.opening import open_regular
from mmgen.data.urls import connect, is_url, os_errors, without_secrets
from mmgen.errors import UserError, shown

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")
_LIST_FROM = 20  # files wanted in one folder: from here on listing it is quicker than asking for each
_REQUESTS = 16  # at once
WHOLE = 32 << 20  # bytes up to which a remote file is fetched in one piece
_BLOCK = 1 << 20  # bytes of a request where it is not
_LONGEST_NAME = 4096
# What servers call a mark of the content or the time of its last change, best first.
_CONTENT_KEYS = (
    *("etag", "md5", "md5hash", "checksum"),
    *("lastmodified", "last_modified", "mtime", "updated", "modify", "modificationtime", "last_write_time", "created"),
)


class Files(Protocol):
    """A set of named files. ``str()`` of it is what messages call it."""

    def open(self, path: str) -> BinaryIO:
        """A seekable binary file; raises OSError if there is none, or something else, such as a pipe."""

    def stamp(self, path: str) -> str:
        """Text that changes when the file's content does, without reading it; raises OSError if there is none."""

    def size(self, path: str) -> int:
        """Bytes of a file; raises OSError if there is none."""

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of ``paths`` that are not there, in their order."""

    def name(self, path: str) -> str:
        """The name of a file in messages: enough for the user to find it, on one line."""


@dataclass(frozen=True)
class LocalFiles:
    """Files below a folder; absolute paths stand for themselves."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def open(self, path: str) -> BinaryIO:
        """See :class:`Files`."""
        return open_regular(os.path.join(str(self.root), path))

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` on, fewer at the end of the file; several threads may read at once."""
        with open_regular(os.path.join(str(self.root), path)) as file:
            return os.pread(file.fileno(), size, offset)

    def stamp(self, path: str) -> str:
        """Size and times of change: the inode's too, since copies may keep the time of their content."""
        about = os.stat(os.path.join(str(self.root), path))
        return f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"

    def size(self, path: str) -> int:
        """See :class:`Files`."""
        return os.stat(os.path.join(str(self.root), path)).st_size

    def missing(self, paths: Iterable[str]) -> list[str]:
        """See :class:`Files`. A folder of which many files are asked for is listed instead."""
        paths = list(paths)
        absent: set[str] = set()
        for folder, members in _by_folder(paths).items():
            unseen = set(members)
            if len(members) >= _LIST_FROM:
                # Not all of it: the folder may hold a million entries that nobody asked for.
                with suppress(OSError), os.scandir(os.path.join(self.root, folder)) as entries:
                    unseen -= {folder + e.name for e in islice(entries, 8 * len(members)) if e.is_file()}
            # Case-insensitive file systems have files that no listing spells like that. What is there and is no file
            # is named when it is opened.
            absent.update(path for path in unseen if not os.path.exists(os.path.join(str(self.root), path)))
        return [path for path in paths if path in absent] if absent else []

    def name(self, path: str) -> str:
        """See :class:`Files`."""
        return shown(os.path.join(str(self.root), path), _LONGEST_NAME)


class RemoteFiles:
    """Files below a URL that fsspec knows (``s3://``, ``gs://``, ``https://``, ``hf://``, ...); URLs stand for
    themselves.

    What a listing says of a file is kept: within the life of this object a file is expected to stay as it is.

    Args:
        url: the folder.

    Raises:
        UserError: the package for the URL's protocol is not installed, or the server cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.url = url if url.endswith("://") else url.rstrip("/")
        self._filesystem, self._root = connect(self.url)
        self._stamps: dict[str, str] = {}  # by path on the file system

    def __str__(self) -> str:
        return without_secrets(self.url)

    def open(self, path: str) -> BinaryIO:
        """A file of up to 32 MiB is fetched in one request; a larger one is read in blocks as they are asked for."""
        filesystem, place = self._resolve(path)
        with os_errors(self.name(path)):
            if _size(self._stamps.get(place, "0")) <= WHOLE:
                start = filesystem.cat_file(place, start=0, end=WHOLE + 1)
                if len(start) != WHOLE + 1:  # more: a server that cannot send a part
                    return io.BytesIO(start)
            file = filesystem.open(place, "rb", block_size=_BLOCK)
            return io.BufferedReader(_RemoteFile(file, self.name(path)))

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` on, in one request; several threads may read at once."""
        filesystem, place = self._resolve(path)
        with os_errors(self.name(path)):
            data = filesystem.cat_file(place, start=offset, end=offset + size)
            if len(data) > size:
                raise OSError("the server sends whole files only; download it first")
            return data

    def stamp(self, path: str) -> str:
        """Size and whatever the server tells of the content: checksum, tag, time of change."""
        filesystem, place = self._resolve(path)
        if place not in self._stamps:
            with os_errors(self.name(path)):
                self._stamps[place] = _stamp(filesystem.info(place))
        return self._stamps[place]

    def size(self, path: str) -> int:
        """See :class:`Files`."""
        return _size(self.stamp(path))

    def missing(self, paths: Iterable[str]) -> list[str]:
        """See :class:`Files`. A folder of which many files are asked for is listed, not asked for each.

        Raises:
            OSError: the server does not answer.
        """
        paths = list(paths)
        folders = _by_folder(paths)
        crowded = [folder for folder, members in folders.items() if len(members) >= _LIST_FROM]
        seen: set[str] = set()
        for found in self._at_once(lambda folder: self._listing(folder, folders[folder]), crowded):
            seen.update(found)
        unseen = [path for path in dict.fromkeys(paths) if path not in seen]
        absent = {
            path for path, is_there in zip(unseen, self._at_once(self._exists, unseen), strict=True) if not is_there
        }
        return [path for path in paths if path in absent] if absent else []

    def find(self) -> list[str]:
        """Paths of all files below the URL, sorted; raises OSError if it is no folder."""
        with os_errors(str(self)):
            found = self._filesystem.find(self._root, detail=True)
        paths = sorted(place[len(self._root) + 1 :] for place in found if place.startswith(f"{self._root}/"))
        if not paths:
            raise FileNotFoundError(f"{self} does not exist or is empty")
        self._keep(found)
        return paths

    def glob(self, pattern: str) -> list[str]:
        """Paths that match a pattern with ``*``, ``?`` and ``[]``, sorted."""
        with os_errors(self.name(pattern)):
            found = self._filesystem.glob(f"{self._root}/{pattern}")
        return sorted(place[len(self._root) + 1 :] for place in found)

    def name(self, path: str) -> str:
        """See :class:`Files`. User names, passwords and queries are left out."""
        return shown(without_secrets(path if is_url(path) else f"{self.url}/{path}"), _LONGEST_NAME)

    def _resolve(self, path: str) -> tuple[AbstractFileSystem, str]:
        """File system and path on it; raises OSError where a URL cannot be used."""
        if not is_url(path):
            return self._filesystem, f"{self._root}/{path}"
        try:
            return connect(path)
        except UserError as error:
            raise OSError(str(error)) from None

    def _listing(self, folder: str, wanted: Iterable[str]) -> list[str]:
        """Those of ``wanted`` that a listing of their folder shows; nothing where it cannot be listed."""
        try:
            filesystem, place = self._resolve(folder)
            place = place.rstrip("/")
            entries = filesystem.ls(place, detail=True)
        except Exception:  # a web server without listings, a key that may read but not list
            return []
        about = {entry["name"].rpartition("/")[2]: entry for entry in entries if entry["type"] != "directory"}
        found = {path: about[name] for path in wanted if (name := path[len(folder) :]) in about}
        self._keep({f"{place}/{path[len(folder) :]}": entry for path, entry in found.items()})
        return list(found)

    def _exists(self, path: str) -> bool:
        filesystem, place = self._resolve(path)
        try:
            with os_errors(self.name(path)):
                about = filesystem.info(place)
        except (FileNotFoundError, PermissionError):
            return False
        if about["type"] == "directory":
            return False
        self._keep({place: about})
        return True

    def _keep(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember what the server says of files, by path on the file system; lists of web pages tell no sizes."""
        for place, about in found.items():
            if about.get("size") is not None:
                self._stamps[place] = _stamp(about)

    def _at_once(self, job: Callable[[str], T], items: list[str]) -> list[T]:
        """``job`` of each item, several at once where the file system can."""
        if not self._filesystem.async_impl or len(items) < 2:
            return [job(item) for item in items]
        with ThreadPoolExecutor(_REQUESTS) as pool:
            return list(pool.map(job, items))


class _RemoteFile(io.RawIOBase):
    """A file of fsspec whose every error is an OSError without access keys."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with os_errors(self._name):
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: bytearray | memoryview) -> int:
        with os_errors(self._name):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """Paths by the folder they are in, written with the slash at its end."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folders[path[: path.rfind("/") + 1]].append(path)
    return folders


def _stamp(about: Mapping[str, Any]) -> str:
    """Size and what tells best of the content, from what fsspec says of a file."""
    values = {key.casefold(): value for key, value in about.items() if value is not None}
    content = next((values[key] for key in _CONTENT_KEYS if key in values), "")
    return f"{values.get('size', 0)} {content}"


def _size(stamp: str) -> int:
    return int(stamp.partition(" ")[0])
