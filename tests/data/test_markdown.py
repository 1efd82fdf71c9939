from __future__ import annotations

import string

import pytest

from mmgen.data.markdown import in_markdown


@pytest.mark.parametrize("text", ["no finding", "actinic_keratosis", "COVID-19", "5.3 mm (left)", "肺炎", "меланома"])
def test_plain_labels_stay_as_they_are(text: str) -> None:
    assert in_markdown(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b\n# c\0", r"a\|b # c"),
        ("[x](y) <b> `c`", r"\[x\](y) \<b\> \`c\`"),
        ("<script>", r"\<script\>"),
        ("T <2 &lt;", r"T \<2 \&lt;"),
        ("_a_ b_c __d", r"\_a\_ b_c \_\_d"),
        ("~~a~~ $x$ **b** \\", r"\~\~a\~\~ \$x\$ \*\*b\*\* \\"),
        ("http://a.b www.c.d e@f.g", r"http\://a.b www\.c.d e\@f.g"),
        ("a\u202eb\u2028c\u00a0 d", "a b c d"),
    ],
)
def test_markup_shows_as_text(text: str, shown: str) -> None:
    assert in_markdown(text) == shown


def test_only_punctuation_is_escaped() -> None:  # before anything else a backslash would show
    for character in map(chr, range(0x250)):
        escaped = in_markdown(character)
        assert not escaped.startswith("\\") or (character in string.punctuation and escaped == "\\" + character)
