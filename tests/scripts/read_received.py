"""A script that tests start: breaks files that come from elsewhere, reads them, and says what came of it.

``read_received.py SEED FOLDER JSON`` goes through {format of helpers/received.py: number of broken files}. It prints a
line of JSON on each: its name, the seconds and memory it took, whether it was refused, and all that is not in order.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import shutil
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.random import default_rng
from received import FORMATS, Received

from mmgen.errors import UserError, is_clean

MOST = 4096  # MiB that a file may ask for before it ends in a MemoryError: others use this machine too
LATE = 10  # seconds of one core after which a file is interrupted
HANGS = 300  # seconds after which a file that cannot be interrupted, or waits, ends this process
PROJECT = Path(__file__).resolve().parents[2]
BAIT = ("secret.png", "secret.wav", "secret.npy", "secret.json", "secret.tar")
FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.getaddrinfo")
# What any program looks at, and nothing of the user's.
SYSTEM = ("/proc", "/sys", "/dev/null", "/dev/urandom", "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime")
strayed: list[str] = []


def watch(*folders: Path) -> None:
    """Note from now on what this process opens or lists elsewhere, and what it starts or calls on the network."""
    paths = (sysconfig.get_paths()["stdlib"], sys.prefix, sys.base_prefix, str(PROJECT), *map(str, folders), *SYSTEM)
    allowed = tuple(os.path.realpath(path) for path in paths)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not any(path == place or path.startswith(f"{place}{os.sep}") for place in allowed):
                strayed.append(f"{event} {path}")
        elif event in FORBIDDEN:
            strayed.append(f"{event} {arguments}"[:200])

    sys.addaudithook(hook)


class Late(BaseException):
    """No error of the library's, so that nothing takes it for one."""


@contextmanager
def bounded() -> Iterator[None]:
    """Interrupt what takes too long, or end the process with a traceback if it cannot be interrupted."""

    def interrupt(number: int, frame: object) -> None:
        raise Late

    signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, LATE)
    faulthandler.dump_traceback_later(HANGS, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def memory(which: str = "VmHWM") -> float:
    """Peak memory in MiB since the last call, or another number of the process's status; 0 where it is not Linux."""
    try:
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError:
        return 0.0
    return int(status.partition(f"{which}:")[2].split()[0]) / 1024


def broken_files(form: Received, original: Path, work: Path, seed: int, count: int) -> Iterator[tuple[str, Path]]:
    """So many times the format's folder as ``work``, with one file broken: how, and which."""
    found = {path: kinds for pattern, kinds in form.files.items() for path in sorted(original.glob(pattern))}
    assert found, f"nothing in {original} breaks"
    contents = [(path.suffix, path.read_bytes()) for path in found]
    ways = [(path, name, kinds[name]) for path, kinds in found.items() for name in kinds]
    order = default_rng(seed).permutation(len(ways))
    for index in range(count):
        rng = default_rng([seed, index])
        path, name, kind = ways[order[index % len(ways)]]
        data = kind(path.read_bytes(), rng, contents)
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(original, work)
        broken = work / path.relative_to(original)
        broken.write_bytes(data)
        form.after(work, broken, rng)
        yield name, broken


def faults(form: Received, work: Path, broken: Path) -> tuple[bool, list[str]]:
    """Whether a broken file was refused, and what is not in order."""
    named = True
    try:
        sentences = list(form.read(work, broken))
        refused = any(sentence.startswith("problem: ") for sentence in sentences)
    except UserError as error:
        sentences, refused, named = [str(error)], True, str(work) in str(error)
    except SystemExit as end:  # the command line's own parser, which says itself what is wrong
        return True, [] if end.code == 2 else [f"ends with {end.code}"]
    except Late:
        return False, [f"not read after {LATE} seconds"]
    except BaseException as error:
        return False, [f"{type(error).__name__}: {str(error)[:300]}"]
    wrong = [f"not one clean line: {sentence[:300]!r}" for sentence in sentences if not is_clean(sentence)]
    wrong += [f"long: {sentence[:300]!r}" for sentence in sentences if len(sentence) > 5000]
    wrong += [] if named else [f"names no file: {sentences[0][:300]!r}"]
    return refused, wrong


def main(seed: int, folder: Path, counts: dict[str, int]) -> None:
    whole, work = folder / "whole", folder / "inner" / "work"
    for name in BAIT:
        for place in (folder, folder / "inner"):
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(b"not to be read")
    written: dict[Any, Path] = {}  # several formats have the same files
    for name in counts:
        form, original = FORMATS[name], written.setdefault(FORMATS[name].write, whole / name)
        if not original.exists():
            form.write(original)
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(original, work)
        # What is imported late is imported now, and whole files are taken.
        refused, wrong = faults(form, work, next(work.glob(next(iter(form.files)))))
        assert not refused and not wrong, f"{name}, whole: {wrong}"
    watch(whole, work)
    if size := memory("VmSize"):
        resource.setrlimit(resource.RLIMIT_AS, (int(size + MOST) << 20,) * 2)
    usual = memory()
    for name, count in counts.items():
        form = FORMATS[name]
        for index, (kind, broken) in enumerate(broken_files(form, written[form.write], work, seed, count)):
            start = time.process_time()
            with bounded():
                refused, wrong = faults(form, work, broken)
            seconds, more = time.process_time() - start, memory() - usual
            title = f"{name} {index}: {broken.relative_to(work)}, {kind}"
            wrong += strayed
            strayed.clear()
            result = {"file": title, "refused": refused, "wrong": wrong, "seconds": seconds, "memory": more}
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]).resolve(), json.loads(sys.argv[3]))
