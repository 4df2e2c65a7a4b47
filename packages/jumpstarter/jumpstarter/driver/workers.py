"""Sync code in an async exporter: a pool of threads that grows and shrinks, in which no driver can starve another.

Threads are daemons: a driver that blocks for ever must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Job = Callable[[], None]

IDLE_SECONDS = 10.0
# Calls of one driver that run at the same time; the next ones wait their turn. There is no bound over all drivers.
THREADS_PER_DRIVER = 256


class WorkerPool:
    """Runs jobs in threads; an idle thread is reused, newest first, and ends after `IDLE_SECONDS`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[Job]] = []

    def submit(self, job: Job) -> None:
        """Run `job` soon in some thread. It must not raise."""
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = SimpleQueue()
            threading.Thread(target=self._work, args=(inbox,), name="jumpstarter-worker", daemon=True).start()
        inbox.put(job)

    def _work(self, inbox: SimpleQueue[Job]) -> None:
        while True:
            try:
                job = inbox.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                continue
            job()
            del job
            with self._lock:
                self._idle.append(inbox)


POOL = WorkerPool()


class Allowance:
    """One driver's share of the pool: at most `threads` of its jobs run at a time."""

    def __init__(self, pool: WorkerPool = POOL, threads: int = THREADS_PER_DRIVER) -> None:
        self._pool = pool
        self._free = asyncio.Semaphore(threads)
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def run(self, func: Callable[..., T], *args: Any) -> T:
        """`func(*args)` in a worker. Cancelling stops the waiting, not the function."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        self._start(contextvars.copy_context(), func, args, outcome, loop, release=True)
        return await outcome

    def spawn(self, func: Callable[[], object]) -> None:
        """Run a clean-up in a worker at once, over the allowance if need be; nobody waits for its result."""
        loop = asyncio.get_running_loop()
        self._start(contextvars.copy_context(), func, (), loop.create_future(), loop, release=False)

    @contextmanager
    def occupied(self) -> Generator[None]:
        """Count as busy while the body runs: for what runs on the loop."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @property
    def busy(self) -> bool:
        """Whether any of this driver's jobs runs."""
        return self._busy > 0

    async def quiet(self) -> None:
        """Wait until none of this driver's jobs runs."""
        await self._quiet.wait()

    def _enter(self) -> None:
        self._busy += 1
        self._quiet.clear()

    def _leave(self) -> None:
        self._busy -= 1
        if self._busy == 0:
            self._quiet.set()

    def _start(
        self,
        context: contextvars.Context,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        outcome: asyncio.Future[Any],
        loop: asyncio.AbstractEventLoop,
        *,
        release: bool,
    ) -> None:
        def job() -> None:
            result: Any = None
            error: Exception | None = None
            try:
                result = context.run(func, *args)
            except BaseException as raised:
                error = as_exception(raised)
            # A closed loop means that nobody waits any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._finish, outcome, result, error, release)

        self._enter()
        try:
            self._pool.submit(job)
        except RuntimeError as raised:
            self._finish(outcome, None, OSError(f"cannot start a worker thread: {raised}"), release)

    def _finish(self, outcome: asyncio.Future[Any], result: Any, error: Exception | None, release: bool) -> None:
        if release:
            self._free.release()
        self._leave()
        if outcome.done():
            return
        if error is None:
            outcome.set_result(result)
        else:
            outcome.set_exception(error)


def as_exception(error: BaseException) -> Exception:
    """What may leave driver code: StopIteration and exits become RuntimeError."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"driver code raised {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
