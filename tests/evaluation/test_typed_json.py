"""Dataclasses come back from JSON as they were, and other forms are refused in a sentence that names the place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from odd_json import odd_documents

from mmgen.errors import UserError
from mmgen.evaluation.typed_json import from_json, to_json


@dataclass(frozen=True)
class Inner:
    ends: tuple[float, float | None] | None = None


@dataclass(frozen=True)
class Outer:
    name: str
    word: Literal["a", "b"] | None = None
    count: int = 3
    share: float | None = None
    rows: tuple[tuple[int, ...], ...] = ()
    inner: Inner | None = None


FULL = Outer("x", "b", 1, 0.5, ((1, 2), ()), Inner((0.0, None)))


@pytest.mark.parametrize("value", [FULL, Outer("y")])
def test_there_and_back(value: Outer) -> None:
    content = json.loads(json.dumps(to_json({"one": value})))
    assert from_json(Mapping[str, Outer], content, "it") == {"one": value}


def test_none_is_left_out_unless_it_is_wanted() -> None:
    assert to_json(Outer("y"), always=("word",)) == {"name": "y", "word": None, "count": 3, "rows": []}
    assert from_json(Outer, {"name": "y", "unknown": [1]}, "it") == Outer("y")
    assert from_json(Outer | None, None, "it") is None and from_json(Any, [1], "it") == [1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (3, "it is not an object but '3'"),
        ({"count": 3}, "it is not an object with 'name'"),
        ({"name": 3}, "it, name is not text but '3'"),
        ({"name": "x", "word": "c"}, "it, word is not one of a, b but 'c'"),
        ({"name": "x", "count": True}, "it, count is not a whole number but 'True'"),
        ({"name": "x", "share": "0.5"}, "it, share is not a number but '0.5'"),
        ({"name": "x", "rows": [[1], 2]}, r"it, rows is not a list of the right length but '2'"),
        ({"name": "x", "inner": {"ends": [1]}}, "it, inner, ends is not a list of the right length"),
    ],
)
def test_another_form_is_refused(content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_json(Outer, content, "it")


def test_whatever_json_holds_is_a_value_or_one_sentence() -> None:
    content = json.loads(json.dumps(to_json({"one": FULL, "two": Outer("z")})))
    refused = 0
    for odd in odd_documents(content, 2000):
        try:
            read = from_json(Mapping[str, Outer], odd, "it")
        except UserError as error:
            refused += 1
            assert re.fullmatch(r"it.* is not .* but .{1,60}; measure it again\.", str(error)), error
        else:
            assert all(isinstance(value, Outer) for value in read.values())
    assert 1000 < refused < 2000


@pytest.mark.parametrize(("value", "fits"), [(True, True), (False, True), (1, False), ("true", False), (None, False)])
def test_truth_values(value: Any, fits: bool) -> None:
    if fits:
        assert from_json(bool, value, "it") is value
    else:
        with pytest.raises(UserError, match="it is not true or false"):
            from_json(bool, value, "it")
