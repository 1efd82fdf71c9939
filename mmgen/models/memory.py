"""Amounts that a mistyped number asks for, refused before they are made."""

from __future__ import annotations

import os

from mmgen.errors import UserError

_AT_MOST = 1000  # samples that anything makes in a second


def refuse_beyond(count: int, size: float, place: str, room: int, noun: str = "samples") -> None:
    """Raise UserError if so many samples, of at least ``size`` bytes together, do not fit into the room of a place."""
    if size > room:
        seconds = count // _AT_MOST
        raise UserError(
            f"{count:,} {noun} take at least {size / 1e9:,.1f} GB, where {place} has {room / 1e9:,.1f} GB, and "
            f"{seconds // 86400:,} days {seconds // 3600 % 24} hours even at {_AT_MOST:,} a second; ask for fewer."
        )


def refuse_beyond_memory(count: int, size: int, noun: str = "samples") -> None:
    """:func:`refuse_beyond` for samples of ``size`` bytes each that are held in memory."""
    refuse_beyond(count, count * size, "memory", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), noun)
