"""Work on a stream of items in threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    function: Callable[[T], R], items: Iterable[T], ahead: int = 16, workers: int | None = None
) -> Iterator[R]:
    """``function`` of every item, in order, computed in threads up to ``ahead`` items early.

    ``items`` are drawn in the calling thread as results are asked for, so they may be endless or costly themselves: the
    threads work while the next one is made. The first error ends it.

    Args:
        workers: number of threads, by default as many as concurrent.futures chooses for the machine.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Room:
    """So much of something, such as bytes of memory, for all threads together.

    Whoever wants more than there is at once gets it when alone.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity, self._taken = capacity, 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Wait until there is room for ``amount``, and keep it until the block ends."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + amount <= self._capacity)
            self._taken += amount
        try:
            yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()


@contextmanager
def one_thread() -> Iterator[None]:
    """CPU computations in one thread: the last bits of matrix products and decompositions depend on the number."""
    import torch  # which no command needs in order to say what it can do

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cut(part: range, batch_size: int) -> list[range]:
    """The samples of each batch of a part of a plan."""
    return [range(start, min(start + batch_size, part.stop)) for start in range(part.start, part.stop, batch_size)]
