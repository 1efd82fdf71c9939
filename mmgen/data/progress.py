"""One progress bar at a time, on the main process only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress_bar(
    items: Iterable[T], total: int | None = None, description: str = "", quiet: bool = False
) -> Iterator[T]:
    """tqdm over ``items`` that is silent on every process but the first and leaves no line behind when done."""
    from tqdm import tqdm

    # RANK is what every launcher (accelerate, torchrun) sets; reading it keeps this module free of torch.distributed.
    muted = quiet or os.environ.get("RANK", "0") != "0"
    return iter(tqdm(items, total=total, desc=description, disable=muted, leave=False, dynamic_ncols=True))
