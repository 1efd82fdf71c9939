"""Commands in environments that programs seldom meet end well, or in one sentence: never in a traceback, never late."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from small import digests

TINY = Path(__file__).parent / "scripts" / "tiny_mmgen.py"
PROGRAM = {"check": ["-c", "from mmgen.cli.main import main; main()"], "generate": [TINY], "condense": [TINY]}
SECONDS = 240  # on a busy machine; alone it takes a twentieth
LONG = "x" * 250
ODD = "mit leer\nzeile ümläut 図"
# Root as others: whoever owns a folder that may not be written may not write to it.
BOUND = "setpriv --bounding-set=-dac_override,-dac_read_search "


@dataclass(frozen=True)
class Odd:
    """An environment.

    Attributes:
        line: in bash, with RUN where the command stands; the folder is the current one, in which ``out`` is made.
        variables: of the environment, None: unset.
        ends: whether the command works, is refused, or may do either.
        out: what --out says.
        place: current folder below the test's own.
        anew: whether another number of threads, or another machine, may give other last bits.
    """

    line: str = "RUN"
    variables: Mapping[str, str | None] = field(default_factory=dict)
    ends: Literal["works", "refused", "either"] = "works"
    out: str = "out"
    place: str = "here"
    anew: bool = False


ENVIRONMENTS: dict[str, Odd] = {
    "nothing odd": Odd(),
    "stdin closed": Odd("RUN <&-"),
    "stdout closed": Odd("RUN >&-"),
    "stderr closed": Odd("RUN 2>&-"),
    "all closed": Odd("RUN <&- >&- 2>&-"),
    "stdout to one who reads a line": Odd("set -o pipefail; RUN | head -1"),
    "stdout to one who reads nothing": Odd("set -o pipefail; RUN | true", ends="either"),
    "stderr to one who reads nothing": Odd("{ RUN 2>&1 >&3 | true; exit ${PIPESTATUS[0]}; } 3>&1", ends="either"),
    "stdout full": Odd("RUN > /dev/full", ends="either"),
    "stderr full": Odd("RUN 2> /dev/full", ends="either"),
    "nothing but a path": Odd("env -i PATH=$PATH PYTHONPATH=$PYTHONPATH RUN", anew=True),
    "locale C": Odd(variables={"LANG": "C", "LC_ALL": None}),
    "locale without UTF-8": Odd(variables={"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    "locale unknown": Odd(variables={"LANG": "xx_YY.UTF-8", "LC_ALL": "zz"}),
    "output in ASCII": Odd(variables={"PYTHONIOENCODING": "ascii"}),
    "output in UTF-16": Odd(variables={"PYTHONIOENCODING": "utf-16"}),
    "no home": Odd(variables={"HOME": None}),
    "home not there": Odd(variables={"HOME": "/nowhere/at/all"}),
    "home not to be written": Odd(f"mkdir -m 555 home; HOME=$PWD/home {BOUND}RUN"),
    "no folder for temporary files": Odd(variables={"TMPDIR": "/nowhere/at/all"}),
    "no folder for temporary files may be written": Odd(f"mkdir -m 555 t; TMPDIR=$PWD/t TEMP=$PWD/t {BOUND}RUN"),
    "current folder not to be written": Odd(f"chmod 555 .; {BOUND}RUN", out="../elsewhere"),
    "current folder deleted": Odd("rmdir ../here; RUN", out="../elsewhere", ends="either"),
    "current folder with an odd name": Odd(place=ODD),
    "out with an odd name": Odd(out=ODD),
    "out with a slash": Odd(out="./out/"),
    "out with dots": Odd(out="a/../b/./out"),
    "out through a link": Odd("mkdir real; ln -s real link; RUN", out="link/out"),
    "out is a link": Odd("mkdir ../real; ln -s ../real out; RUN"),
    "out is a link to nothing": Odd("ln -s ../nothing out; RUN", ends="either"),
    "out below a file": Odd("touch file; RUN", out="file/out", ends="refused"),
    "out is a file": Odd("touch out; RUN", ends="refused"),
    "out is a device": Odd(out="/dev/null", ends="refused"),
    "out is a pipe": Odd("mkfifo out; RUN", ends="refused"),
    "out is empty": Odd(out="", ends="either"),
    "out in a folder not to be written": Odd(f"mkdir -m 555 no; {BOUND}RUN", out="no/out", ends="refused"),
    "out not to be written": Odd(f"mkdir -m 555 out; {BOUND}RUN", ends="refused"),
    "out not to be read": Odd(f"mkdir -m 333 out; {BOUND}RUN", ends="refused"),
    "out on a read-only disk": Odd(
        "mkdir d; mount -t tmpfs -o ro x d || exit 77; RUN; e=$?; umount d; exit $e", out="d/out", ends="refused"
    ),
    "out on a full disk": Odd(
        "mkdir d; mount -t tmpfs -o size=64k x d || exit 77; RUN; e=$?; umount d; exit $e", out="d/out", ends="refused"
    ),
    "out of a long name": Odd(out=LONG, ends="either"),
    "out of too long a name": Odd(out=LONG + LONG, ends="refused"),
    "out of a long path": Odd(out="/".join(["y" * 24] * 10)),
    "out of too long a path": Odd(out="/".join(["y" * 200] * 21), ends="refused"),
    "terminal dumb": Odd(variables={"TERM": "dumb", "NO_COLOR": "1"}),
    "terminal unknown": Odd(variables={"TERM": None, "COLUMNS": "1", "LINES": "0"}),
    "terminal of an odd width": Odd(variables={"COLUMNS": "abc", "FORCE_COLOR": "1"}),
    "warnings are errors": Odd(variables={"PYTHONWARNINGS": "error"}, ends="either"),
    "warnings are shown": Odd(variables={"PYTHONWARNINGS": "always"}),
    "optimised": Odd(variables={"PYTHONOPTIMIZE": "2"}, ends="either"),  # transformers reads its docstrings
    "developer": Odd(variables={"PYTHONDEVMODE": "1"}),
    "hash seed 0": Odd(variables={"PYTHONHASHSEED": "0"}),
    "hash seed 4294967295": Odd(variables={"PYTHONHASHSEED": "4294967295"}),
    "threads none": Odd(variables={"OMP_NUM_THREADS": "0"}, anew=True),
    "threads no number": Odd(variables={"OMP_NUM_THREADS": "abc"}, anew=True),
    "one processor": Odd("taskset -c 0 RUN"),
    "time zone unknown": Odd(variables={"TZ": "Mars/Olympus"}),
    "time zone a path": Odd(variables={"TZ": ":/etc/passwd"}),
    "umask 777": Odd(f"umask 777; {BOUND}RUN", ends="either"),
    "umask 777 for root": Odd("umask 777; RUN"),
    "umask 077": Odd("umask 077; RUN"),
    "umask 000": Odd("umask 000; RUN"),
    "40 files": Odd("ulimit -n 40; RUN", ends="either"),
    "20 files": Odd("ulimit -n 20; RUN", ends="either"),
    "small files": Odd("ulimit -f 4; RUN", ends="refused"),
    "no core, little stack": Odd("ulimit -c 0 -s 1024; RUN"),
    "settings of matplotlib not to be written": Odd(variables={"MPLCONFIGDIR": "/proc/nowhere"}),
    "drawing to a screen": Odd(variables={"MPLBACKEND": "tkagg", "DISPLAY": ":99"}),
    "hub offline": Odd(variables={"HF_HUB_OFFLINE": "1"}),
    "hub's folder not there": Odd(variables={"HF_HOME": "/proc/nowhere"}),
    "no GPU": Odd(variables={"CUDA_VISIBLE_DEVICES": ""}),
    "a GPU that is not there": Odd(variables={"CUDA_VISIBLE_DEVICES": "7"}),
    "a precision that is none": Odd(variables={"ACCELERATE_MIXED_PRECISION": "fp7"}, ends="either"),
    "a process group of one": Odd(variables={"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, ends="either"),
}
DEFAULT = (
    "all closed",
    "stdout to one who reads nothing",
    "current folder deleted",
    "locale without UTF-8",
    "20 files",
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data and a model, in a folder with a space and another script."""
    from small import small_model

    from mmgen.artifacts.models import save_model
    from mmgen.data.phantoms import write_phantom_images, write_phantoms

    folder = tmp_path_factory.mktemp("данные из") / "in"
    write_phantoms(folder, subjects_per_class=4, image_size=32)
    write_phantom_images(folder / "lesions", "lesions", subjects_per_class=8, image_size=32)
    (folder / "model").mkdir()
    save_model(small_model(), folder / "model")
    return folder


def command(name: str, inputs: Path, out: str) -> list[str]:
    data = ["--images", str(inputs / "images"), "--audio", str(inputs / "audio")]
    return {
        "check": ["check", *data],
        "generate": ["generate", str(inputs / "model"), *data, "--per-class", "2", "--out", out],
        "condense": ["condense", str(inputs / "lesions"), "--ipc", "2", "--prior-floor", "4", "--out", out],
    }[name]


@pytest.fixture(scope="module")
def expected(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the commands write where nothing is odd."""
    made = {}
    for name in ("generate", "condense"):
        folder = tmp_path_factory.mktemp(name)
        done = start(ENVIRONMENTS["nothing odd"], command(name, inputs, "out"), folder)
        assert done.returncode == 0, done.stderr
        made[name] = written(folder / "here" / "out")
    return made


def written(out: Path) -> dict[str, str]:
    run = out.with_name(f"{out.resolve().name}_run")
    return digests(out) | ({"weights": digests(run / "model")["model.safetensors"]} if run.is_dir() else {})


def start(odd: Odd, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    place = folder / odd.place
    place.mkdir()
    variables = {**os.environ, "HF_HUB_OFFLINE": "1"} | {key: text for key, text in odd.variables.items() if text}
    variables |= {key: "" for key, text in odd.variables.items() if text == ""}
    for key in (key for key, text in odd.variables.items() if text is None):
        variables.pop(key, None)
    line = odd.line.replace("RUN", '"$0" "$@"')
    return subprocess.run(
        ["bash", "-c", line, sys.executable, *PROGRAM[arguments[0]], *arguments],
        cwd=place, env=variables, capture_output=True, text=True, errors="replace", timeout=SECONDS,
    )  # fmt: skip


def assert_ended(done: subprocess.CompletedProcess[str], odd: Odd) -> None:
    """With success, or with one sentence, and nothing from Python itself."""
    told = f"{done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    for words in ("Traceback", "Exception ignored", "Error:", "Fatal Python"):
        assert words not in done.stderr + done.stdout, told
    assert done.returncode in {"works": (0,), "refused": (2,), "either": (0, 2)}[odd.ends], told
    if done.returncode == 2 and "2>" not in odd.line:
        sentences = [line for line in re.split(r"[\r\n]", done.stderr) if line.startswith("error: ")]
        assert len(sentences) == 1 and len(sentences[0]) < 5000, told


@pytest.fixture(autouse=True)
def _free(tmp_path: Path) -> Iterator[None]:
    """Folders that may not be written are to be removed all the same."""
    yield
    subprocess.run(["chmod", "-R", "u+rwX", str(tmp_path)], check=True)
    shutil.rmtree(tmp_path, ignore_errors=True)


def run_in(name: str, program: str, inputs: Path, folder: Path) -> tuple[Odd, subprocess.CompletedProcess[str]]:
    odd = ENVIRONMENTS[name]
    if BOUND in odd.line and subprocess.run(["bash", "-c", f"{BOUND}true"], capture_output=True).returncode:
        if os.getuid() == 0:
            pytest.skip("root may write everywhere, and setpriv cannot bind it")
        odd = Odd(odd.line.replace(BOUND, ""), odd.variables, odd.ends, odd.out, odd.place)
    done = start(odd, command(program, inputs, odd.out), folder)
    if done.returncode == 77:
        pytest.skip("no disk can be mounted here")
    return odd, done


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in DEFAULT else pytest.mark.slow) for n in ENVIRONMENTS]
)
def test_check(name: str, inputs: Path, tmp_path: Path) -> None:
    odd, done = run_in(name, "check", inputs, tmp_path)
    assert_ended(done, Odd(odd.line, ends="works" if odd.ends == "refused" else odd.ends))
    if done.returncode == 0 and odd.line in ("RUN", "umask 777; RUN"):
        assert done.stdout.endswith("Training can start.\n") or "utf-16" in odd.variables.values()


@pytest.mark.slow
@pytest.mark.parametrize("program", ["generate", "condense"])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_commands_that_write(
    name: str, program: str, inputs: Path, expected: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    odd, done = run_in(name, program, inputs, tmp_path)
    assert_ended(done, odd)
    subprocess.run(["chmod", "-R", "u+rwX", str(tmp_path)], check=True)
    out = tmp_path / odd.place / odd.out
    if done.returncode == 0 and not odd.anew and name != "out is empty":
        assert written(out) == expected[program]
    assert not [path for path in tmp_path.rglob(".tmp-*")]
