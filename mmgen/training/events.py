"""Scalars for TensorBoard."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class EventFile:
    """A new file of events in a folder. If it cannot be written, a warning says so once and the training goes on:
    ``metrics.jsonl`` holds the same numbers.

    Written here and now, and not by torch's ``SummaryWriter``, whose thread fails where nobody can catch it.

    Args:
        step: what earlier files of the folder hold of this and later steps is not shown any more.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self.path = folder / f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self._is_open = True
        self._write(
            {"file_version": "brain.Event:2"}, {"step": step, "session_log": SessionLog(status=SessionLog.START)}
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add numbers by name; ``step`` is their x axis."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        content = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write({"step": step, "summary": Summary(value=content)})

    def _write(self, *events: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        if not self._is_open:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                for event in events:
                    RecordWriter(file).write(Event(wall_time=time.time(), **event).SerializeToString())
        except OSError as error:
            self._is_open = False
            logger.warning("Events for TensorBoard are not written any more (%s: %s).", self.path, error.strerror)
