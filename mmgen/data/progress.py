"""One progress bar at a time, on the main process only; and streams that may have nobody who reads them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def progress_bar(
    items: Iterable[T], total: int | None = None, description: str = "", quiet: bool = False
) -> Iterator[T]:
    """:func:`make_bar` over ``items`` that leaves no line behind when done."""
    return iter(make_bar(items, total=total, desc=description, disable=quiet, leave=False))


def make_bar(items: Iterable[Any] | None = None, disable: bool = False, **options: Any) -> Any:
    """A tqdm on standard error that is silent on every process but the first, and never the end of what it shows."""
    from tqdm import tqdm

    # RANK is what every launcher (accelerate, torchrun) sets; reading it keeps this module free of torch.distributed.
    muted = disable or os.environ.get("RANK", "0") != "0"
    return tqdm(items, disable=muted, dynamic_ncols=True, file=Stream(sys.stderr), **options)


class Stream:
    """A stream of text that takes whatever is written to it: from the first failure on (a closed pipe, a full disk, no
    stream at all) the text is dropped, for messages are no reason to end a work of hours.

    Attributes:
        failure: what the stream cannot be written for, if it cannot.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """See :class:`io.TextIOBase`."""
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        """See :class:`io.TextIOBase`."""
        self._try("flush")

    def _try(self, action: str, *arguments: str) -> None:
        if self.failure is None:
            try:
                getattr(self._stream, action)(*arguments)
            except (OSError, ValueError, AttributeError) as error:  # ValueError: it was closed, AttributeError: None
                self.failure = error
