"""Adapters written async, used by code that blocks."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import cast

import anyio
import pytest
from jumpstarter.client import DriverClient
from jumpstarter.client.adapters import blocking
from jumpstarter.common.utils import serve, serve_async
from jumpstarter.driver import Driver, export


class Echo(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def echo(self, text: str) -> str:
        return text


events: list[str] = []


@asynccontextmanager
async def repeat(*, client: DriverClient, times: int = 2) -> AsyncGenerator[str]:
    """Says what the driver echoes, several times."""
    events.append("enter")
    try:
        yield cast("str", await client.call_async("echo", "a")) * times
    except KeyError:
        events.append("error")
        raise
    finally:
        events.append("exit")


RepeatAdapter = blocking(repeat)


@asynccontextmanager
async def grouped(*, client: DriverClient) -> AsyncGenerator[str]:
    """With a task group around what it lends."""
    async with anyio.create_task_group():
        yield await client.call_async("echo", "a")


def test_a_generator_that_is_closed_around_one_leaves_it_in_peace() -> None:
    def echoes(client: DriverClient) -> Generator[str]:
        with blocking(grouped)(client=client) as text:
            yield text

    with serve(Echo()) as client:
        texts = echoes(client)
        assert next(texts) == "a"
        texts.close()


def in_a_thread(client: DriverClient) -> str:
    with RepeatAdapter(client=client) as text:
        return text


def test_runs_on_the_clients_loop() -> None:
    events.clear()
    with serve(Echo()) as client:
        with RepeatAdapter(client=client, times=3) as text:
            assert text == "aaa"
            assert events == ["enter"]
        assert events == ["enter", "exit"]
        with pytest.raises(KeyError, match="mine"), RepeatAdapter(client=client):
            raise KeyError("mine")
        assert events[2:] == ["enter", "error", "exit"]


def test_keeps_what_describes_it() -> None:
    assert inspect.signature(RepeatAdapter) == inspect.signature(repeat)
    assert RepeatAdapter.__name__ == "repeat"
    assert RepeatAdapter.__doc__ == repeat.__doc__


def test_refuses_wrong_use() -> None:
    with pytest.raises(TypeError, match="client"):
        RepeatAdapter()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="needs an argument named client"):

        @blocking
        @asynccontextmanager
        async def nameless(board: DriverClient) -> AsyncGenerator[None]:
            yield


@pytest.mark.anyio
async def test_on_an_event_loop_it_names_the_async_one() -> None:
    async with serve_async(Echo()) as client:
        with pytest.raises(RuntimeError, match=r"async with repeat\.__wrapped__"):
            RepeatAdapter(client=client)
        async with RepeatAdapter.__wrapped__(client=client) as text:  # type: ignore[attr-defined]
            assert text == "aa"
        async with serve_async(Echo()) as other:
            assert await anyio.to_thread.run_sync(in_a_thread, other) == "aa"
