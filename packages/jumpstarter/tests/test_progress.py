"""Progress of a transfer: a bar on a real terminal, silence elsewhere, lines in the log on request."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from anyio import BrokenResourceError, EndOfStream
from anyio.abc import ObjectStream
from jumpstarter.streams.progress import ProgressAttribute, ProgressStream

SHOW_CURSOR = b"\x1b[?25h"

TRANSFER = """
import sys
import anyio
from anyio.abc import ObjectStream
from jumpstarter.streams.progress import ProgressAttribute, ProgressStream

TOTAL = 3_000_000

class File(ObjectStream[bytes]):
    left = 0 if "write" in sys.argv else 3

    async def receive(self):
        if not self.left:
            raise anyio.EndOfStream
        if "fail" in sys.argv and self.left == 1:
            raise OSError("disk on fire")
        self.left -= 1
        return bytes(1_000_000)

    async def send(self, item): pass
    async def send_eof(self): pass
    async def aclose(self): pass

    @property
    def extra_attributes(self):
        return {ProgressAttribute.total: lambda: TOTAL}

async def main():
    stream = ProgressStream(stream=File())
    print("begin")
    async for piece in stream:
        pass
    if "write" in sys.argv:
        for _ in range(3):
            await stream.send(bytes(1_000_000))
    if "leave" not in sys.argv:
        await stream.aclose()
    print("rich" in sys.modules)
    globals()["kept"] = stream

anyio.run(main)
"""


def run(*mode: str, terminal: bool = True, **environment: str) -> tuple[int, str, bytes]:
    """Exit code, stdout, and what appeared on stderr, of a transfer of 3 MB in a process of its own."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    inherited = {
        key: value for key, value in os.environ.items() if key not in ("NONINTERACTIVE", "NO_COLOR", "COLUMNS")
    }
    with subprocess.Popen(
        [sys.executable, "-c", TRANSFER, *mode],
        env=inherited | {"TERM": "xterm", "COLUMNS": "120"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        shown = read_all(ours)
        os.close(ours)
        output, _ = process.communicate(timeout=60)
    return process.returncode, output, shown


def read_all(fd: int) -> bytes:
    data = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:  # EIO: the other side of the terminal is closed
            return data
        if not piece:
            return data
        data += piece


@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_bar_on_the_terminal(direction: str) -> None:
    code, output, shown = run(direction)
    assert code == 0
    assert output == "begin\nTrue\n"
    assert b"transfer" in shown
    assert b"3.0/3.0 MB" in shown
    assert shown.rstrip().endswith(SHOW_CURSOR)


def test_an_error_ends_the_bar_before_it_is_reported() -> None:
    code, _, shown = run("fail")
    assert code == 1
    assert b"2.0/3.0 MB" in shown
    assert shown.index(SHOW_CURSOR) < shown.index(b"disk on fire")


def test_a_stream_that_is_never_closed_gives_the_cursor_back() -> None:
    code, _, shown = run("write", "leave")
    assert code == 0
    assert b"3.0/3.0 MB" in shown
    assert shown.rstrip().endswith(SHOW_CURSOR)


@pytest.mark.parametrize(
    "options",
    [{"terminal": False}, {"TERM": "dumb"}, {"NONINTERACTIVE": "1"}, {"JMP_QUIET": "1"}],
    ids=lambda options: next(iter(options)),
)
def test_no_bar_and_no_rich(options: dict[str, Any]) -> None:
    assert run("read", **options) == (0, "begin\nFalse\n", b"")


class Pieces(ObjectStream[bytes]):
    """Gives `pieces`, takes and keeps what it is sent; an exception among them is raised."""

    def __init__(self, *pieces: bytes | Exception, total: float | None = None) -> None:
        self.pieces = list(pieces)
        self.total = total
        self.sent: list[bytes] = []
        self.closed = self.got_eof = False

    async def receive(self) -> bytes:
        if not self.pieces:
            raise EndOfStream
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def send(self, item: bytes) -> None:
        if self.got_eof:
            raise BrokenResourceError
        self.sent.append(item)

    async def send_eof(self) -> None:
        self.got_eof = True

    async def aclose(self) -> None:
        self.closed = True

    @property
    def extra_attributes(self) -> dict[Any, Callable[[], Any]]:
        return {ProgressAttribute.total: lambda: self.total}


@pytest.mark.anyio
@pytest.mark.parametrize("in_log", [False, True])
async def test_everything_passes_through(in_log: bool) -> None:
    pieces = Pieces(b"one", b"", b"two", total=6)
    async with ProgressStream(stream=pieces, logging=in_log) as stream:
        assert stream.extra(ProgressAttribute.total) == 6
        assert [piece async for piece in stream] == [b"one", b"", b"two"]
        await stream.send(b"three")
        await stream.send_eof()
        with pytest.raises(BrokenResourceError):
            await stream.send(b"four")
    assert pieces.sent == [b"three"]
    assert pieces.closed


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("total", "text"), [(4_000_000, "transfer: 3.0 of 4.0 MB (75%) in 0 s"), (None, "transfer: 3.0 MB in 0 s")]
)
async def test_lines_in_the_log(caplog: pytest.LogCaptureFixture, total: float | None, text: str) -> None:
    caplog.set_level(logging.INFO, "jumpstarter.streams.progress")
    async with ProgressStream(stream=Pieces(bytes(1_000_000), bytes(2_000_000), total=total), logging=True) as stream:
        async for _ in stream:
            pass
    assert [record.getMessage()[: len(text)] for record in caplog.records] == [text]


@pytest.mark.anyio
async def test_the_log_tells_how_far_a_failed_transfer_came(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jumpstarter.streams.progress")
    stream = ProgressStream(stream=Pieces(bytes(1_000_000), ConnectionError("gone"), total=2_000_000), logging=True)
    await stream.receive()
    with pytest.raises(ConnectionError, match="gone"):
        await stream.receive()
    assert "1.0 of 2.0 MB (50%)" in caplog.text


@pytest.mark.anyio
async def test_nothing_transferred_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jumpstarter.streams.progress")
    async with ProgressStream(stream=Pieces(), logging=True) as stream:
        with pytest.raises(EndOfStream):
            await stream.receive()
    assert caplog.records == []


def test_constructed_by_keyword_only() -> None:
    with pytest.raises(TypeError):
        ProgressStream(Pieces())  # type: ignore[call-arg, misc]
    assert not ProgressStream(stream=Pieces()).logging
