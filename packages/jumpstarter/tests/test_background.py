"""The portal to an event loop in the background: anyio's BlockingPortal to its users."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal
from jumpstarter.streams.background import background_portal

SECONDS = 10


class Broken(Exception):
    pass


async def fail() -> None:
    raise Broken


async def started(number: int, *, task_status: TaskStatus[int]) -> str:
    task_status.started(number)
    return "done"


def test_calls_functions_and_coroutine_functions_on_its_loop() -> None:
    async def double(number: int) -> int:
        await anyio.sleep(0)
        return 2 * number

    with background_portal() as portal:
        assert portal.call(double, 21) == 42
        assert portal.call(threading.get_ident) != threading.get_ident()
        with pytest.raises(Broken):
            portal.call(fail)


def test_from_many_threads_at_once() -> None:
    async def same(number: int) -> int:
        await asyncio.sleep(0.01)
        return number

    with background_portal() as portal:
        futures = [portal.start_task_soon(same, number) for number in range(100)]
        assert [future.result(SECONDS) for future in futures] == list(range(100))


def test_what_a_caller_has_in_its_context_is_there_too() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("ours")
    with background_portal() as portal:
        assert portal.call(variable.get) == "ours"


def test_a_cancelled_future_cancels_its_task() -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    with background_portal() as portal:
        future = portal.start_task_soon(wait)
        assert begun.wait(SECONDS)
        assert future.cancel()
        assert cancelled.wait(SECONDS)


def test_the_end_cancels_what_still_runs_and_waits_for_it() -> None:
    begun = threading.Event()
    steps = []

    async def wait() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            steps.append("cleaning up")
            await asyncio.sleep(0.01)
            steps.append("cleaned up")

    with background_portal() as portal:
        future = portal.start_task_soon(wait)
        assert begun.wait(SECONDS)
    assert steps == ["cleaning up", "cleaned up"]
    with pytest.raises(CancelledError):
        future.result(0)


def test_takes_nothing_on_its_own_thread_and_after_its_end() -> None:
    with background_portal() as portal:
        with pytest.raises(RuntimeError, match="other threads"):
            portal.call(portal.call, print)
    with pytest.raises(RuntimeError, match="has ended"):
        portal.start_task_soon(print)
    assert not [thread for thread in threading.enumerate() if thread.name == "event loop"]


def test_whatever_else_a_portal_of_anyio_can() -> None:
    steps = []

    @asynccontextmanager
    async def manager() -> AsyncGenerator[str]:
        steps.append("in")
        try:
            yield "value"
        finally:
            await anyio.sleep(0)
            steps.append("out")

    with background_portal() as portal:
        with portal.wrap_async_context_manager(manager()) as value:
            assert value == "value"
            assert steps == ["in"]
        assert steps == ["in", "out"]
        future, number = portal.start_task(started, 7)
        assert (future.result(SECONDS), number) == ("done", 7)
        with pytest.raises(AttributeError, match="nothing_of_the_kind"):
            _ = portal.nothing_of_the_kind  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_that_breaks_off_leaves_nobody_waiting() -> None:
    def leave() -> None:
        raise SystemExit(3)

    with background_portal() as portal:
        waiting = portal.start_task_soon(anyio.sleep_forever)
        with pytest.raises(SystemExit):
            portal.start_task_soon(leave).result(SECONDS)
        with pytest.raises(CancelledError):
            waiting.result(SECONDS)
        with pytest.raises(RuntimeError, match="has ended"):
            _call_for_ever(portal)


def _call_for_ever(portal: BlockingPortal) -> None:
    while True:
        portal.start_task_soon(anyio.sleep_forever)
