"""The main thread beside an event loop in the background: it runs what has to run there, and hears signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

Job = Callable[[], object]


class MainThread:
    """What coroutines ask of the main thread."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()

    def serve(self, work: Callable[[], Awaitable[T]], on_signal: Callable[[int], object]) -> T:
        """Run `work` on an event loop in the background, and here what it gives to `run`.

        `on_signal` is called on the loop with the number of a signal.
        """
        from jumpstarter.streams.background import background_portal

        with background_portal() as portal, _heeded(portal.call(_running_loop), on_signal):
            future = portal.start_task_soon(work)
            future.add_done_callback(lambda _: self._jobs.put(None))
            while (job := self._next_job()) is not None:
                job()
            return future.result()

    def _next_job(self) -> Job | None:
        from jumpstarter.streams.portal import LISTEN_SECONDS

        while True:
            # Not for longer: see `wait_for` of streams.portal, which has the same to do.
            with suppress(Empty):
                return self._jobs.get(timeout=LISTEN_SECONDS)

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in the main thread."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            try:
                result = function()
            except BaseException as error:
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(_succeed, done, result)

        self._jobs.put(job)
        return await done


@contextmanager
def _heeded(loop: asyncio.AbstractEventLoop, on_signal: Callable[[int], object]) -> Iterator[None]:
    def heed(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(on_signal, number)

    # What is ignored here, as under nohup, stays ignored.
    heeded = [number for number in HEEDED if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, heed) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
