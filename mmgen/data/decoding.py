"""The files of a manifest as one array that is decoded when it is read, and kept in the cache."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from itertools import chain
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from mmgen.data.cache import Cache, Store
from mmgen.data.decoded import Decoded, Remark, UnusableFile
from mmgen.data.files import Files, LocalFiles
from mmgen.data.progress import progress_bar
from mmgen.data.quiet import quiet_libraries
from mmgen.data.settings import DECODER_VERSION, Settings, kind_of, settings_to_dict
from mmgen.data.threads import Room, in_order, one_thread
from mmgen.errors import UserError, first_few, refuse_broken_package

logger = logging.getLogger(__name__)
T = TypeVar("T")

_FILES_PER_JOB = 32
_READ = Room(128 << 20)  # bytes of files that all threads together may have read at once
_PIECE, _MOST_DIGESTED = 1 << 20, 256  # bytes, and pieces


class DecodedFiles:
    """Files decoded with one set of settings: from the cache where they are in it, from the files otherwise.

    Args:
        files: where the files are.
        paths: n of them.
        settings: how they are decoded.
        cache: where to keep decoded values; None: files are decoded each time they are read.

    Attributes:
        counts: (n,) samples of each file, 1 until :meth:`fill` has looked.
        remarks: (n,) :class:`Remark` of each file as numbers, none until :meth:`fill` has looked.
        stamps: (n,) uint64, each another one when its file may have changed; 0 until it was looked at.
        contents: (n,) uint64, digests of what is in the files; 0 until they were read.
        kind: the kind of these files.
    """

    def __init__(self, files: Files, paths: Sequence[str], settings: Settings, cache: Cache | None = None) -> None:
        self.files, self.paths, self.settings = files, paths, settings
        self.counts = np.ones(len(paths), dtype=np.int64)
        self.remarks = np.zeros(len(paths), dtype=np.int64)
        self.stamps, self.contents = np.zeros((2, len(paths)), dtype=np.uint64)
        self.kind = kind_of(settings)
        self._store: Store | None = None
        self._slots = np.full(len(paths), -1)
        self._ready = np.zeros(len(paths), dtype=bool)  # in the store, and found whole by this process
        if cache is None or not len(paths):
            return
        if cache.limit <= 0:
            cache.remove_unused()
            return
        place = os.path.abspath(str(files)) if isinstance(files, LocalFiles) else str(files)
        about = {"place": place, "settings": settings_to_dict(settings), "version": DECODER_VERSION}
        shape = (self.kind.most_samples(settings), *settings.shape)
        try:
            self._store, self._slots = cache.open(about, paths, shape, self.kind.dtype)
        except OSError as error:
            logger.warning(
                "Decoded files are not kept, because %s cannot be used (%s); files are decoded each time they are "
                "read. Free space, or choose another --cache.",
                cache.folder,
                error.strerror or error,
            )
        if self._store and (lacking := (self._slots < 0).sum()):
            logger.warning(
                "Decoded copies of %d of %d files do not fit into --cache-limit; these are decoded each time.",
                lacking,
                len(paths),
            )

    def name(self, row: int) -> str:
        """What messages call a file."""
        return self.files.name(self.paths[row])

    def select(self, keep: ArrayLike) -> DecodedFiles:
        """The files at integer indices or where a mask is true; what is known about them is kept."""
        chosen = copy.copy(self)
        chosen.paths = [self.paths[row] for row in np.arange(len(self.paths))[keep]]
        chosen.counts, chosen.remarks = self.counts[keep], self.remarks[keep]
        chosen.stamps, chosen.contents = self.stamps[keep], self.contents[keep]
        chosen._slots, chosen._ready = self._slots[keep], self._ready[keep]
        return chosen

    def fill(self, progress: bool = True) -> dict[int, str]:
        """Decode what the cache lacks, in threads; counts and remarks of all files are known afterwards.

        Processes that fill one cache at once share the work.

        Returns:
            {row: reason} of the files that cannot be used.
        """
        n, rank, world = len(self.paths), int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        first = n * (rank % world) // world
        order = [*range(first, n), *range(first)]

        def look(row: int) -> tuple[int, str] | None:
            try:
                stamp = self._stamp(row)
                about = None if self._store is None else self._store.about(self._slots[row], stamp)
                if about is None:
                    decoded, content = self._decode(row)
                    about = len(decoded.values), decoded.remarks, content
                    if self._store is not None:
                        self._ready[row] = self._store.put(int(self._slots[row]), stamp, decoded, content)
            except UnusableFile as error:
                return row, str(error)
            self.stamps[row] = stamp
            self.counts[row], self.remarks[row], self.contents[row] = about
            return None

        # The threads are ours. Pictures are decoded without torch, which takes seconds to load.
        with nullcontext() if self.kind.is_picture else one_thread(), quiet_libraries():
            # The first alone: threads that import a broken package at once get half of it, and lose the reason.
            looks = chain(map(look, order[:1]), in_threads(look, order[1:], self.files))
            found = progress_bar(looks, total=n, description=self.kind.progress, quiet=not progress)
            return dict(sorted(problem for problem in found if problem))

    def look_at_rest(self) -> None:
        """Find :attr:`stamps` of the files that :meth:`fill` did not look at, and :attr:`contents` of those among them
        that are in the cache."""
        for row in np.flatnonzero(self.stamps == 0).tolist():
            with suppress(UnusableFile):  # decoding says why
                self.stamps[row] = stamp = self._stamp(row)
                if self._store is not None and (about := self._store.about(self._slots[row], stamp)):
                    self.contents[row] = about[2]

    def look_into(self, rows: np.ndarray) -> None:
        """Find :attr:`contents` of some files by reading them; raises UserError as :meth:`read`."""
        for _ in in_threads(self._fetch, rows.tolist(), self.files):
            pass

    def read(self, rows: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Samples (B, C, H, W): part ``parts[b]`` of file ``rows[b]``.

        Raises:
            UserError: naming the files that cannot be decoded, or changed since they were looked at.
        """
        fresh: dict[int, np.ndarray] = {}
        if not self._ready[rows].all():
            todo = [row for row in np.unique(rows[~self._ready[rows]]).tolist() if not self._in_store(row)]
            if todo:
                with quiet_libraries():
                    fresh = dict(in_threads(self._fetch, todo, self.files))
        if not fresh:
            assert self._store is not None
            return self._store.values[self._slots[rows], parts]
        out = np.empty((len(rows), *self.settings.shape), self.kind.dtype)
        for place, (row, part) in enumerate(zip(rows.tolist(), parts.tolist(), strict=True)):
            whole = fresh[row] if row in fresh else self._store.values[self._slots[row]]
            out[place] = whole[part]
        return out

    def _in_store(self, row: int) -> bool:
        """Whether the store has a file's values whole; looked at once, and so quick that threads would cost more."""
        if self._store is None:
            return False
        try:
            self._ready[row] = self._store.holds(self._slots[row], self._stamp(row))
        except UnusableFile:  # decoding says why
            return False
        return bool(self._ready[row])

    def _fetch(self, row: int) -> tuple[int, np.ndarray]:
        """The row, and values (S, C, H, W) of its file."""
        try:
            stamp = self._stamp(row)
            decoded, self.contents[row] = self._decode(row)
        except UnusableFile as error:
            raise UserError(unusable([f"{self.name(row)} ({error})"])) from error
        if len(decoded.values) < self.counts[row]:
            raise UserError(f"{self.name(row)} has changed while it was in use; start again.")
        if self._store is not None:
            self._ready[row] = self._store.put(int(self._slots[row]), stamp, decoded, int(self.contents[row]))
        return row, decoded.values

    def _stamp(self, row: int) -> int:
        path = self.paths[row]
        try:
            text = f"{path}\0{self.files.stamp(path)}"
        except (OSError, ValueError) as error:
            raise UnusableFile(_reason(error)) from error
        digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "little") | 1  # 0 is a slot that was never filled

    def _decode(self, row: int) -> tuple[Decoded, int]:
        """What a file holds, and the digest of its content."""
        try:
            # Of a file as much may be in memory while it is decoded.
            with _READ.take(self.files.size(self.paths[row])), self.files.open(self.paths[row]) as file:
                return self.kind.decode(file, self.settings), _digest(file)
        except Exception as error:
            refuse_broken_package(error)
            if isinstance(error, OSError | ValueError):
                raise UnusableFile(_reason(error)) from error
            raise


class DecodedArray:
    """Samples as an array (N, C, H, W) that is read on indexing.

    Integers, slices, integer arrays and masks give numpy arrays; :meth:`select` gives a part that is still to be read.
    """

    def __init__(self, files: DecodedFiles, rows: np.ndarray, parts: np.ndarray) -> None:
        self._files, self._rows, self._parts = files, rows, parts

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return (len(self), *self._files.settings.shape)

    @property
    def dtype(self) -> np.dtype:
        """uint8 or float16."""
        return self._files.kind.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, parts = self._rows[index], self._parts[index]
        if np.ndim(rows) == 0:
            return self._files.read(np.array([rows]), np.array([parts]))[0]
        return self._files.read(rows, parts)

    def select(self, index: ArrayLike) -> DecodedArray:
        """The samples at integer indices or where a mask is true, unread."""
        return DecodedArray(self._files, self._rows[index], self._parts[index])


def unusable(problems: Sequence[str]) -> str:
    """The sentence about files that cannot be used, each given as "NAME (REASON)"."""
    one = len(problems) == 1
    return (
        f"{len(problems)} {'file' if one else 'files'} cannot be used: {first_few(problems)}; repair or remove "
        f"{'it' if one else 'them'}, or leave out all such files with --skip-bad."
    )


def remark_text(remarks: Remark) -> str:
    """Remarks in words."""
    words = {
        Remark.BLANK: "blank: one value throughout",
        Remark.SILENT: "silent",
        Remark.SHORT: "shorter than 0.1 seconds",
        Remark.CLIPPED: "clipped",
        Remark.BURNT_IN: "declares text about the patient in its pixels",
    }
    return ", ".join(text for remark, text in words.items() if remark & remarks)


def in_threads(function: Callable[[int], T], rows: Sequence[int], files: Files) -> Iterator[T]:
    """``function`` of every row of a manifest with these files, in order; several rows a job where there are many."""
    if len(rows) == 1:
        yield function(rows[0])
        return
    size = _FILES_PER_JOB if len(rows) > 8 * _FILES_PER_JOB else 1

    def work(start: int) -> Iterable[T]:
        return [function(row) for row in rows[start : start + size]]

    # More threads than processors would only wait for one another, unless they wait for a server.
    workers = os.cpu_count() if isinstance(files, LocalFiles) else None
    yield from chain.from_iterable(in_order(work, range(0, len(rows), size), workers=workers))


def _digest(file: BinaryIO) -> int:
    """Of a file's bytes, never 0; 0 for more than are read twice in a moment."""
    digest = hashlib.blake2b(digest_size=8)
    file.seek(0)
    for _ in range(_MOST_DIGESTED):
        if not (data := file.read(_PIECE)):
            return int.from_bytes(digest.digest(), "little") | 1
        digest.update(data)
    return 0


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
