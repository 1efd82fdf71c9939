"""The last lines of a long command: where its results are."""

from __future__ import annotations

import logging
import os
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path

from mmgen.view.display import has_display

logger = logging.getLogger(__name__)


def show_results(places: Mapping[str, Path], opened: bool = True) -> None:
    """Log where things are, by what they are; the first one, a page, may be opened for a person who waits for it.

    That is in a terminal with a display; not over a remote shell, whose display is most often another one's, and not
    where BROWSER names a program of the user's, which may be one that takes the terminal.
    """
    width = max(9, *map(len, places))  # as other commands' lines
    logger.info("\n".join(f"{name:<{width}} {place}" for name, place in places.items()))
    page = next(iter(places.values()))
    if opened and sys.stderr.isatty() and has_display() and not {"SSH_CONNECTION", "BROWSER"} & os.environ.keys():
        webbrowser.open(page.resolve().as_uri())
