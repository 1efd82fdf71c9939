from __future__ import annotations

import io
import os
import socket
import time
from pathlib import Path

import pytest

from mmgen.data.opening import bounded_lines, open_regular, parse_json, read_json, read_text, read_yaml


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("größe".encode())
    (tmp_path / "link").symlink_to("text")
    for name in ("text", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == "größe".encode()
            assert file.seek(0) == 0
    assert read_text(tmp_path / "text", limit=7) == "größe"


@pytest.mark.timeout(5)
def test_nothing_else_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    start = time.monotonic()
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path / "socket", Path("/dev/zero"), Path("/dev/tty")):
        with pytest.raises(OSError, match="no regular file"):
            open_regular(path)
    assert time.monotonic() - start < 1
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"x" * 101, "larger than"), (b"\xff", "not UTF-8"), (b"[" * 90, "Expecting"), (b"{", "Expecting")],
)
def test_what_is_no_text_or_no_json_is_a_value_error(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "about.json").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_json(tmp_path / "about.json", limit=100)


def test_json_of_any_depth_and_of_very_many_parts_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
    with pytest.raises(ValueError, match="parts"):
        parse_json(b"[" + b"0," * 5_000_001 + b"0]")
    assert parse_json('{"a": [1, 2]}') == parse_json(b'{"a": [1, 2]}') == {"a": [1, 2]}


def test_lines_are_those_of_the_text_up_to_a_length() -> None:
    text = "a\r\nb\n\nlast"
    assert list(bounded_lines(io.StringIO(text, newline=""))) == ["a\r\n", "b\n", "\n", "last"]
    with pytest.raises(ValueError, match="longer than"):
        list(bounded_lines(io.StringIO("short\n" + "x" * (1 << 21))))


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * (1 << 20), "too deeply"),
        ("- " * (1 << 19), "too deeply"),
        ("? " * (1 << 19), "too deeply"),
        ("a: 1\n" * 20_000, "too long"),
        ("a: 1:" + ":".join(["59"] * 10_000), "too long"),
        ("x" * (1 << 20) + "x", "larger than 1 MiB"),
        (LAUGHS, "anchors"),
        ("&a [*a]", "anchors"),
        ("a: [1,", "no YAML"),
        ("a: 2024-99-99", "month"),
        ("!!python/object:os.system x", "no YAML"),
        ("a: \0", "no YAML"),
        ("--- 1\n--- 2", "no YAML"),
        ("a: !!timestamp 9", "no YAML"),
        ("a: !!bool 9", "no YAML"),
        ("!!float '': 9", "no YAML"),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_settings_is_a_value_error(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "flags.yaml").write_text(text)
    with pytest.raises(ValueError, match=reason) as refused:
        read_yaml(tmp_path / "flags.yaml")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "flags.yaml").write_text("seed: &seed 3\nprior floor: *seed\nclassifiers: [a, {b: 'größe'}]\n")
    expected = {"seed": 3, "prior floor": 3, "classifiers": ["a", {"b": "größe"}]}
    assert read_yaml(tmp_path / "flags.yaml") == expected
    (tmp_path / "flags.yaml").write_text("")
    assert read_yaml(tmp_path / "flags.yaml") is None
