"""A script that tests start in one or more processes: carries out ``mmgen`` command lines, given as JSON."""

from __future__ import annotations

import json
import sys

from mmgen.cli import main

if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        sys.argv = ["mmgen", *arguments]
        main()
