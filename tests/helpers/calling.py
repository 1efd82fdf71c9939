"""The command line in the tests' own process, cut off from the network, and what it says when it refuses."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from mmgen.cli.main import main


def call(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run ``mmgen`` with these arguments; its exit code."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError(f"tried to reach {arguments}")

    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)
    AcceleratorState._reset_state(reset_partial_state=True)  # Accelerate's state is global
    patch.setattr(sys, "argv", ["mmgen", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence on standard error, progress bars left out."""
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.strip()]
    sentences = [line for line in lines if "it/s]" not in line and "s/it]" not in line]
    assert len(sentences) == 1 and sentences[0].startswith("error: "), lines
    return sentences[0]
