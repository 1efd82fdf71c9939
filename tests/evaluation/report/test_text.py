"""Numbers of the report page as text."""

from __future__ import annotations

import pytest

from mmgen.evaluation.report.text import NOTHING, byte_size, duration, number, percent, score
from mmgen.evaluation.scores import Statistic


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NOTHING),
        (0, "0"),
        (0.0, "0"),
        (True, "True"),
        (12345, "12,345"),
        (1234.5, "1,234"),
        (0.25, "0.25"),
        (-0.00012, "-1.2 \u00d7 10⁻⁴"),
    ],
)
def test_numbers_as_text(value: object, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NOTHING),
        (0.5, "0.500"),
        (Statistic(0.5, 0.1), "0.500 ± 0.100"),
        (Statistic(0.5, 0.0), "0.500"),
        ({"mean": 0.5, "std": 0.1}, "0.500 ± 0.100"),
        ({"mean": None}, NOTHING),
    ],
)
def test_scores_as_text(value: object, text: str) -> None:
    assert score(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.21, "4.2 s"), (60, "1 min 00 s"), (185.4, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_as_text(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, NOTHING),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (10e9, "10.0 GB"),
        (5e14, "500.0 TB"),
    ],
)
def test_bytes_as_text(count: float | None, text: str) -> None:
    assert byte_size(count) == text


@pytest.mark.parametrize(
    ("share", "text"), [(None, NOTHING), (0.0828, "8.28 %"), (1.0, "100 %"), (-0.56, "-56 %"), (2.5, "250 %")]
)
def test_shares_as_text(share: float | None, text: str) -> None:
    assert percent(share) == text
