"""A small run with everything that the page can show, and a server that shows it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_model
from viewing import Browser, write_set

from mmgen.artifacts.models import save_model
from mmgen.data.writing.encoding import encode_picture
from mmgen.data.writing.writer import ShardWriter
from mmgen.evaluation.report.media import Figure, ReportMedia
from mmgen.evaluation.report.writing import write_report
from mmgen.view.opening import open_view
from mmgen.view.server import Server


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "a <run>"
    save_model(small_model(decoder="denoise"), run / "model")
    write_set(run / "synthetic" / "first")
    write_set(run / "synthetic" / "shards", ShardWriter, per_class=5)
    png = encode_picture(np.zeros((1, 4, 4), np.uint8))
    pairs = Figure("Nearest pairs: image", "Two.", "Pairs.", png, True, "privacy")
    write_report(run / "report", {"run": "x", "privacy": {"refused": "too few"}}, ReportMedia([pairs]))
    return run


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / finished_run.name))


@pytest.fixture
def browse() -> Iterator[Any]:
    """Open a path, with the arguments of :func:`open_view`."""
    servers: list[Server] = []

    def start(target: Path, *arguments: Any) -> Browser:
        servers.append(Server(open_view(target, *arguments)))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return Browser(servers[-1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
