"""Messages that nobody can read end nothing."""

from __future__ import annotations

import errno
import io
import os
import sys

import pytest

from mmgen.data.progress import Stream, progress_bar


class Broken(io.StringIO):
    """A stream whose reader has gone after so many texts."""

    def __init__(self, texts: int, number: int = errno.EPIPE) -> None:
        super().__init__()
        self.left, self.number = texts, number

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed(), Broken(0), Broken(1), Broken(0, errno.ENOSPC), io.StringIO()])
def test_a_bar_goes_on_whatever_becomes_of_its_stream(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress_bar(range(3), description="reading")) == [0, 1, 2]
    if type(stream) is io.StringIO and not stream.closed:
        assert "reading" in stream.getvalue()


def test_after_a_failure_nothing_is_written_any_more_and_it_is_known() -> None:
    stream = Broken(2, errno.ENOSPC)
    mended = Stream(stream)
    for text in "abcd":
        assert mended.write(text) == 1
        mended.flush()
    stream.left = 9
    print("e", file=mended, flush=True)
    assert stream.getvalue() == "ab" and mended.failure.errno == errno.ENOSPC
    assert Stream(sys.__stderr__).fileno() == sys.__stderr__.fileno()  # all else is the stream's own
