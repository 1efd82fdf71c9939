from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mmgen.data.threads import Room, in_order


def test_results_come_in_order() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(in_order(slow_first, range(100), ahead=7)) == [number * number for number in range(100)]
    assert list(in_order(slow_first, [])) == []


def test_items_are_drawn_as_needed_in_the_calling_thread() -> None:
    drawn: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            assert threading.current_thread() is threading.main_thread()
            drawn.append(len(drawn))
            yield drawn[-1]

    results = in_order(str, endless(), ahead=5)
    assert drawn == []
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    assert len(drawn) == 3 + 5
    results.close()  # type: ignore[attr-defined]


def test_work_goes_on_while_the_next_item_is_made() -> None:
    done = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert done.wait(5)  # the first item's work is not waited for
        yield 2

    assert list(in_order(lambda _: done.set(), items())) == [None, None]


def test_the_first_error_ends_it() -> None:
    def work(number: int) -> int:
        if number >= 3:
            raise ValueError(str(number))
        return number

    seen = []
    with pytest.raises(ValueError, match="3"):
        for result in in_order(work, range(1000), ahead=4):
            seen.append(result)
    assert seen == [0, 1, 2]


def finish(threads: list[threading.Thread], seconds: float) -> None:
    """Start threads; fail unless all have ended in so many seconds. Those that wait for ever are left behind."""
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    waiting = sum(thread.is_alive() for thread in threads)
    assert not waiting, f"{waiting} of {len(threads)} threads still wait for room after {seconds} s"


def test_threads_together_take_no_more_than_there_is_or_one_of_them() -> None:
    room = Room(24)
    together: list[int] = []
    most: list[int] = []

    def decode(amount: int) -> None:
        with room.take(amount):
            together.append(amount)
            most.append(sum(together))
            time.sleep(0.01)
            together.remove(amount)

    sizes = [24 // 3, 40, 24 // 2, 10] * 5
    finish([threading.Thread(target=decode, args=(amount,), daemon=True) for amount in sizes], 30)
    assert len(most) == len(sizes) and max(most) == 40
    assert all(total <= 24 or total == 40 for total in most)


def test_room_is_given_back_by_what_fails() -> None:
    room = Room(24)
    failed: list[bool] = []

    def fail() -> None:
        with pytest.raises(ValueError, match="broken"), room.take(40):
            raise ValueError("broken")
        failed.append(True)

    # One after another: each needs the room that the one before had. In threads, since without it each waits for ever.
    for number in range(3):
        finish([threading.Thread(target=fail, daemon=True)], 10)
        assert len(failed) == number + 1
