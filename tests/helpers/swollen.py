"""Shards of a few kilobytes that declare gigabytes, and a watch on the memory that reading them takes."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KINDS = ("GNU", "PAX", "large")
_SIZE = 6 << 30


def swell(shard: Path, name: str, kind: str) -> None:
    """Put a sparse member of 6 GB, in either of two formats, or one of 64 MiB and a byte into a shard."""
    about = tarfile.TarInfo(name)
    about.size = (64 << 20) + 1 if kind == "large" else 512
    if kind == "GNU":
        about.type = tarfile.GNUTYPE_SPARSE
        header = bytearray(about.tobuf(tarfile.GNU_FORMAT))
        header[386:410] = b"%011o\0%011o\0" % (0, 512)  # where the only piece is
        header[483:495] = b"%011o\0" % _SIZE
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        with tarfile.open(fileobj=io.BytesIO(header + bytes(1536))) as tar:
            assert tar.next().size == _SIZE  # type: ignore[union-attr]  # what others would read
    else:
        about.pax_headers = {"GNU.sparse.realsize": str(_SIZE), "GNU.sparse.major": "1"} if kind == "PAX" else {}
        header = bytearray(about.tobuf(tarfile.PAX_FORMAT))
    with shard.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + (about.size + 511) // 512 * 512 + 1024)  # a hole


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail if more than 32 MiB are taken meanwhile."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
