"""The browser of whoever sits at this machine."""

from __future__ import annotations

import os
import sys


def has_display() -> bool:
    """Whether a page that is opened here can be seen."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
