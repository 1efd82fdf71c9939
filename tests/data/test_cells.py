from __future__ import annotations

import pytest

from mmgen.data.cells import from_cell, to_cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "''=1", "''''@"])
def test_formulas_are_texts_in_a_table_and_come_back(text: str) -> None:
    assert to_cell(text)[0] == "'" and from_cell(to_cell(text)) == text


@pytest.mark.parametrize("value", ["", "covid", "a=b", "'quoted'", "'", "''", -1, -0.5, None])
def test_everything_else_stays(value: object) -> None:
    assert to_cell(value) == value
    assert not isinstance(value, str) or from_cell(value) == value
