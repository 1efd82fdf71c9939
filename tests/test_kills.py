"""Commands that are killed at any moment and given again make what they would have made. Started by hand: pytest -m
slow, with MMGEN_KILLS=NUMBER for another number of kills in all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from killing import halves, temporaries

KILLS = int(os.environ.get("MMGEN_KILLS", 40))
SCRIPT = Path(__file__).parent / "scripts" / "kill_commands.py"
CASES = (
    "train mae", "train gan", "condense", "recipe mmae", "recipe medsynth", "generate folder", "generate shards",
    "generate anew", "evaluate", "audit", "release", "phantoms",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_command_that_is_killed_and_given_again_makes_the_same(name: str, tmp_path: Path) -> None:
    kills = -(-KILLS // len(CASES))
    command = [sys.executable, SCRIPT, name, str(kills), "1", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["kills"] >= kills and found["compared"] > 1


@pytest.mark.slow
def test_what_a_kill_does_is_seen(tmp_path: Path) -> None:
    """Commands that keep no promise: of the same bytes, of what was whole, of nothing left."""
    code = """
import sys, pathlib, kill_commands as k
def differs(inputs, out, again): out.mkdir(exist_ok=True); (out / "a").write_text(str(again))
def leaves(inputs, out, again):
    out.mkdir(exist_ok=True)
    (out / (".tmp-00000000-b" if again else "a")).write_text("x")
def loses(inputs, out, again): out.mkdir(); (out / "a.json").write_text("{"); (out / "b").write_text("")
def fails(inputs, out, again): sys.exit(2 if again else 0)
folder = pathlib.Path(sys.argv[1])
for number, act in enumerate((differs, leaves, loses, fails)):
    case = k.Case(act, k.digests)
    wrong = k.survive(case, folder, folder / str(number), [{"change": 3}], {"a": "x"})[1]
    print(act.__name__, wrong)
    assert wrong
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=SCRIPT.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_process_dies_at_the_change_it_is_told(tmp_path: Path) -> None:
    code = """
import json, sys, pathlib, os, time
from killing import forked
folder = pathlib.Path(sys.argv[1]) / "a"
folder.mkdir()
def act():
    (folder / ".tmp-x.json").write_text("{")
    os.replace(folder / ".tmp-x.json", folder / "x.json")
    (folder / "y").mkdir(exist_ok=True)
    time.sleep(float(sys.argv[2]))
ends = [forked(act, folder, change)[:2] for change in (2, 3, None)]
sys.argv[2] = "20"
print(json.dumps([*ends, forked(act, folder, seconds=0.3)[0]]))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path, "0"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[-9, 0], [-9, 0], [0, 3], -9]
    assert temporaries(tmp_path) == [] and halves(tmp_path) == ["a/x.json"]
