"""Commands in processes of their own that are killed while they write, and what is left."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# What changes a folder, as Python tells audit hooks of it before it happens.
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.symlink", "shutil.rmtree")


class Ended(NamedTuple):
    """How a command ended: exit status (-9: killed), the changes that it made to the folder, and seconds."""

    status: int
    changes: int
    seconds: float


def forked(act: Callable[[], Any], folder: Path, change: int | None = None, seconds: float | None = None) -> Ended:
    """Run ``act`` in a child of this process; it is killed at a change of the folder, or after so many seconds.

    What takes long to import is imported in this process, which must have a single thread.
    """
    count, start = folder.parent / "changes", time.monotonic()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = _act(act, folder, change, count)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    if seconds is not None:
        while (
            time.monotonic() - start < seconds
            and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
    _, state = os.waitpid(child, 0)
    changes = int(count.read_text()) if count.exists() else 0
    count.unlink(missing_ok=True)
    return Ended(os.waitstatus_to_exitcode(state), changes, time.monotonic() - start)


def _act(act: Callable[[], Any], folder: Path, change: int | None, count: Path) -> int:
    seen, process = 0, os.getpid()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open":
            path, _, flags = arguments
            if not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(str(folder)) and os.getpid() == process:
            seen += 1
            if seen == change:
                os.kill(process, signal.SIGKILL)

    sys.addaudithook(hook)
    try:
        act()
        return 0
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        count.write_text(str(seen))


def temporaries(folder: Path) -> list[str]:
    """Names of files and folders that were not finished, below a folder."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.startswith(".tmp-") or path.suffix == ".tmp"
    )


def halves(folder: Path) -> list[str]:
    """Names of files under their own names that are only half there: JSON that is none, and empty files."""
    wrong = []
    for path in folder.rglob("*"):
        if (
            path.is_file()
            and not path.name.startswith(".tmp-")
            and path.suffix in (".json", ".png", ".pt", ".tar", ".npy", ".csv")
        ):
            try:
                if path.suffix == ".json":
                    json.loads(path.read_text(encoding="utf-8"))
                elif not path.stat().st_size:
                    raise ValueError("empty")
            except ValueError:
                wrong.append(str(path.relative_to(folder)))
    return wrong
