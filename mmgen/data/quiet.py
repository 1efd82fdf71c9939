"""What libraries in C print to stderr, kept from the terminal."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mmgen.data.progress import Stream

_lock = threading.Lock()
_inside = 0
_restore = ExitStack()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """While any thread is in this block, what is written to the process's stderr but not by Python goes nowhere.

    A damaged file makes decoders print a line for each of its rows, and into a terminal they print what it says.
    ``sys.stderr`` is another object meanwhile and writes to the real one; a stream that was taken from it before is
    silent.
    """
    global _inside
    with _lock:
        if not _inside:
            _redirect(_restore)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _restore.close()


def _redirect(restore: ExitStack) -> None:
    """Lead file number 2 to nowhere until ``restore`` is closed; nothing happens where there is none."""
    try:
        real, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:
        return
    earlier = sys.stderr
    try:
        is_terminal = earlier is not None and earlier.fileno() == 2
    except (OSError, ValueError, AttributeError):  # a notebook's, or a test's
        is_terminal = False
    if is_terminal:
        earlier.flush()
        own = open(real, "w", 1, encoding=earlier.encoding, errors=earlier.errors, closefd=False)  # noqa: SIM115
        sys.stderr = Stream(own)
    os.dup2(nowhere, 2)
    os.close(nowhere)

    def undo() -> None:
        if is_terminal:
            sys.stderr.flush()
            sys.stderr = earlier
        os.dup2(real, 2)
        os.close(real)

    restore.callback(undo)
