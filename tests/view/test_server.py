"""Who gets an answer, and how the server starts and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from calling import call
from viewing import write_set

from mmgen.data.writing.rejected import reject
from mmgen.errors import UserError
from mmgen.view import server as serving
from mmgen.view.opening import open_view
from mmgen.view.server import Server, serve

PATHS = ("/", "/view.css", "/view.js", "/sample/0/0/image_file_name", "/nowhere")
REJECTION = {"set": 0, "number": 0, "rejected": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set", per_class=2)


def test_the_printed_address_opens_the_page(browse: Any, folder: Path) -> None:
    browser = browse(folder)
    assert browser.server.url.startswith(f"http://{browser.host}/?token=") and len(browser.token) > 40
    status, body, headers = browser.ask(f"/?token={browser.token}", headers={"Cookie": None})
    cookie = headers["Set-Cookie"]
    assert (status, headers["Location"], body) == (303, "/", b"")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    status, body, headers = browser.ask("/", headers={"Cookie": f"other=1; {cookie.partition(';')[0]}"})
    assert status == 200 and b"<article" in body and browser.token.encode() not in body


def test_the_address_that_a_browser_is_started_with_works_once(browse: Any, folder: Path) -> None:
    """Everybody on the machine can see it in the list of processes."""
    browser = browse(folder)
    path = browser.server.url_for_once().partition(browser.host)[2]
    assert browser.ask(path, headers={"Cookie": None, "Host": "evil.example"})[0] == 403
    status, _, headers = browser.ask(path, headers={"Cookie": None})
    assert status == 303 and f"={browser.token};" in headers["Set-Cookie"]
    assert browser.ask(path, headers={"Cookie": None})[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": None},
        {"Cookie": "mmgen-view=x"},
        {"Cookie": "mmgen-view-PORT=wrong"},
        {"Cookie": "mmgen-view-PORT="},
        {"Cookie": "mmgen-view-1=TOKEN"},
        {"Host": None},
        {"Host": "evil.example"},
        {"Host": "evil.example:PORT"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:PORT.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:PORT"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_strangers_get_nothing(browse: Any, folder: Path, headers: dict[str, str | None]) -> None:
    browser = browse(folder)
    port = str(browser.server.server_port)
    own = {k: v and v.replace("PORT", port).replace("TOKEN", browser.token) for k, v in headers.items()}
    for path in PATHS:
        status, body, _ = browser.ask(path, headers=own)
        assert status == 403 and b"<article" not in body and browser.token.encode() not in body
    assert browser.ask("/?token=wrong", headers={"Cookie": None})[0] == 403
    assert browser.ask("/reject", REJECTION, headers=own)[0] == 403 and not (folder / "rejected.csv").exists()


def test_other_sites_cannot_change_anything(browse: Any, folder: Path) -> None:
    """Not even with the cookie: a form has no JSON, and browsers say where a request comes from."""
    browser = browse(folder)
    for headers, status in (
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": None}, 415),
        ({"Sec-Fetch-Site": "cross-site", "Origin": None}, 403),
        ({"Content-Length": None}, 411),
        ({"Content-Length": "-1"}, 411),
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": "999999999"}, 413),
    ):
        assert browser.ask("/reject", REJECTION, headers=headers)[0] == status
    for content in (b"{", b"[]", b"\xff", b"[" * 4000):
        assert browser.ask("/reject", content)[0] == 400
    assert browser.ask("/reject")[0] == 404 and not (folder / "rejected.csv").exists()
    assert browser.ask("/reject", REJECTION)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "//etc/passwd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/dataset.json", "/view.py",
        "/sample/0/0/..%2f..%2fdataset.json", "/sample/0/0/../../../dataset.json", "/sample/0/0/label",
        "/sample/0/-1/x",
        "/sample/0/99/image_file_name", "/sample/9/0/image_file_name", "/sample/0/0/image_file_name/", "/figure/0",
        "/real/image/0.png", "/drawn/1/0/image.png", "/nearest", "/view.css.j2",
    ],
)  # fmt: skip
def test_nothing_else_is_served(browse: Any, folder: Path, path: str) -> None:
    browser = browse(folder)
    status, body, _ = browser.ask(path)
    assert status == 404 and b"root:" not in body and b"checksums" not in body


def test_every_answer_keeps_browsers_strict(browse: Any, folder: Path) -> None:
    browser = browse(folder)
    for path in (*PATHS, "/?page=99", f"/?token={browser.token}"):
        _, _, headers = browser.ask(path)
        assert headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        assert headers["X-Frame-Options"] == "DENY" and headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Server"] == "mmgen" and "Access-Control-Allow-Origin" not in headers
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        status, body, headers = browser.ask("/", method=method)
        assert status == 501 and headers["X-Content-Type-Options"] == "nosniff" and b"<article" not in body
    assert browser.ask("/", method="HEAD")[:2] == (200, b"")


def test_it_listens_on_this_machine_alone(folder: Path) -> None:
    with Server(open_view(folder)) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"
        assert server.token != Server(open_view(folder)).token
        with pytest.raises(UserError, match=rf"Port {server.server_port} cannot be used .*--port"):
            Server(open_view(folder), server.server_port)
    with pytest.raises(UserError, match="1 to 65535, not 70000"):
        Server(open_view(folder), 70000)


def test_rubbish_does_not_stop_it(browse: Any, folder: Path) -> None:
    browser = browse(folder)
    for rubbish in (b"\x16\x03\x01\x02\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 70_000):
        with socket.create_connection(("127.0.0.1", browser.server.server_port), timeout=10) as connection:
            connection.sendall(rubbish)
            with suppress(ConnectionResetError):  # of what was not read
                assert b"<article" not in connection.recv(1000)
    assert browser.ask("/")[0] == 200


@pytest.mark.parametrize(("display", "show", "opened"), [("", True, 0), (":0", True, 1), (":0", False, 0)])
def test_a_browser_is_opened_where_there_is_a_display(
    folder: Path, monkeypatch: pytest.MonkeyPatch, display: str, show: bool, opened: int
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(serving.sys, "platform", "linux")
    monkeypatch.setattr(serving.webbrowser, "open", seen.append)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with Server(open_view(folder)) as server:
        monkeypatch.setattr(server, "serve_forever", lambda: None)
        serve(server, show)
        assert len(seen) == opened and server.token not in "".join(seen)


def test_ctrl_c_ends_the_command_well(folder: Path) -> None:
    command = [sys.executable, "-c", "from mmgen.cli.main import main; main()", "view", str(folder), "--no-open"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            line = process.stdout.readline()
            assert "http://127.0.0.1:" in line and "?token=" in line
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0, process.stderr.read()
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_what_was_rejected_is_told_to_programs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reject_and_leave(server: Server, show: bool) -> None:
        reject(folder, "images/covid/000000.png", True)
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "serve", reject_and_leave)
    capsys.readouterr()
    assert call(monkeypatch, "view", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"rejected": {str(folder): 1}}
