"""Joining byte streams: copying two of them into each other, and a pair of them in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    Event,
    create_memory_object_stream,
    create_task_group,
    get_cancelled_exc_class,
)
from anyio.abc import AnyByteStream, ObjectStream, TaskGroup
from anyio.streams.stapled import StapledObjectStream

BUFFERED_ITEMS = 32


def create_memory_stream() -> tuple[ObjectStream[bytes], ObjectStream[bytes]]:
    """Two connected byte streams; `send` waits while 32 items are unread at the other end."""
    a_send, b_receive = create_memory_object_stream[bytes](BUFFERED_ITEMS)
    b_send, a_receive = create_memory_object_stream[bytes](BUFFERED_ITEMS)
    return StapledObjectStream(a_send, a_receive), StapledObjectStream(b_send, b_receive)


@asynccontextmanager
async def background_tasks() -> AsyncIterator[TaskGroup]:
    """A task group that is cancelled when the body ends; the body's own error leaves as it is, not in a group."""
    failure: BaseException | None = None
    async with create_task_group() as group:
        try:
            yield group
        except (get_cancelled_exc_class(), GeneratorExit):
            raise
        except BaseException as error:
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def forward_stream(a: AnyByteStream, b: AnyByteStream) -> AsyncIterator[None]:
    """Copy both ways while the body runs, and at its end wait until both directions have ended (see `copy_both_ways`).

    An error of a stream cancels the body and is raised; an error of the body stops the copying.
    """
    failure: Exception | None = None
    ended = Event()

    async def run(group: TaskGroup) -> None:
        nonlocal failure
        try:
            await copy_both_ways(a, b)
        except Exception as error:
            failure = error
            group.cancel_scope.cancel()
        finally:
            ended.set()

    async with background_tasks() as group:
        group.start_soon(run, group)
        yield
        await ended.wait()
    if failure is not None:
        raise failure


async def copy_both_ways(a: AnyByteStream, b: AnyByteStream) -> None:
    """Copy until both directions have ended; the end of one stream becomes the half close of the other.

    The first error of either stream ends both directions and is raised. Closing a stream on this side ends them
    without an error. Neither stream is closed.
    """
    failures: list[Exception] = []
    a_ended, b_ended = Event(), Event()

    async def run(source: AnyByteStream, sink: AnyByteStream, ended: Event, sink_ended: Event) -> None:
        try:
            await _copy(source, sink, sink_ended)
            ended.set()
        except Exception as error:
            if not isinstance(error, ClosedResourceError):
                failures.append(error)
            group.cancel_scope.cancel()

    async with create_task_group() as group:
        group.start_soon(run, a, b, a_ended, b_ended)
        group.start_soon(run, b, a, b_ended, a_ended)
    if failures:
        raise failures[0]


async def _copy(source: AnyByteStream, sink: AnyByteStream, sink_ended: Event) -> None:
    async for item in source:
        try:
            await sink.send(item)
        except BrokenResourceError:
            if sink_ended.is_set():
                raise
            # Reading from the sink goes on: it delivers what was sent before the hang-up, and ends with its cause.
            return
    # All data got through; a sink that is gone by now says so where it is read.
    with suppress(BrokenResourceError, ClosedResourceError, OSError):
        await sink.send_eof()


def first_error(error: BaseException) -> BaseException:
    """`error`, or where it is a group, as of a task group, the first one in it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
