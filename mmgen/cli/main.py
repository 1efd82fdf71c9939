"""The command line ``mmgen``; also what recipes need to be commands."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, Union

import tyro

from mmgen.cli.auditing import Audit, audit
from mmgen.cli.checking import Check, Phantoms, check, phantoms
from mmgen.cli.condensing import Condense, condense
from mmgen.cli.config import refuse_repeats
from mmgen.cli.evaluating import Evaluate, evaluate
from mmgen.cli.generating import Generate, generate
from mmgen.cli.releasing import Release, Report, release, report
from mmgen.errors import UserError

COMMANDS: dict[type[Any], Callable[[Any], None]] = {
    Condense: condense,
    Generate: generate,
    Evaluate: evaluate,
    Audit: audit,
    Report: report,
    Release: release,
    Check: check,
    Phantoms: phantoms,
}


def run_command(command: Callable[[], None]) -> None:
    """Run a command as a program: logging on the first process, one sentence instead of a traceback for user errors.

    Exits with 2 for such errors, 1 when a loss stopped being a number, 130 when the run was asked to stop.
    """
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, format="%(message)s", stream=sys.stdout)
    for chatty in ("accelerate", "huggingface_hub", "torch.distributed"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        command()
    except UserError as error:
        _leave(f"error: {error}", 2)
    except OSError as error:  # a full disk, a folder that may not be written
        _leave(f"error: {error}", 2)
    except RuntimeError as error:
        codes = {"NonFiniteLoss": 1, "Interrupted": 130}
        if type(error).__name__ not in codes:
            raise
        _leave(str(error), codes[type(error).__name__])


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(code)


def main() -> None:
    """Entry point of the ``mmgen`` command."""

    def command() -> None:
        refuse_repeats(sys.argv[1:], *COMMANDS)
        kinds = tuple(Annotated[kind, tyro.conf.subcommand(kind.__name__.lower())] for kind in COMMANDS)
        options = tyro.cli(Union[kinds], prog="mmgen")  # noqa: UP007  # of as many as there are
        COMMANDS[type(options)](options)

    run_command(command)
