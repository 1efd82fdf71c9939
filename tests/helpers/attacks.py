"""Files and folders made to do harm, and a process that is watched while it reads them."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Watched:
    """A process that has ended: its exit status, what it printed, how long it took, and its peak memory in MiB."""

    code: int
    out: str
    errors: str
    seconds: float
    memory: float


# What the system tells of a child's memory begins with that of its parent; this is the process's own.
_CODE = """
import sys
peak = sys.argv.pop(1)
try:
    from mmgen.cli.main import main
    main()
finally:
    with open("/proc/self/status") as status, open(peak, "w") as file:
        file.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def watched(*arguments: object, limit: float = 60, cwd: Path | None = None, **environment: str) -> Watched:
    """``mmgen`` with these arguments in a process of its own, ended after ``limit`` seconds."""
    start = time.monotonic()
    with tempfile.NamedTemporaryFile() as peak:
        command = [sys.executable, "-c", _CODE, peak.name, *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, env={**os.environ, **environment}, cwd=cwd, timeout=limit, check=False
        )
        out, errors = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Watched(done.returncode, out, errors, time.monotonic() - start, int(peak.read() or 0) / 1024)


def picture(seed: int, side: int = 16) -> bytes:
    """A grey PNG of noise."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def class_folders(folder: Path, per_class: int = 6) -> list[str]:
    """Pictures of two classes; the rows of a manifest of them."""
    rows = []
    for number, label in enumerate(("healthy", "ill")):
        (folder / label).mkdir(parents=True)
        for index in range(per_class):
            (folder / label / f"{index}.png").write_bytes(picture(index + 100 * number))
            rows.append(f"{label}/{index}.png,{label}")
    return rows


def manifest(path: Path, rows: Sequence[str]) -> Path:
    """A CSV of rows PATH,LABEL."""
    path.write_text("\n".join(["path,label", *rows]) + "\n", encoding="utf-8")
    return path


def fax(rows: int, width: int, content: bytes) -> bytes:
    """A TIFF of so many rows in the compression of fax machines."""
    tags = [(256, 4, width), (257, 4, rows), (258, 3, 1), (259, 3, 3), (262, 3, 0), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, rows), (279, 4, len(content))]
    table = b"".join(struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(content)) + content + struct.pack("<H", len(tags)) + table + bytes(4)


def sparse_shard(path: Path, members: Mapping[str, bytes | int]) -> Path:
    """A tar archive in which a number stands for so many bytes that take no space on the disk."""
    with path.open("wb") as file:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = content if isinstance(content, int) else len(content)
            file.write(about.tobuf(tarfile.USTAR_FORMAT if about.size < 8 << 30 else tarfile.GNU_FORMAT))
            start = file.tell()
            if isinstance(content, bytes):
                file.write(content)
            file.seek(start + -(-about.size // 512) * 512)
        file.truncate(file.tell() + 1024)
    return path
