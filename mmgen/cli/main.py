"""The command line ``mmgen``; also what recipes need to be commands."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Annotated, Any, Union

from mmgen.data.progress import Stream
from mmgen.errors import EnvironmentProblem, UserError, refuse_broken_package, shown

_LEAST = {"RANK": 0, "LOCAL_RANK": -1, "WORLD_SIZE": 1}
"""Variables that launchers set, and the least value of each."""
_SHELLS = ("bash", "zsh", "fish")


def commands() -> dict[type[Any], Callable[[Any], Mapping[str, Any]]]:
    """The commands by the dataclass of their flags; imported when asked for, so that a package that does not load ends
    in one sentence too.

    A command returns what it did, for ``--json``: paths and main numbers. Under the key "problems" stand sentences, of
    which any ends the program with 1.
    """
    from mmgen.cli.auditing import Audit, audit
    from mmgen.cli.checking import Check, Phantoms, check, phantoms
    from mmgen.cli.condensing import Condense, condense
    from mmgen.cli.evaluating import Evaluate, evaluate
    from mmgen.cli.exporting import Export, export
    from mmgen.cli.generating import Generate, generate
    from mmgen.cli.releasing import Push, Release, Report, push, release, report
    from mmgen.cli.viewing import View, view

    return {
        Condense: condense,
        Generate: generate,
        Evaluate: evaluate,
        Audit: audit,
        Report: report,
        Release: release,
        Push: push,
        Export: export,
        View: view,
        Check: check,
        Phantoms: phantoms,
    }


def run_command(command: Callable[[], None]) -> None:
    """Run a command as a program: logging on the first process, one sentence instead of a traceback for user errors
    and for what is wrong with the environment.

    Exits with 2 for such errors, 1 when a loss stopped being a number, 130 when the run was asked to stop.
    """
    messages = _usable_streams()
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, stream=sys.stdout)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Escaped("%(message)s"))
    for chatty in ("accelerate", "huggingface_hub", "torch.distributed"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with one_sentence(messages):
        _check_environment()
        command()
        sys.stdout.flush()
        reason = getattr(sys.stdout, "failure", None)
        if isinstance(reason, OSError) and not isinstance(reason, BrokenPipeError):  # which says that enough was read
            raise UserError(f"The command has ended well, but what it prints cannot be written: {reason.strerror}.")


@contextmanager
def one_sentence(messages: Any = None) -> Iterator[None]:
    """See :func:`run_command` for how errors end the program; also around imports of a script.

    Args:
        messages: stream for them, by default stderr.
    """
    codes = {"NonFiniteLoss": 1, "Interrupted": 130}
    try:
        try:
            yield
        except Exception as error:
            refuse_broken_package(error)
            raise
    except (UserError, OSError) as error:  # also a full disk, a folder that may not be written
        message, code = f"error: {error}", 2
    except RuntimeError as error:
        if type(error).__name__ not in codes:
            raise
        message, code = str(error), codes[type(error).__name__]
    else:
        return
    print(_escaped(message), file=messages or sys.stderr, flush=True)
    raise SystemExit(code)


class _Escaped(logging.Formatter):
    """Messages, of which no line can do more to a terminal than stand there."""

    def format(self, record: logging.LogRecord) -> str:
        return _escaped(super().format(record))


def _escaped(message: str) -> str:
    return "\n".join(shown(line, len(line)) for line in message.split("\n"))


def _usable_streams() -> Any:
    """See that whatever is printed can be printed, also where nobody reads it any more; where errors go."""
    messages = "stderr" if sys.stderr else "stdout"
    # A stream that was closed before the start is None, which not everything that prints expects. Opened first, the
    # substitute takes the closed stream's number, so that no file of the run can take it and be written to.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # as long as the process
        elif hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names in scripts that the terminal does not have
        if not isinstance(getattr(sys, name), Stream):
            setattr(sys, name, Stream(getattr(sys, name)))
    return getattr(sys, messages)


def _check_environment() -> None:
    """Raise EnvironmentProblem for a current folder, or variables of a launcher, that nothing can be run with."""
    try:
        os.getcwd()
    except OSError:  # torch's libraries, too, end the process then
        raise EnvironmentProblem("The current folder is gone; change to one that is there.") from None
    values = {}
    for name, least in _LEAST.items():
        text = os.environ.get(name, "")
        try:
            values[name] = int(text or least)
        except ValueError:
            values[name] = least - 1
        if values[name] < least:
            raise EnvironmentProblem(
                f"The environment variable {name} is '{text}', not a whole number of at least {least}; unset it, or "
                "start processes by accelerate launch."
            )
    if values["RANK"] >= values["WORLD_SIZE"] and os.environ.get("WORLD_SIZE"):
        raise EnvironmentProblem(
            f"The environment variable RANK is {values['RANK']}, but there are only WORLD_SIZE={values['WORLD_SIZE']} "
            "processes; unset both, or start processes by accelerate launch."
        )
    if os.environ.get("LOCAL_RANK") and not os.environ.get("MASTER_ADDR"):
        raise EnvironmentProblem(
            "The environment variable LOCAL_RANK says that this is one of several processes, but MASTER_ADDR does not "
            "say where they meet; unset it, or start processes by accelerate launch."
        )


def _for_completion(arguments: Sequence[str]) -> Sequence[str]:
    """``--print-completion SHELL`` as tyro calls it; other arguments as they are."""
    if arguments[:1] != ["--print-completion"]:
        return arguments
    if len(arguments) != 2 or arguments[1] not in _SHELLS:
        raise UserError(f"--print-completion stands alone with the name of a shell: {', '.join(_SHELLS)}.")
    return ["--tyro-write-completion", arguments[1], "-"]


def main() -> None:
    """Entry point of the ``mmgen`` command; with ``--print-completion SHELL`` it prints what makes a shell complete its
    commands and flags."""

    def command() -> None:
        import tyro

        from mmgen.cli.config import refuse_repeats
        from mmgen.cli.json_output import printing_json, with_json

        by_flags, arguments = commands(), _for_completion(sys.argv[1:])
        refuse_repeats(arguments, *by_flags)
        kinds = {with_json(kind): kind for kind in by_flags}
        named = tuple(Annotated[flags, tyro.conf.subcommand(kind.__name__.lower())] for flags, kind in kinds.items())
        options = tyro.cli(Union[named], prog="mmgen", args=arguments)  # noqa: UP007  # of as many as there are
        kind = kinds[type(options)]
        # Without the flag, which is no part of what is done.
        own = kind(**{field.name: getattr(options, field.name) for field in fields(kind)})
        done = printing_json(lambda: by_flags[kind](own)) if options.json else by_flags[kind](own)
        if done.get("problems"):
            raise SystemExit(1)

    run_command(command)
