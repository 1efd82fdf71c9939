"""A small data set, and what asks a server of ``mmgen view`` as its page does."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small import LABELS, SETTINGS, SOUND

from mmgen.data.mel import mel_to_waveform
from mmgen.data.writing.writer import FolderWriter, SyntheticSample
from mmgen.view.server import Server

PER_CLASS = 15  # more than a page of both labels


def write_set(folder: Path, writer: Any = FolderWriter, per_class: int = PER_CLASS) -> Path:
    """Pictures with sounds, all different."""

    def samples() -> Iterator[SyntheticSample]:
        log_mel = np.random.default_rng(0).uniform(-9, 1, (40, 40)).astype(np.float32)
        wave = mel_to_waveform(torch.from_numpy(log_mel), SOUND).numpy()
        for index in range(2 * per_class):
            image = np.random.default_rng(index).integers(0, 256, (1, 32, 32), dtype=np.uint8)
            yield SyntheticSample(index, {"image": image}, {"audio": (log_mel - 0.01 * index, wave)})

    folder.mkdir(parents=True)
    made = writer(folder, SETTINGS, LABELS, per_class, 7, lambda index: {"label": LABELS[index // per_class]})
    made.write(samples())
    made.finish({"seed": 0, "input_prior": "noise"})
    return folder


class Browser:
    """Asks a server as its page does; by default with what authorises it."""

    def __init__(self, server: Server) -> None:
        self.server, self.token = server, server.token
        self.host = f"127.0.0.1:{server.server_port}"

    def ask(
        self, path: str, content: Any = None, method: str = "", headers: Mapping[str, str | None] | None = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Status, body and headers; a header that is None is not sent."""
        body = None if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
        sent = {"Host": self.host, "Cookie": f"{self.server.cookie}={self.token}"}
        sent |= {} if body is None else {"Content-Type": "application/json", "Origin": f"http://{self.host}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        connection.putrequest(method or ("GET" if body is None else "POST"), path, skip_host=True)
        length = {} if body is None else {"Content-Length": str(len(body))}
        for name, value in {**sent, **length, **(headers or {})}.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        with closing(connection):
            return reply.status, reply.read(), reply.headers

    def json(self, path: str, content: Any = None) -> Any:
        status, body, _ = self.ask(path, content)
        assert status == 200, body
        return json.loads(body)

    def error(self, path: str, content: Any = None) -> str:
        status, body, _ = self.ask(path, content)
        assert status == 409, (status, body)
        return str(json.loads(body)["error"])
