"""Code that blocks, over an event loop in another thread: waiting that an interrupt ends on both sides."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from jumpstarter.common.exceptions import DriverConnectionError

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

T = TypeVar("T")

# How long a signal may go unheard.
LISTEN_SECONDS = 0.5


def loop_is_running() -> bool:
    """Whether this thread runs an event loop, which a blocking call would stop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def refuse_running_loop(name: str, use: str) -> None:
    """RuntimeError from a running event loop: `name` blocks, `use` does not."""
    if loop_is_running():
        raise RuntimeError(f"{name}() blocks, and this thread runs an event loop: use {use} there")


def run(portal: BlockingPortal, name: str, func: Callable[..., Awaitable[T]], *args: Any) -> T:
    """`await func(*args)` on the loop of `portal`. An interrupt here cancels it there.

    DriverConnectionError, naming `name`, when the loop has ended or ends meanwhile.
    """
    return _result(_start(portal, name, func, *args), name)


def run_soon(portal: BlockingPortal, func: Callable[[], None]) -> bool:
    """Have `func` run on the loop of `portal`, from any thread, as garbage collection has it; whether it still runs."""
    try:
        portal.start_task_soon(func)
    except RuntimeError:
        if not loop_is_running():
            return False
        # This is the loop's own thread, from which a portal takes nothing.
        asyncio.get_running_loop().call_soon(func)
    return True


def wait_for(future: Future[T]) -> T:
    """The result of `future`, as its `result()` gives it; a signal that comes just as the waiting begins is heard, too.

    CPython looks for signals before a thread waits and when one wakes it, but not in between: it would hear of that
    signal only at the end of the waiting.
    """
    while True:
        try:
            return future.result(LISTEN_SECONDS)
        except TimeoutError:
            if future.done():
                return future.result()


class Entered(AbstractContextManager[T]):
    """An async context manager on the loop of `portal`, for a with statement in another thread.

    An interrupt while it is being entered or left cancels that; what is not left ends with the loop.
    """

    def __init__(self, portal: BlockingPortal, name: str, manager: AbstractAsyncContextManager[T]) -> None:
        self._portal = portal
        self._name = name
        self._manager = manager
        self._ready: Future[T] = Future()
        self._failure: tuple[Any, Any, Any] = (None, None, None)

    def __enter__(self) -> T:
        self._task = _start(self._portal, self._name, self._hold)
        try:
            return wait_for(self._ready)
        except BaseException as error:
            self._task.cancel()
            if isinstance(error, CancelledError):
                raise _closed(self._name) from None
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        # A generator that is closed around the with statement is no failure; task groups would make a group of it.
        self._failure = (None, None, None) if kind is GeneratorExit else (kind, error, trace)
        if not self.leave_soon() or loop_is_running():
            return None
        try:
            return _result(self._task, self._name)
        except DriverConnectionError:
            if error is None:
                raise
            return None

    def leave_soon(self) -> bool:
        """Start leaving, from any thread, and do not wait; whether the loop still runs."""
        return run_soon(self._portal, self._leave)

    def _leave(self) -> None:
        self._leaving.set()

    async def _hold(self) -> bool | None:
        self._leaving = asyncio.Event()
        try:
            value = await self._manager.__aenter__()
        except BaseException as error:
            self._ready.set_exception(error if isinstance(error, Exception) else CancelledError())
            raise
        self._ready.set_result(value)
        try:
            await self._leaving.wait()
        except BaseException:
            self._failure = sys.exc_info()
            await self._manager.__aexit__(*self._failure)
            raise
        return await self._manager.__aexit__(*self._failure)


@asynccontextmanager
async def running_portal() -> AsyncGenerator[BlockingPortal]:
    """A portal to the running event loop; what still runs through it at the end is cancelled.

    The body's own error leaves as it is, not in the group of the portal's tasks.
    """
    from anyio.from_thread import BlockingPortal

    failure: Exception | None = None
    async with BlockingPortal() as portal:
        try:
            yield portal
        except Exception as error:
            failure = error
        await portal.stop(cancel_remaining=True)
    if failure is not None:
        raise failure


def _start(portal: BlockingPortal, name: str, func: Callable[..., Awaitable[T]], *args: Any) -> Future[T]:
    try:
        return portal.start_task_soon(func, *args)
    except RuntimeError:
        raise _closed(name) from None


def _result(future: Future[T], name: str) -> T:
    try:
        return wait_for(future)
    except CancelledError:
        raise _closed(name) from None
    except BaseException:
        future.cancel()
        raise


def _closed(name: str) -> DriverConnectionError:
    return DriverConnectionError(f"{name}: the connection to the exporter is closed")
