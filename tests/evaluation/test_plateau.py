"""Classifiers are trained for as long as it helps, and no longer than time allows."""

from __future__ import annotations

import time

import pytest

from mmgen.evaluation.plateau import plateau, reached


def test_a_doubling_that_helps_no_more_is_not_taken() -> None:
    scores = {10: 0.6, 20: 0.7, 40: 0.704, 80: 0.9}
    tried = plateau(scores.__getitem__, 10)
    assert tried == {10: 0.6, 20: 0.7, 40: 0.704} and reached(tried) == 20


def test_a_training_that_becomes_worse_ends_the_search() -> None:
    assert reached(plateau({10: 0.6, 20: 0.5}.__getitem__, 10)) == 10


def test_where_time_is_up_the_last_number_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plateau(lambda updates: updates / 100, 2, longest=-1.0) == {2: 0.02}
    clock = iter(range(0, 1000, 40))  # each look is 40 s later: 20 s a training, and two of the next take 80 s
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    assert list(plateau(lambda updates: updates / 100, 2, longest=39.0)) == [2]
    assert reached({2: 0.1}) == 2 and reached({2: 0.1, 4: 0.2}) == 4
