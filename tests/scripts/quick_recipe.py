"""A script that tests start: runs a recipe with its other arguments, but measures and attacks briefly."""

from __future__ import annotations

import runpy
import sys
from dataclasses import replace

from tiny import QUICK_ATTACKS

from mmgen import presets
from mmgen.assessment import auditing
from mmgen.evaluation.utility import UtilityConfig

QUICK = replace(presets.PRESETS["tiny"], utility=UtilityConfig(updates=1, seeds=1, max_side=32))

if __name__ == "__main__":
    presets.PRESETS["tiny"] = QUICK
    auditing.FAST = QUICK_ATTACKS
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
