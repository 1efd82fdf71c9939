"""A server for one person on this machine: whoever does not know its secret gets nothing.

It listens on 127.0.0.1 alone. Other users of the machine and other pages in the same browser can reach that address
too, so every request needs the random token, and must name this server as its host and, where it has one, its origin.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import secrets
import socketserver
import sys
import threading
import webbrowser
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mmgen.data.opening import parse_json
from mmgen.errors import UserError, shown
from mmgen.view.display import has_display
from mmgen.view.pages import View
from mmgen.view.routes import JSON, Answer, answer, as_json

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
_MOST_CONTENT = 4096  # bytes of a request
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class _Refused(Exception):  # noqa: N818  # what happened, not what is wrong
    """A request that is not answered, with its status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Server(ThreadingHTTPServer):
    """Shows a view until it is shut down.

    Args:
        port: a free one if 0.

    Raises:
        UserError: the port is taken or none.
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere two servers could share a port
    allow_reuse_port = False

    def __init__(self, view: View, port: int = 0) -> None:
        self.view, self.token, self._once = view, secrets.token_urlsafe(32), set[str]()
        self._admitting = threading.Lock()
        if not 0 <= port <= 65535:
            raise UserError(f"A port is a number from 1 to 65535, not {port}; correct --port.")
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(f"Port {port} cannot be used ({error.strerror}); choose another --port.") from error

    def server_bind(self) -> None:
        """As the base class, which would ask the network for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        return self._address(self.token)

    def url_for_once(self) -> str:
        """An address that opens the page a single time: other users of the machine see what a browser is started
        with."""
        self._once.add(token := secrets.token_urlsafe(32))
        return self._address(token)

    def _address(self, token: str) -> str:
        return f"http://{HOST}:{self.server_port}/?token={token}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names by which this server may be asked."""
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"

    @property
    def cookie(self) -> str:
        """Name of the cookie with the token; servers on other ports of one machine share their cookies."""
        return f"mmgen-view-{self.server_port}"

    def knows(self, token: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def admits(self, token: str) -> bool:
        """Whether this token of an address opens the page; one that is for once does not do so again."""
        with self._admitting:
            for_once = token in self._once
            self._once.discard(token)
        return for_once or self.knows(token)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            logger.warning("A request failed: %s: %s", type(error).__name__, shown(error))


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds without a word

    def do_GET(self) -> None:
        self._respond()

    def do_HEAD(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def _respond(self) -> None:
        try:
            reply = self._answered()
        except _Refused as refused:
            self.close_connection = True  # of what was not read nothing is taken for the next request
            reply = as_json({"error": str(refused)}, refused.status)
        except UserError as error:
            reply = as_json({"error": str(error)}, 409)
        except LookupError:
            reply = as_json({"error": "There is nothing at this address."}, 404)
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be shown: %s", shown(self.path.partition("?")[0]), shown(error))
            reply = as_json({"error": "This file is missing or damaged."}, 404)
        self._send(reply)

    def _answered(self) -> Answer:
        address = urlsplit(self.path)
        query = self._authorised(address.query)
        if "token" in query and self.command != "POST" and address.path == "/":  # out of the address bar
            cookie = f"{self.server.cookie}={self.server.token}; Path=/; HttpOnly; SameSite=Strict"
            return Answer(b"", status=303, headers={"Location": "/", "Set-Cookie": cookie})
        content = self._content() if self.command == "POST" else None
        return answer(self.server.view, address.path, query, content)

    def _authorised(self, text: str) -> Mapping[str, str]:
        """The query of a request that may be answered."""
        hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        if len(hosts) != 1 or hosts[0] not in self.server.hosts:
            raise _Refused(403, "This server is not asked by this name.")
        if any(origin not in [f"http://{host}" for host in self.server.hosts] for origin in origins):
            raise _Refused(403, "Other pages may not ask this server.")
        if self.headers.get("Sec-Fetch-Site", "none") == "cross-site" and self.command == "POST":
            raise _Refused(403, "Other pages may not ask this server.")
        try:
            query = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=10))
            cookies = SimpleCookie("; ".join(self.headers.get_all("Cookie", [])))
        except (ValueError, CookieError):
            raise _Refused(403, "The address or a cookie has another form than this page gives them.") from None
        given = [one.value for name, one in cookies.items() if name == self.server.cookie]
        if not (self.server.admits(query.get("token", "")) or any(map(self.server.knows, given))):
            raise _Refused(403, "Open the address that mmgen view has printed; it holds the token.")
        return query

    def _content(self) -> Mapping[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,9}", length, re.ASCII) or "Transfer-Encoding" in self.headers:
            raise _Refused(411, "A request must say how long it is.")
        if int(length) > _MOST_CONTENT:
            raise _Refused(413, "This request is too long.")
        if self.headers.get_content_type() != JSON:  # which other pages cannot send without being asked for it
            raise _Refused(415, f"A request must be {JSON}.")
        try:
            content = parse_json(self.rfile.read(int(length)))
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise _Refused(400, "This request is no JSON object.")
        return content

    def _send(self, reply: Answer) -> None:
        body, status, headers = reply.body, reply.status, dict(reply.headers)
        if reply.kind.startswith("audio/"):  # players ask for parts, so that one can jump in a sound
            headers["Accept-Ranges"] = "bytes"
            part = re.fullmatch(r"bytes=(\d{1,12})-(\d{0,12})", self.headers.get("Range", ""), re.ASCII)
            if part and int(part[1]) < len(body):
                start, end = int(part[1]), min(int(part[2] or len(body)), len(body) - 1)
                headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
                body, status = body[start : end + 1], 206
        self.send_response(status)
        entries = {"Content-Type": reply.kind, "Content-Length": str(len(body)), **_HEADERS, **headers}
        if self.close_connection:
            entries["Connection"] = "close"
        for name, value in entries.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """For requests that are none, and methods that there are not."""
        self.close_connection = True
        self._send(as_json({"error": "This is no request that the page makes."}, code))

    def version_string(self) -> str:
        return "mmgen"

    def log_message(self, *arguments: Any) -> None:
        """Addresses are not logged: the first one holds the token."""


def serve(server: Server, show: bool) -> None:
    """Show the page until Ctrl-C; ``show`` also opens it in a browser where there is a display."""
    if show and has_display():
        webbrowser.open(server.url_for_once())
    server.serve_forever()
