"""An event loop in a thread of its own, for code that blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cached_property
from inspect import isawaitable
from threading import Lock, Thread, get_ident
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .portal import Entered, running_portal

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

T = TypeVar("T")


@contextmanager
def background_portal() -> Generator[BlockingPortal]:
    """A portal to an event loop in a thread of its own; what still runs there at the end is cancelled."""
    portal = _Portal()
    portal.start()
    try:
        yield cast("BlockingPortal", portal)
    finally:
        portal.end()


class _Portal:
    """Anyio's BlockingPortal to everyone who uses one. What is used of it always does without anyio, whose import is a
    good part of the time that a short command takes; the rest is anyio's own.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name="event loop", daemon=True)
        self._end = asyncio.Event()
        self._open = True
        self._closing = Lock()
        self._futures: set[Future[Any]] = set()

    def start(self) -> None:
        """Begin to run the loop."""
        self._thread.start()

    def end(self) -> None:
        """Take nothing more, cancel what still runs, and wait until that has ended."""
        with self._closing:
            if self._open:
                self._open = False
                self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def start_task_soon(self, func: Callable[..., Awaitable[T] | T], *args: Any, name: object = None) -> Future[T]:
        """Have `func(*args)` run on the loop, and awaited where it can be. Cancelling the future cancels that.

        RuntimeError on the loop's own thread and after the end.
        """
        if self._thread.ident == get_ident():
            raise RuntimeError("this portal is for other threads than that of its event loop")
        with self._closing:
            if not self._open:
                raise RuntimeError("this portal's event loop has ended")
            future = asyncio.run_coroutine_threadsafe(_call(func, args), self._loop)
            self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def call(self, func: Callable[..., Awaitable[T] | T], *args: Any) -> T:
        """`start_task_soon`, and wait for the result."""
        return self.start_task_soon(func, *args).result()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._anyio, name)

    @cached_property
    def _anyio(self) -> BlockingPortal:
        return Entered(cast("BlockingPortal", self), "portal", running_portal()).__enter__()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._until_end())
        finally:
            # A loop that broke off leaves calls behind that it has not begun.
            for future in list(self._futures):
                future.cancel()

    async def _until_end(self) -> None:
        try:
            await self._end.wait()
        finally:
            with self._closing:
                self._open = False


async def _call(func: Callable[..., Awaitable[T] | T], args: tuple[Any, ...]) -> T:
    result = func(*args)
    return await result if isawaitable(result) else result
