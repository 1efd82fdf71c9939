"""``mmgen view``: a page that shows synthetic samples, in the browser of this machine."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from mmgen.cli.data_flags import CachedDataFlags

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class View(CachedDataFlags):
    """Show a data set or a run in the browser: samples to look at and to reject, beside real ones; until Ctrl-C."""

    target: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, a model or a synthetic data set."""
    real: tuple[str, ...] = ()
    """Real data to show beside it, and to seek the nearest record in: PATH, or image=PATH audio=PATH."""
    split: str = "train"
    """Split of --real, where there are splits."""
    port: int = 0
    """Port on this machine; a free one if 0."""
    open: bool = True
    """Open the page where there is a display."""


def view(options: View) -> dict[str, Any]:
    """Run ``mmgen view``."""
    from mmgen.data.sources import reading_of
    from mmgen.data.writing.rejected import read_rejected
    from mmgen.view.opening import open_view
    from mmgen.view.server import Server, serve

    reading = reading_of(options, options.target) if options.real else None
    folders: list[Path] = []
    try:
        shown = open_view(options.target, options.real, options.split, reading)
        folders = [data_set.folder for data_set in shown.data_sets]
        with Server(shown, options.port) as server:
            logger.info("Open      %s\nfor you alone, on this machine; Ctrl-C ends it.", server.url)
            serve(server, options.open)
    except KeyboardInterrupt:
        logger.info("Ended.")
    return {"rejected": {folder: len(read_rejected(folder)) for folder in folders}}
