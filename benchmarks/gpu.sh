#!/usr/bin/env bash
# Every figure of speed that needs a GPU, in at most nine minutes on one device, as one JSON file. Nothing is fetched from
# a network. It can be called again; a part that fails or takes too long is named with its error and the others go on.
#
#     benchmarks/gpu.sh [OUT] [--quick]
#
# --quick: the smallest sizes on whatever device there is, to see that everything runs. PYTHON names the interpreter.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
out=benchmarks/results/gpu.json quick=
for flag in "$@"; do
    if [ "$flag" = --quick ]; then quick=1; else out=$flag; fi
done
python=${PYTHON:-python}
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
export HF_HUB_OFFLINE=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
device=cuda
[ -n "$quick" ] && device=auto

# part SECONDS NAME SCRIPT [FLAG...]: the script's own JSON, or its last words
part() {
    local limit=$1 name=$2 script=$3 start=$SECONDS
    shift 3
    timeout -k 5 "$limit" "$python" "benchmarks/$script.py" --device "$device" --out "$parts/$name.json" "$@" \
        >"$parts/$name.log" 2>&1
    echo "$? $((SECONDS - start))" >"$parts/$name.state"
    echo "$name: status and seconds $(cat "$parts/$name.state")"
}

if [ -n "$quick" ]; then
    part 600 training_step training_step --quick
    part 600 sampling sampling --quick
    part 600 condensation_step condensation_step --image-size 32 --classes 2 --images 20 --images-per-class 2 \
        --budget quick --updates 1 --workers 1
    part 600 gan_step gan_step --sizes 32 --width 8 --batch-size 2 --rounds 1
    part 600 mel mel --seconds 0.5 --clips 1 --repeats 1 --threads 1
else
    # Together at most 535 seconds.
    part 190 training_step training_step --batch-size 64 --rounds 10
    part 100 sampling sampling --sides 64 224 --batch-sizes 8 64 256 --rounds 2 --count 256
    part 100 condensation_step condensation_step
    part 95 gan_step gan_step --batch-size 32
    part 50 mel mel --threads 1
fi

"$python" - "$parts" "$out" "benchmarks/gpu.sh $*" "$SECONDS" <<'PYTHON'
import json
import sys
from pathlib import Path

from mmgen.artifacts.provenance import machine, package_versions

parts, out, command, seconds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].strip(), int(sys.argv[4])
document = {"command": command, "machine": machine(), "versions": package_versions(), "seconds": seconds, "parts": {}}
for state in sorted(parts.glob("*.state")):
    status, taken = map(int, state.read_text().split())
    result = state.with_suffix(".json")
    found = json.loads(result.read_text()) if result.is_file() else {}
    if status:
        last = state.with_suffix(".log").read_text(errors="replace").strip().splitlines()[-1:]
        found["failed"] = {"status": status, "error": "took too long" if status in (124, 137) else "".join(last)[:300]}
    document["parts"][state.stem] = {"seconds": taken} | found
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
print(f"{out}: {seconds} s")
sys.exit(any("failed" in part for part in document["parts"].values()))
PYTHON
