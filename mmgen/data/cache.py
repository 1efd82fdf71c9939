"""Decoded files on disk: memory-mapped, bounded, shared by processes, and never wrong because one was killed.

A store holds the files of one place decoded with one set of settings, each in a slot of fixed size. A slot counts only
if its record in the index names the file's present stamp and the checksum of its values, so a write that was cut off,
by a kill or by loss of power, is decoded again. Two processes that fill a slot at once write the same bytes.

    CACHE/KEY/about.json    settings; the time of its last change is the time of last use
    CACHE/KEY/index.bin     a record a slot
    CACHE/KEY/values.bin    the slots, sparse until they are filled
    CACHE/KEY/lock          held while the store is open, so that nobody removes it
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmgen.data.decoded import Decoded, Remark
from mmgen.errors import UserError

logger = logging.getLogger(__name__)

_RECORD = np.dtype(
    [("path", "u8"), ("stamp", "u8"), ("content", "u8"), ("crc", "u4"), ("count", "u2"), ("remarks", "u2")]
)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Decoded copies of training data, to be deleted at will.\n"


@dataclass(frozen=True)
class Cache:
    """Where decoded files are kept, and how many bytes they may take.

    The folder holds copies of the real data: it is made for its owner alone and belongs where the data may be.
    """

    folder: Path
    limit: int

    def open(
        self, about: Mapping[str, Any], paths: Sequence[str], shape: Sequence[int], dtype: np.dtype
    ) -> tuple[Store, np.ndarray]:
        """The store of what ``about`` describes (JSON-able: place, settings, version), with slots for ``paths``.

        Paths that are new get slots as far as the limit allows, for which stores that are not in use give way, the
        longest unused first.

        Returns:
            The store and the slot of each path, (n,) int64, -1 where the limit left none.

        Raises:
            OSError: the folder cannot be used, e.g. because the disk is full.
        """
        described = json.dumps([about, _RECORD.descr], sort_keys=True)
        folder = self.folder / hashlib.sha256(described.encode()).hexdigest()[:32]
        slot_bytes = int(np.prod(shape)) * dtype.itemsize
        digests = (hashlib.blake2b(path.encode(errors="surrogateescape"), digest_size=8).digest() for path in paths)
        hashes = np.frombuffer(b"".join(digests), dtype="u8")
        with self._lock():
            room = self.limit - self._make_room(folder, len(paths) * slot_bytes)
            capacity, known = room // slot_bytes, _size(folder / "index.bin") // _RECORD.itemsize
            outgrown = known > capacity  # or too full of files that are gone to take those that are there:
            if 0 < known <= capacity < known + len(paths):
                kept = np.fromfile(folder / "index.bin", _RECORD, count=known)["path"]
                outgrown = known + len(np.setdiff1d(hashes, kept)) > capacity and bool(len(np.setdiff1d(kept, hashes)))
            if outgrown and _unused(folder):
                _remove(folder)
            folder.mkdir(mode=0o700, exist_ok=True)
            held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(held, fcntl.LOCK_SH)
                (folder / "about.json").write_text(described, encoding="utf-8")
                slots = _allocate(folder, hashes, slot_bytes, capacity)
                return Store(folder, held, shape, dtype), slots
            except OSError:
                os.close(held)  # or nobody could remove the store while this process lives
                raise

    def remove_unused(self) -> None:
        """Remove all stores that no process has open."""
        if self.folder.is_dir():
            with self._lock():
                self._make_room(self.folder, self.limit + 1)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One process at a time makes, enlarges or removes stores."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "CACHEDIR.TAG").write_text(_TAG, encoding="utf-8")  # backups leave such folders out
        with (self.folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _make_room(self, wanted: Path, needed: int) -> int:
        """Bytes that other stores keep, after removing unused ones until ``needed`` bytes fit, or none is left."""
        stores = [path for path in self.folder.iterdir() if (path / "lock").is_file() and path != wanted]
        sizes = {path: _size(path / "values.bin") for path in stores}
        used = {path: about.stat().st_mtime if (about := path / "about.json").is_file() else 0.0 for path in stores}
        for path in sorted(stores, key=used.__getitem__):
            if sum(sizes.values()) + needed <= self.limit:
                break
            if _unused(path):
                _remove(path)
                del sizes[path]
        return sum(sizes.values())


class Store:
    """Slots of one cache folder; see :class:`Cache`.

    Attributes:
        values: (slots, S, C, H, W), memory-mapped.
    """

    def __init__(self, folder: Path, held: int, shape: Sequence[int], dtype: np.dtype) -> None:
        self.folder = folder
        self._held = held
        self._index_file = os.open(folder / "index.bin", os.O_RDWR)
        self._values_file = os.open(folder / "values.bin", os.O_RDWR)
        self._full = False
        self._lock = threading.Lock()
        if os.fstat(self._index_file).st_size:
            self._index = np.memmap(folder / "index.bin", _RECORD, "r")
            self.values = np.asarray(np.memmap(folder / "values.bin", dtype, "r")).reshape(-1, *shape)
        else:  # no room for a single slot; an empty file cannot be mapped
            self._index, self.values = np.zeros(0, _RECORD), np.zeros((0, *shape), dtype)

    def __del__(self) -> None:
        for name in ("_held", "_index_file", "_values_file"):
            if (file := getattr(self, name, None)) is not None:
                os.close(file)

    def about(self, slot: int, stamp: int) -> tuple[int, Remark, int] | None:
        """(samples, remarks, digest of the content) of a file, or None where it has to be decoded; the values are not
        looked at."""
        if slot < 0 or (record := self._index[slot])["stamp"] != stamp:
            return None
        return int(record["count"]), Remark(int(record["remarks"])), int(record["content"])

    def holds(self, slot: int, stamp: int) -> bool:
        """Whether a file's values are there and whole."""
        if slot < 0 or (record := self._index[slot])["stamp"] != stamp:
            return False
        return zlib.crc32(self.values[slot, : record["count"]]) == record["crc"]

    def put(self, slot: int, stamp: int, decoded: Decoded, content: int) -> bool:
        """Keep a file's values, and the digest of its content; False where there is no slot or no space on the disk (a
        warning says so once)."""
        if slot < 0 or self._full:
            return False
        values = np.ascontiguousarray(decoded.values)
        about = (self._index[slot]["path"], stamp, content, zlib.crc32(values), len(values), int(decoded.remarks))
        record = np.array(about, _RECORD).tobytes()
        try:
            # Written, not assigned through the map: a full disk then is an error, not the end of the process.
            _write_all(self._values_file, values.tobytes(), slot * self.values[0].nbytes)
            _write_all(self._index_file, record, slot * _RECORD.itemsize)
        except OSError as error:
            with self._lock:
                told, self._full = self._full, True
            if not told:
                logger.warning(
                    "Decoded files are not kept any more, because %s cannot be written (%s); files that are not in the "
                    "cache are decoded each time. Free space, or choose another --cache.",
                    self.folder.parent,
                    error.strerror or error,
                )
            return False
        return True


def parse_size(text: str) -> int:
    """Bytes of a size such as "20GB", "500 MB" or "0"; raises UserError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?)i?b?\s*", text.lower())
    if not found:
        raise UserError(f"'{text}' is no size; write it like 20GB, 500MB or 0.")
    return int(float(found[1]) * _UNITS[found[2]])


def _allocate(folder: Path, paths: np.ndarray, slot_bytes: int, capacity: int) -> np.ndarray:
    """Slots (n,) of path hashes (n,), -1 beyond the capacity; new ones are added to the index."""
    with (folder / "index.bin").open("ab") as file:
        whole = file.tell() // _RECORD.itemsize  # a record that was cut off is dropped
        file.truncate(whole * _RECORD.itemsize)
    known = np.fromfile(folder / "index.bin", _RECORD)["path"]
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known, paths, sorter=order), max(len(known) - 1, 0))
    slots = np.full(len(paths), -1, dtype=np.int64)
    if len(known):
        candidates = order[place]
        slots = np.where(known[candidates] == paths, candidates, -1)
    new = np.unique(paths[slots < 0], return_index=True)[1]
    new = np.flatnonzero(slots < 0)[np.sort(new)][: max(capacity - len(known), 0)]
    slots[new] = len(known) + np.arange(len(new))
    records = np.zeros(len(new), _RECORD)
    records["path"] = paths[new]
    with (folder / "index.bin").open("ab") as file:
        file.write(records.tobytes())
    with (folder / "values.bin").open("ab") as file:
        file.truncate((len(known) + len(new)) * slot_bytes)
    return slots


def _remove(folder: Path) -> None:
    """Remove a store; its lock goes last, so that one whose removal was cut off is still known for a store."""
    for path in folder.iterdir():
        if path.name != "lock":
            path.unlink()
    shutil.rmtree(folder)


def _unused(folder: Path) -> bool:
    """Whether no process holds the store; the caller keeps others from opening it."""
    if not folder.is_dir():
        return False
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _write_all(file: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
