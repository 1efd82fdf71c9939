from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, sys, threading
from mmgen.data.quiet import quiet_libraries

def library(text):  # as one in C does
    try:
        os.write(2, text.encode())
    except OSError:
        pass

library("before ")
with quiet_libraries():
    library("lost ")
    print("python", file=sys.stderr, end=" ")
    with quiet_libraries():
        library("lost ")
    thread = threading.Thread(target=lambda: library("lost "))
    thread.start()
    thread.join()
library("after ")
try:
    with quiet_libraries():
        raise ValueError
except ValueError:
    library("raised ")
print("end", file=sys.stderr)
print("done")
"""


def test_libraries_are_silent_and_python_is_not() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == "done\n"
    assert done.stderr == "before python after raised end\n"


def test_a_closed_stderr_is_no_hindrance() -> None:
    code = "from mmgen.data.quiet import quiet_libraries\nwith quiet_libraries(): print('done')"
    command = ["bash", "-c", 'exec 2>&-; exec "$@"', "bash", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "done\n")
