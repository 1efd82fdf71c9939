"""JSON of another form than a reader expects, made from a document that it reads."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    *(None, True, -1, 3, 1.5, 1e308, 10**400, -(10**400), float("nan"), float("inf"), "", "x", "\ud800", "<b>\x1b[1m"),
    *([], [1], ["a"], [[]], [1, 2], [None, None], [{}], {}, {"a": 1}, {"": {}}, {"mean": "a"}, {"value": []}),
    *({"title": 3}, {"title": [1]}, {"counts": 3}, {"counts": {"a": [1]}}, {"counts": {"a": {"train": 10**400}}}),
)
DAMAGED = (b"", b"{", b"\xff\xfe{", b"3", b"null", b"[]", b"[" * 100_000, b'{"a":' * 3000 + b"1" + b"}" * 3000)
"""Contents of files that are no object at all."""


def odd_documents(document: Any, count: int, seed: int = 0) -> Iterator[Any]:
    """Copies of a document in which one part is something odd."""
    draw, places = random.Random(seed), list(_places(document, ()))
    for _ in range(count):
        place, odd = draw.choice(places), draw.choice(ODD)
        if not place:
            yield odd
            continue
        changed = copy.deepcopy(document)
        above = changed
        for key in place[:-1]:
            above = above[key]
        above[place[-1]] = odd
        yield changed


def odd_texts(document: Any, count: int, seed: int = 0) -> Iterator[bytes]:
    """:func:`odd_documents` as texts, and some that are cut off."""
    whole = json.dumps(document)
    yield from DAMAGED
    yield from (whole[: len(whole) * part // 7].encode() for part in range(7))
    for changed in odd_documents(document, count, seed):
        yield json.dumps(changed).encode()


def _places(value: Any, here: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield here
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from _places(part, (*here, key))
