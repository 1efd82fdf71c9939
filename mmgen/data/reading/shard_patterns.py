"""Which archives a path, folder, URL or pattern of shards stands for."""

from __future__ import annotations

import glob
import os
import posixpath
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from mmgen.data.files import LocalFiles, RemoteFiles
from mmgen.data.table import shown
from mmgen.data.urls import is_url, locate, without_secrets
from mmgen.errors import UserError

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_GROUP = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_MOST_SHARDS = 100_000


def names_shards(text: str) -> bool:
    """Whether a path, URL or pattern is meant as shards, by its ending."""
    return without_secrets(text).lower().endswith(_ARCHIVES)


def expand_braces(pattern: str) -> list[str]:
    """All that a pattern stands for: ``{008..010}`` counts with three digits, ``{a,b}`` names each, in this order.

    Other braces stay as they are. Raises UserError for more than 100,000.
    """
    expanded = [pattern]
    while any(map(_GROUP.search, expanded)):
        expanded = list(islice(chain.from_iterable(map(_expand_first, expanded)), _MOST_SHARDS + 1))
        if len(expanded) > _MOST_SHARDS:
            raise UserError(f"{without_secrets(pattern)} stands for more than {_MOST_SHARDS} shards; use fewer.")
    return list(dict.fromkeys(expanded))


def _expand_first(pattern: str) -> Iterator[str]:
    group = _GROUP.search(pattern)
    if group is None:
        yield pattern
        return
    first, last, names = group.groups()
    if names is not None:
        values = iter(names.split(","))
    else:
        step = 1 if int(first) <= int(last) else -1
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        values = (str(number).zfill(width) for number in range(int(first), int(last) + step, step))
    for value in values:
        yield pattern[: group.start()] + value + pattern[group.end() :]


def find_shards(where: str | os.PathLike[str]) -> tuple[LocalFiles | RemoteFiles, list[str]]:
    """The folder above all archives that a path, folder, URL or pattern stands for, and their paths below it.

    Raises:
        UserError: there are none, some are missing, or they are compressed.
    """
    place = locate(where)
    name = without_secrets(os.fspath(place))
    if isinstance(place, Path):
        found = _find_local(place)
    else:
        found = list(chain.from_iterable(map(_match_remote, expand_braces(place))))
    if not found:
        raise UserError(f"{name} matches no shards; correct the pattern, or give a folder of .tar files.")
    compressed = [path for path in map(without_secrets, found) if not path.lower().endswith(".tar")]
    if compressed:
        raise UserError(
            f"Shards must be uncompressed .tar archives: unpack {shown(compressed)} with gunzip or the like."
        )
    above, shards = _relative(list(dict.fromkeys(found)))
    if isinstance(place, Path):
        source: LocalFiles | RemoteFiles = LocalFiles(Path(above))
    elif above.endswith("://"):
        raise UserError(f"The shards of {name} lie in several buckets or on several hosts; give those of one.")
    else:
        source = RemoteFiles(above)
    missing = source.missing(shards)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(shards)} shards of {name} do not exist ({shown(map(source.name, missing))}); "
            "correct the pattern or fetch them."
        )
    return source, shards


def _find_local(place: Path) -> list[str]:
    if place.is_dir():
        names = sorted(entry.name for entry in place.iterdir() if not entry.name.startswith("."))
        return [(place / name).as_posix() for name in names if name.lower().endswith(".tar")]
    if place.is_file():
        return [place.as_posix()]
    return list(chain.from_iterable(map(_match_local, expand_braces(place.as_posix()))))


def _match_local(path: str) -> list[str]:
    return sorted(glob.glob(path)) if glob.has_magic(path) and not os.path.exists(path) else [path]


def _match_remote(url: str) -> list[str]:
    wild = re.search(r"[*\[]", url)  # a question mark begins a query
    if wild is None:
        return [url]
    folder, _, _ = url[: wild.start()].rpartition("/")
    return [f"{folder}/{path}" for path in RemoteFiles(folder).glob(url[len(folder) + 1 :])]


def _relative(paths: list[str]) -> tuple[str, list[str]]:
    """The deepest folder that all paths have above them, and the paths from there on."""
    start = paths[0].index("://") + 3 if is_url(paths[0]) else 0
    above = posixpath.commonpath([posixpath.dirname(path[start:].partition("?")[0]) for path in paths])
    return paths[0][:start] + above, [path[start + len(above) :].lstrip("/") for path in paths]
