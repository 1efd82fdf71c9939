"""``--json``, a flag of every command: what it did as one JSON object, for other programs."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import field, make_dataclass
from typing import Annotated, Any

_HELP = "Print one JSON object of paths and main numbers on standard output; all other text goes to standard error."


def with_json(kind: type[Any]) -> type[Any]:
    """The flags of a command, a dataclass, and ``--json``."""
    import tyro

    flag = Annotated[bool, tyro.conf.arg(help=_HELP), tyro.conf.FlagCreatePairsOff]
    own = [("json", flag, field(default=False))]
    options: dict[str, Any] = {"namespace": {"__doc__": kind.__doc__}, "frozen": True, "kw_only": True}
    return make_dataclass(kind.__name__, own, bases=(kind,), **options)


def printing_json(command: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Run a command, with all text that it logs or prints on standard error, and print on standard output what it
    returns: one JSON object on one line, on the first process."""
    output = sys.stdout
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is output:
            handler.setStream(sys.stderr)
    with redirect_stdout(sys.stderr):
        done = command()
        from mmgen.evaluation.report.writing import to_json

        text = json.dumps(to_json(done))
    if os.environ.get("RANK", "0") == "0":
        print(text, file=output)
    return done
