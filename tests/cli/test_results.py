"""A command's last lines, and its page, which is opened for a person at a terminal with a display and nobody else."""

from __future__ import annotations

import logging
import sys
import webbrowser
from pathlib import Path

import pytest

from mmgen.cli.results import show_results


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened, on a machine of somebody who sits at a terminal with a display."""
    pages: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: pages.append(url) or True)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    for name in ("WAYLAND_DISPLAY", "SSH_CONNECTION", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    return pages


def test_places_are_told_and_the_page_is_opened(
    opened: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        show_results({"Report": tmp_path / "a b" / "index.html", "Data set": tmp_path})
    assert caplog.messages == [f"Report    {tmp_path / 'a b' / 'index.html'}\nData set  {tmp_path}"]
    assert opened == [(tmp_path / "a b" / "index.html").as_uri()]


@pytest.mark.parametrize("hindrance", ["pipe", "no display", "remote", "another browser", "flag"])
def test_nothing_is_opened_for_nobody(opened: list[str], hindrance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if hindrance == "pipe":
        monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    elif hindrance == "no display":
        monkeypatch.delenv("DISPLAY")
    elif hindrance == "remote":
        monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 22 10.0.0.2 22")
    elif hindrance == "another browser":
        monkeypatch.setenv("BROWSER", "lynx")
    show_results({"Report": Path("index.html")}, opened=hindrance != "flag")
    assert opened == []
