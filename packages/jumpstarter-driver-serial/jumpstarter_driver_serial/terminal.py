"""Standard input and output, or other descriptors, as a stream beside a console."""

from __future__ import annotations

import os
import signal
import termios
import threading
import tty
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from anyio import ClosedResourceError, EndOfStream, to_thread, wait_readable
from anyio.abc import ObjectStream
from anyio.from_thread import BlockingPortal
from jumpstarter.client import DriverClient
from jumpstarter.streams.common import forward_stream
from jumpstarter.streams.portal import wait_for

CHUNK_BYTES = 64 * 1024
ENDING_SECONDS = 10.0


class Descriptors(ObjectStream[bytes]):
    """Receives from `source`, sends to `sink`; None as `source` is an empty one, as `sink` one that swallows all.

    Counts as closed on this side when nobody reads the sink any more and, if `leave_at_end`, at the end of the source.
    Closing closes neither.
    """

    def __init__(self, source: int | None, sink: int | None, *, leave_at_end: bool = False) -> None:
        self._source = source
        self._sink = sink
        self._leave_at_end = leave_at_end

    async def receive(self) -> bytes:
        if self._source is None:
            raise EndOfStream
        # A regular file cannot be waited for and is always ready.
        with suppress(PermissionError):
            await wait_readable(self._source)
        if data := await to_thread.run_sync(os.read, self._source, CHUNK_BYTES):
            return data
        raise ClosedResourceError if self._leave_at_end else EndOfStream

    async def send(self, item: bytes) -> None:
        if self._sink is None:
            return
        try:
            # Abandoned when cancelled: a paused terminal or pager must not keep anybody from leaving.
            await to_thread.run_sync(_write_all, self._sink, item, abandon_on_cancel=True)
        except BrokenPipeError:
            raise ClosedResourceError from None

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def join(client: DriverClient, local: ObjectStream[bytes]) -> None:
    """Copy between `local` and the console until either is closed, or the calling thread is interrupted."""

    async def copy() -> None:
        async with client.stream_async("connect") as console, forward_stream(local, console):
            pass

    _run(client.portal, copy)


@contextmanager
def raw_terminal(descriptor: int) -> Iterator[None]:
    """Put the terminal into raw mode and back, also when the process is terminated or the terminal hangs up."""
    saved = termios.tcgetattr(descriptor)
    with _exit_on(signal.SIGTERM, signal.SIGHUP):
        try:
            tty.setraw(descriptor)
            yield
        finally:
            with suppress(termios.error):  # it hung up
                termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)


@contextmanager
def _exit_on(*signals: signal.Signals) -> Iterator[None]:
    """Turn signals into SystemExit with the shell's exit code for them, where this thread may."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, leave) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run(portal: BlockingPortal, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` on the portal's loop; when this thread is interrupted, cancel it and wait for its end."""
    ended = threading.Event()

    async def run() -> None:
        try:
            await work()
        finally:
            ended.set()

    future = portal.start_task_soon(run)
    try:
        wait_for(future)
    finally:
        future.cancel()
        ended.wait(ENDING_SECONDS)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
