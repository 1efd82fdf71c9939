"""The script of all GPU figures: one document of all parts, of which one may fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from small import PROJECT

PARTS = ["condensation_step", "gan_step", "mel", "sampling", "training_step"]
# An interpreter that runs what comes from standard input, and of scripts writes the flags; one fails.
STUB = f"""#!{sys.executable}
import json, os, sys
if sys.argv[1] == "-":
    os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])
if "gan_step" in sys.argv[1]:
    sys.exit("there is no room")
open(sys.argv[sys.argv.index("--out") + 1], "w").write(json.dumps({{"rows": sys.argv[1:]}}))
"""


def test_parts_become_one_document_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    stub, out = tmp_path / "stub", tmp_path / "folder" / "gpu.json"
    stub.write_text(STUB)
    stub.chmod(0o755)
    for _ in range(2):  # it can be called again
        script = ["bash", str(PROJECT / "benchmarks" / "gpu.sh"), str(out)]
        done = subprocess.run(
            script, env={"PYTHON": str(stub), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
        )
        assert done.returncode == 1, done.stderr
    document = json.loads(out.read_text())
    assert sorted(document["parts"]) == PARTS and document["command"] == f"benchmarks/gpu.sh {out}"
    failed = document["parts"].pop("gan_step")
    assert failed["failed"] == {"status": 1, "error": "there is no room"}
    for name, part in document["parts"].items():
        assert part["rows"][0] == f"benchmarks/{name}.py" and part["rows"][1:3] == ["--device", "cuda"]
    assert "failed" not in document["parts"]["mel"]


def test_all_parts_together_take_at_most_nine_minutes() -> None:
    lines = (PROJECT / "benchmarks" / "gpu.sh").read_text("utf-8").splitlines()
    limits = [int(line.split()[1]) for line in lines if line.strip().startswith("part ") and "--quick" not in line]
    measured = [limit for limit in limits if limit < 600]
    assert len(measured) == len(PARTS) and sum(measured) + 5 <= 540
