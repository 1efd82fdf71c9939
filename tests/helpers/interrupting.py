"""A training that is asked to stop, for tests of going on with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mmgen.training.loop import Interrupted, Position, Task


@contextmanager
def interrupted(
    task: type[Task], update: int, of: int | str = "", when: Callable[[Any], bool] = lambda task: True
) -> Iterator[None]:
    """Within, this process gets a SIGTERM during an update (counted from 0), and the training must end by it.

    Args:
        task: class of the task that is stopped.
        of: updates of the whole training, as the message says them.
        when: says of a task of this class whether it is the one to stop.
    """
    undisturbed = task.update

    def stopping(self: Any, batch: Any, position: Position) -> Any:
        if position.update == update and when(self):
            os.kill(os.getpid(), signal.SIGTERM)
        return undisturbed(self, batch, position)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "update", stopping)
        with pytest.raises(Interrupted, match=f"after update {update + 1} of {of}"):
            yield
