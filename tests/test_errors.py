from __future__ import annotations

import pytest

from mmgen.errors import first_few, is_clean, shown


@pytest.mark.parametrize("text", ["covid", "größe", "健康", "سالم", "a b", "می\u200cخواهم", "é", "👩\u200d⚕"])
def test_texts_of_all_languages_stay(text: str) -> None:
    assert is_clean(text) and shown(text) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a\x1b[2J\nTraining can start.", r"a\x1b[2J\nTraining can start."),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\udcff.png", r"\udcff.png"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
    ],
)
def test_what_moves_the_cursor_or_turns_the_text_is_escaped(text: str, safe: str) -> None:
    assert not is_clean(text)
    assert shown(text) == safe == shown(safe) == first_few([text])


def test_long_texts_keep_both_ends_and_long_lists_their_number() -> None:
    assert shown("a" * 500 + "b" * 500) == "a" * 100 + "…" + "b" * 100
    assert first_few(range(7)) == "0, 1, 2, 3, 4 and 2 more"
