"""A script that tests start in one or more processes: carries out ``mmgen`` command lines, given as JSON.

A command line is a list of arguments, or ``{"arguments": [...], "kill": [number, moment]}``: that one runs in a process
of its own, which is killed ``"before"`` or ``"after"`` it has given the file of that number its name, or before it adds
the ``"member"`` of that number to a tar file. The last line of output says as JSON for each command line whether it was
killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tarfile
import threading
from collections.abc import Callable
from typing import Any

from mmgen.cli.main import main


def run(arguments: list[str]) -> None:
    sys.argv = ["mmgen", *arguments]
    main()


def run_and_die(arguments: list[str], number: int, moment: str) -> bool:
    """Whether the process was killed before it had ended."""
    # What takes long to load is loaded once, here; the children share it.
    import librosa  # noqa: F401
    import torchaudio  # noqa: F401

    import mmgen.generation.pairs  # noqa: F401

    child = os.fork()
    if child == 0:
        deadly(number, moment)
        status = 1
        try:
            run(arguments)
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    _, state = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(state) and os.WTERMSIG(state) == signal.SIGKILL
    assert killed or os.WEXITSTATUS(state) == 0, state
    return killed


def deadly(number: int, moment: str) -> None:
    """Let this process kill itself at the renaming of a file or the growth of a tar file."""
    lock, seen = threading.Lock(), 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> None:
            nonlocal seen
            with lock:
                seen += 1
                last = seen == number
            if last and moment != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            function(*arguments)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)

        return call

    if moment == "member":
        tarfile.TarFile.addfile = counted(tarfile.TarFile.addfile)
    else:
        os.replace = counted(os.replace)


if __name__ == "__main__":
    killed = []
    for command in json.loads(sys.argv[1]):
        if isinstance(command, dict):
            killed.append(run_and_die(command["arguments"], *command["kill"]))
        else:
            run(command)
            killed.append(False)
    print(json.dumps(killed))
