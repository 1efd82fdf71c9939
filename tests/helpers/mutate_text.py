"""Broken texts for tests: JSON, CSV and YAML that say something absurd, or are no longer what they were."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from mutate import Contents, Mutator, cut, empty, flip_bits, insert, noise, other_content, remove, repeated, zeros
from numpy.random import Generator

# What may stand for a value in JSON, most of it in YAML too.
NUMBERS = ("0", "-1", "0.5", "2147483648", "9223372036854775808", "1e308", "-1e308", "1e999", "NaN", "-Infinity")
OTHERS = ("null", "true", "false", '""', '"a"', "[]", "{}", "[[]]", "[1, 2, 3]", '{"a": 1}', '[{"a": null}]')
TEXTS = (
    r'"\u0000"', r'"\u001b[2J"', r'"a\nb"', r'"\u202eb"', r'"\u2028"', r'"\ud800"', r'"\u00a0"', '"NaN"', '"=1+1"',
    '".."', '"../secret.png"', '"../../secret.png"', '"/etc/passwd"', '"images/../../secret.png"', '"x/y"', '"%s%n"',
    '"{0.__class__}"', '"<script>alert(1)</script>"', '"javascript:alert(1)"', '"data:text/html,x"', '"file:///etc"',
)  # fmt: skip
_RAW, _TWIN = "@raw@", "@twin@"


def one_of(rng: Generator, *choices: Any) -> Any:
    """One of the choices, as it is."""
    return choices[rng.integers(len(choices))]


def great(rng: Generator) -> str:
    """A value of a great length, depth or number of parts."""
    depth = one_of(rng, 50, 900, 100_000)
    return one_of(
        rng,
        "9" * one_of(rng, 400, 5_000),
        f'"{"x" * one_of(rng, 300, 3_000_000)}"',
        "[" * depth + "]" * depth,
        '{"a": ' * depth + "0" + "}" * depth,
        f"[{'0, ' * 200_000}0]",
        f"{{{', '.join(f'{json.dumps(str(n))}: {n}' for n in range(50_000))}}}",
    )


# --- JSON


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of every value inside of ``value``."""
    waiting = [value]
    while waiting:
        container = waiting.pop()
        for key in container if isinstance(container, dict) else range(len(container)):
            yield container, key
            if isinstance(container[key], dict | list):
                waiting.append(container[key])


def _place(content: bytes, rng: Generator, of: Any = object) -> tuple[Any, Any, Any]:
    """The value of a JSON text, in a list, and one place in it, (container, key), where a value of a type stands."""
    value = [json.loads(content)]
    fitting = [(container, key) for container, key in places(value) if isinstance(container[key], of)]
    return value, *one_of(rng, *(fitting or [(value, 0)]))


def _text(value: Any, raw: str = "") -> bytes:
    return json.dumps(value[0]).replace(f'"{_RAW}"', raw).replace(_TWIN, "").encode()


def _with(content: bytes, rng: Generator, raw: str, of: Any = object) -> bytes:
    value, container, key = _place(content, rng, of)
    container[key] = _RAW
    return _text(value, raw)


def json_number(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A number is as large, or as small, as it can be, or none."""
    return _with(content, rng, one_of(rng, *NUMBERS), int | float)


def json_type(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A value is of another type."""
    return _with(content, rng, one_of(rng, *OTHERS, *NUMBERS))


def json_text(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A text does something to a terminal, a page or a path."""
    return _with(content, rng, one_of(rng, *TEXTS), str)


def json_great(content: bytes, rng: Generator, contents: Contents) -> bytes:
    return _with(content, rng, great(rng))


def json_key_gone(content: bytes, rng: Generator, contents: Contents) -> bytes:
    value, container, key = _place(content, rng)
    del container[key]
    return _text(value or [None])


def json_key_twice(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A key comes again with another value."""
    value, container, key = _place(content, rng)
    if isinstance(container, dict):
        container[f"{key}{_TWIN}"] = _RAW
    else:
        container.append(container[key])
    return _text(value, one_of(rng, *OTHERS, *NUMBERS))


def json_key_renamed(content: bytes, rng: Generator, contents: Contents) -> bytes:
    value, container, key = _place(content, rng)
    if isinstance(container, dict):
        container[json.loads(one_of(rng, *TEXTS, '""', f'"{"k" * 3000}"'))] = container.pop(key)
    return _text(value)


def json_mixed(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A value stands where another one belongs."""
    value, container, key = _place(content, rng)
    _, other, place = _place(content, rng)
    container[key] = other[place]
    return _text(value)


# --- CSV


def _table(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


def _csv(rows: list[list[str]], **form: Any) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, **{"lineterminator": "\n", **form}).writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def csv_cell(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A cell, often one of the header, holds something else."""
    rows = _table(content)
    row = one_of(rng, rows[0], *rows)
    value = one_of(rng, *NUMBERS, *OTHERS, *TEXTS)
    row[rng.integers(len(row))] = json.loads(value) if value.startswith('"') else value
    return _csv(rows)


def csv_great(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A cell, a row or the number of rows is very large."""
    rows = _table(content)
    row, kind = one_of(rng, *rows), rng.integers(4)
    if kind == 0:
        row[rng.integers(len(row))] = "x" * one_of(rng, 300, 140_000, 2_000_000)
    elif kind == 1:
        row += ["y"] * one_of(rng, 1, 20_000)
    elif kind == 2:
        rows += [row] * 20_000
    else:
        row[rng.integers(len(row))] = "\n" * 100_000
    return _csv(rows)


def csv_quotes(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A quotation mark, separator or end of line where there should be none."""
    place, marks = rng.integers(len(content)), ('"', '""', "'", '"\n', '\n"', '"x"y"', ",", ";", ",,,,,", "\t", "\\")
    return content[:place] + one_of(rng, *marks, "\r", "\n\n", "\x0b", "\x85").encode() + content[place:]


def csv_rows(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A row or a column is missing, or there twice, or elsewhere."""
    rows, times = _table(content), int(rng.integers(3))
    if rng.random() < 0.5:
        row, place = rows.pop(rng.integers(len(rows))), int(rng.integers(len(rows)))
        rows[place:place] = [row] * times
    else:
        column, place = rng.integers(len(rows[0]), size=2).tolist()
        for row in filter(None, rows):
            cell = row.pop(column)
            row[place:place] = [cell] * times
    return _csv(rows)


def csv_form(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """Another separator, quoting or end of line, all of which are in use."""
    form: Any = one_of(rng, *({"delimiter": mark} for mark in ";\t|"), {"quoting": csv.QUOTE_ALL})
    return _csv(_table(content), **form, lineterminator=one_of(rng, "\n", "\r\n", "\r", "\n\n"))


# --- YAML

_YAML = (
    ".nan", "-.inf", "0x7fffffffffffffff", "1_000", "0o17", "1:30", "2020-01-01", "2020-13-41", "~", "yes", "on", "*a",
    "|\n  a\n  b", ">-\n", "'a''b'", '"\\x1b[2J"', '"\\ud800"', "&a [*a]", "&a {b: *a}", "!!set {a, b}", "!!binary '*'",
    "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!x y", "[a, [b, {c: d}]]", "{1: 2, ~: 3}",
    "!!timestamp 9999999999", "!!int x", "!!float ''", "? [a]\n: b", "{[1]: 2}", "? {a: 1}\n: 2", "\t- a", "@a", "%a",
)  # fmt: skip
# Nine lines that stand for a thousand million.
_BOMB = (
    "[&a [x,x,x,x,x,x,x,x,x,x], "
    + ", ".join(f"&{b} [{f'*{a},' * 10}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]"
)


def yaml_value(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """The value of a key is something else, of which YAML knows very much."""
    lines = content.decode().splitlines()
    number = rng.integers(len(lines))
    value = one_of(rng, *_YAML, *NUMBERS, *OTHERS, *TEXTS, _BOMB)
    lines[number] = f"{lines[number].partition(':')[0]}: {value}"
    return "\n".join(lines).encode()


def yaml_great(content: bytes, rng: Generator, contents: Contents) -> bytes:
    return f"{content.decode().partition(':')[0]}: {great(rng)}\n".encode()


def yaml_key(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """A key that no flag has, twice the same, or none at all."""
    lines = content.decode().splitlines()
    number, first = rng.integers(len(lines)), lines[0].partition(":")[0]
    key = one_of(rng, *_YAML, *NUMBERS, *TEXTS, "help", "config", "<<", "--out", "-h", "no-skip-bad", "1", "", first)
    lines[number] = f"{key}:{lines[number].partition(':')[2]}"
    return "\n".join(lines).encode()


def yaml_form(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """No mapping, several documents, or something before or after it."""
    text = content.decode()
    several = (f"---\n{text}---\n{text}", f"- a\n- b\n{text}", f"%YAML 9.9\n---\n{text}", f"{text} x")
    return one_of(rng, *several, "3", "a", "- a", "~", "...").encode()


# --- all texts


def encoding(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """The same text in another encoding, or with a mark before it."""
    code = one_of(rng, "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp500")
    return content.decode(errors="replace").encode(code, errors="replace")


def odd_characters(content: bytes, rng: Generator, contents: Contents) -> bytes:
    """Bytes that no text has, or that do something to a terminal, stand in it."""
    odd = (
        b"\0",
        b"\x1b[2J",
        b"\xe2\x80\xae",
        b"\xe2\x80\xa8",
        b"\xed\xa0\x80",
        b"\xff",
        b"\xc3",
        b"\r",
        b"\xef\xbb\xbf",
    )
    for _ in range(rng.integers(1, 6)):
        place = rng.integers(len(content) + 1)
        content = content[:place] + one_of(rng, *odd) + content[place:]
    return content


def named(*functions: Mutator) -> dict[str, Mutator]:
    """Ways to break a file, by their names."""
    return {function.__name__.replace("_", " "): function for function in functions}


DAMAGE = named(cut, flip_bits, insert, remove, zeros, repeated, empty, noise, other_content)
"""What can happen to any file."""
_TEXT = DAMAGE | named(encoding, odd_characters)
_KEYS = (json_key_gone, json_key_twice, json_key_renamed)
JSON = _TEXT | named(json_number, json_type, json_text, json_great, json_mixed, *_KEYS)
CSV = _TEXT | named(csv_cell, csv_great, csv_quotes, csv_rows, csv_form)
YAML = _TEXT | named(yaml_value, yaml_great, yaml_key, yaml_form)
