"""WebDataset shards in: samples inside tar archives, read in place, on this machine or behind a URL.

A sample is the files of one archive whose names agree up to the first dot: ``000012.png``, ``000012.flac``,
``000012.json``. Archives are not unpacked: their headers are read once, and a file is opened by its place.
"""

from __future__ import annotations

import glob
import io
import os
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mmgen.data.decoded import UnusableFile
from mmgen.data.files import WHOLE, LocalFiles, RemoteFiles
from mmgen.data.opening import Part
from mmgen.data.progress import progress_bar
from mmgen.data.reading.shard_contents import Sample, read_shard
from mmgen.data.table import (
    Columns,
    Manifest,
    encode_labels,
    encode_splits,
    splits_from_paths,
    subjects_or_paths,
)
from mmgen.data.urls import is_url, locate, without_secrets
from mmgen.errors import UserError, first_few, shown

_WORKERS = 4
_ROLES = ("label", "subject", "split")
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_GROUP = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_MOST_SHARDS = 100_000


@dataclass(frozen=True)
class Shard:
    """One archive: ``path`` as its source opens it, ``name`` that begins the paths of its files, and its stamp."""

    path: str
    name: str
    stamp: str


class ShardFiles:
    """Files inside tar archives; a path is the archive's name and the name in it: ``000.tar/000012.png``.

    A file of up to 32 MiB is read whole when it is opened: from an archive on this machine, or by one request from a
    remote one. Of a larger one no more is read than is asked for.

    Args:
        source: where the archives are.
        collection: the name of all of them in messages.
        shards: the archives.
        paths: n paths.
        places: (n, 3) int64, each file's shard, offset and size.
    """

    def __init__(
        self,
        source: LocalFiles | RemoteFiles,
        collection: str,
        shards: list[Shard],
        paths: list[str],
        places: np.ndarray,
    ) -> None:
        self._source, self._collection, self._shards, self._places = source, collection, shards, places
        self._rows = dict(zip(paths, range(len(paths)), strict=True))

    def __str__(self) -> str:
        return self._collection

    def open(self, path: str) -> BinaryIO:
        """See :class:`~mmgen.data.files.Files`. Raises OSError, too, if the archive was written anew since."""
        shard, offset, size = self._place(path)
        name = self._source.name(shard.path)
        if self._source.stamp(shard.path) != shard.stamp:
            raise OSError(f"{name} has changed since it was listed; start again")
        if size > WHOLE:
            return io.BufferedReader(Part(self._source.open(shard.path), offset, size))
        data = self._source.read_range(shard.path, offset, size)
        if len(data) != size:
            raise OSError(f"{name} has become shorter since it was listed; start again")
        return io.BytesIO(data)

    def stamp(self, path: str) -> str:
        """Place in the archive, and the archive's stamp."""
        shard, offset, size = self._place(path)
        return f"{size} {offset} {shard.stamp}"

    def size(self, path: str) -> int:
        """See :class:`~mmgen.data.files.Files`."""
        return self._place(path)[2]

    def missing(self, paths: Iterable[str]) -> list[str]:
        """See :class:`~mmgen.data.files.Files`."""
        return [path for path in paths if path not in self._rows]

    def name(self, path: str) -> str:
        """The archive and the name in it."""
        shard = self._place(path)[0]
        return f"{self._source.name(shard.path)}, member {shown(path[len(shard.name) + 1 :])}"

    def _place(self, path: str) -> tuple[Shard, int, int]:
        if path not in self._rows:
            raise FileNotFoundError(f"{self._collection} holds no {shown(path)}")
        number, offset, size = self._places[self._rows[path]].tolist()
        return self._shards[number], offset, size


def read_shards(where: str | os.PathLike[str], suffixes: Collection[str], columns: Columns | None = None) -> Manifest:
    """Read the samples of one modality from WebDataset shards.

    A sample's label is in its ``.json`` (as "label", "class" or "diagnosis"), or is the text of its ``.cls`` or
    ``.txt``; the ``.json`` may also tell its subject and split, by the same names as a CSV's columns. Without splits
    there, folders named train, val and test above all shards tell them.

    Listing an archive reads every header in it. A remote archive above 32 MiB is read in blocks of 1 MiB for this:
    small files are read through, larger ones are skipped.

    Args:
        where: one .tar archive, a folder of them, or a pattern such as ``shards/{000..099}.tar``, ``shards/*.tar`` or
            ``s3://bucket/{train,test}/{00..09}.tar``.
        suffixes: file name endings to accept, with the dot: what the modality can decode.
        columns: names of the values in the .json, where they are not the usual ones. A sample that its subset leaves
            out needs no label.

    Returns:
        The manifest, in the order of the shards and of the samples in them.

    Raises:
        UserError: there are no shards, some are damaged or compressed, or samples cannot be used: without a label, with
            several files of the modality, with texts that are no JSON or too large.
    """
    columns = columns or Columns()
    collection = without_secrets(os.fspath(where))
    if columns.path is not None:
        raise UserError(f"{collection} holds shards, which have no path column ('{columns.path}'); leave it out.")
    accepted = tuple(sorted(suffix.lower() for suffix in suffixes))
    try:
        source, shard_paths = find_shards(where)
    except OSError as error:
        raise UserError(f"{collection} cannot be looked up ({error}); check it, and whether you may read it.") from None
    listed = _list(source, shard_paths, collection, accepted, columns)
    if not listed.n_samples:
        raise UserError(f"{collection} holds no files that end in {', '.join(accepted)}; give shards of this modality.")
    if not listed.paths:
        raise UserError(
            f'"{columns.subset}" marks no sample of {collection}; write 1 or true in the .json of those to use.'
        )
    labels, label_names = encode_labels(collection, listed.texts["label"])
    subjects, splits = listed.texts["subject"], listed.texts["split"]
    return Manifest(
        ShardFiles(source, collection, listed.shards, listed.paths, np.concatenate(listed.places)),
        listed.paths,
        labels,
        label_names,
        subjects_or_paths(subjects, listed.paths) if any(subjects) else None,
        encode_splits(f"The split in {collection}", splits) if any(splits) else splits_from_paths(listed.paths),
        np.array(listed.origins, dtype=np.int64),
    )


@dataclass
class _Listed:
    """The used samples of all shards, as columns; a text that many samples share is in memory once."""

    shards: list[Shard] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)  # of each shard (n, 3): its number, offsets, sizes
    texts: dict[str, list[str]] = field(default_factory=lambda: {role: [] for role in _ROLES})
    origins: list[int] = field(default_factory=list)  # places among all samples
    n_samples: int = 0  # with those that are left out


def _list(
    source: LocalFiles | RemoteFiles,
    paths: list[str],
    collection: str,
    suffixes: tuple[str, ...],
    columns: Columns,
) -> _Listed:
    """The shards' samples; faults are raised together."""

    def read(path: str) -> tuple[str, list[Sample], list[str]] | str:
        try:
            stamp = source.stamp(path)
            with source.open(path) as file:
                return stamp, *read_shard(file, source.size(path), suffixes, columns)
        except (UnusableFile, OSError) as error:
            return str(error)

    names = [path.partition("?")[0] if isinstance(source, RemoteFiles) else path for path in paths]
    listed, damaged, problems = _Listed(), [], []
    known: dict[str, str] = {}
    with ThreadPoolExecutor(_WORKERS) as pool:
        results = progress_bar(pool.map(read, paths), len(paths), "Listing shards")
        for path, name, result in zip(paths, names, results, strict=True):
            if isinstance(result, str):
                damaged.append(f"{name}: {result}")
                continue
            stamp, samples, faulty = result
            problems.extend(f"{name}: {problem}" for problem in faulty)
            used = [(n, sample) for n, sample in enumerate(samples, listed.n_samples) if sample.about is not None]
            listed.n_samples += len(samples)
            listed.origins.extend(n for n, _ in used)
            listed.paths.extend(f"{name}/{sample.name}" for _, sample in used)
            places = [(len(listed.shards), sample.offset, sample.size) for _, sample in used]
            listed.places.append(np.array(places, dtype=np.int64).reshape(-1, 3))
            listed.shards.append(Shard(path, name, stamp))
            for role, texts in listed.texts.items():
                texts.extend(known.setdefault(text, text) for text in (getattr(s.about, role) for _, s in used))
    if damaged:
        raise UserError(
            f"{len(damaged)} of {len(paths)} shards of {collection} cannot be used ({first_few(damaged)}); "
            "fetch or write them again."
        )
    if problems:
        raise UserError(
            f"{len(problems)} samples of {collection} cannot be used ({first_few(problems)}); repair or remove them."
        )
    return listed


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
        found = []
        for url in expand_braces(place):
            wild = re.search(r"[*\[]", url)  # a question mark begins a query
            folder = url[: wild.start()].rpartition("/")[0] if wild else ""
            below = RemoteFiles(folder).glob(url[len(folder) + 1 :]) if wild else ()
            found += [f"{folder}/{path}" for path in below] if wild else [url]
    if not found:
        raise UserError(f"{name} matches no shards; correct the pattern, or give a folder of .tar files.")
    compressed = [path for path in map(without_secrets, found) if not path.lower().endswith(".tar")]
    if compressed:
        raise UserError(
            f"Shards must be uncompressed .tar archives: unpack {first_few(compressed)} with gunzip or the like."
        )
    found = list(dict.fromkeys(found))
    start = found[0].index("://") + 3 if is_url(found[0]) else 0
    deepest = posixpath.commonpath([posixpath.dirname(path[start:].partition("?")[0]) for path in found])
    above, shards = found[0][:start] + deepest, [path[start + len(deepest) :].lstrip("/") for path in found]
    if isinstance(place, Path):
        source: LocalFiles | RemoteFiles = LocalFiles(Path(above))
    elif above.endswith("://"):
        raise UserError(f"The shards of {name} lie in several buckets or on several hosts; give those of one.")
    else:
        source = RemoteFiles(above)
    missing = source.missing(shards)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(shards)} shards of {name} do not exist ({first_few(map(source.name, missing))}); "
            "correct the pattern or fetch them."
        )
    return source, shards


def _find_local(place: Path) -> list[str]:
    if place.is_dir():
        names = sorted(e.name for e in place.iterdir() if e.name.lower().endswith(".tar") and e.name[0] != ".")
        return [(place / name).as_posix() for name in names]
    found = []
    for path in [place.as_posix()] if place.is_file() else expand_braces(place.as_posix()):
        found += sorted(glob.glob(path)) if glob.has_magic(path) and not os.path.exists(path) else [path]
    return found
