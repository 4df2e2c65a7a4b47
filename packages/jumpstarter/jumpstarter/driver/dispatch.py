"""From the name of a method to its result: the three kinds of exports, each run where it belongs."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any, TypeVar

import grpc
from anyio.abc import ObjectStream
from pydantic import ValidationError

from jumpstarter.rpc.errors import CallRefused

from .arguments import InvalidArguments, check_arguments, explain_validation, guards_itself
from .base import Driver
from .decorators import MARKER_DRIVERCALL, MARKER_STREAMCALL, MARKER_STREAMING_DRIVERCALL, is_marked, unguarded
from .generators import END, Stepper
from .workers import Allowance, as_exception

E = TypeVar("E")
Encode = Callable[[Any], E]

_KINDS = {
    MARKER_DRIVERCALL: "an exported method: use call({!r})",
    MARKER_STREAMING_DRIVERCALL: "a streaming export: use streamingcall({!r})",
    MARKER_STREAMCALL: "a stream constructor: use stream({!r})",
}


class Dispatcher:
    """Runs the exports of one driver.

    Results are passed through `encode` where they arise: in the worker or on the loop.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._allowance = Allowance()

    async def call(self, name: str, args: Sequence[Any], encode: Encode[E]) -> E:
        """The encoded result of a driver call."""
        method = self._find(name, MARKER_DRIVERCALL)
        try:
            if inspect.iscoroutinefunction(method):
                with self._allowance.occupied(), contained():
                    return encode(await method(*check_arguments(method, name, args)))
            return await self._call_in_worker(method, name, args, encode)
        except ValidationError as error:
            raise _explain(method, name, error) from error

    async def streamingcall(self, name: str, args: Sequence[Any], encode: Encode[E]) -> AsyncGenerator[E]:
        """The encoded items of a streaming call; a plain export yields its one value. Close it when done."""
        method = self._find(name, MARKER_STREAMING_DRIVERCALL, MARKER_DRIVERCALL)
        if not is_marked(method, MARKER_STREAMING_DRIVERCALL):
            yield await self.call(name, args, encode)
            return
        checked = check_arguments(method, name, args)
        with self._allowance.occupied():
            try:
                async with aclosing(self._items(method, checked, encode)) as items:
                    async for item in items:
                        yield item
            except ValidationError as error:
                raise _explain(method, name, error) from error

    @asynccontextmanager
    async def stream(self, name: str) -> AsyncGenerator[ObjectStream[bytes]]:
        """The stream of a stream constructor, open while the body runs."""
        constructor = self._find(name, MARKER_STREAMCALL)
        with self._allowance.occupied():
            opening = constructor()
            with contained():
                stream: ObjectStream[bytes] = await opening.__aenter__()
            try:
                yield stream
            except BaseException:
                with contained():
                    suppressed = await opening.__aexit__(*sys.exc_info())
                if not suppressed:
                    raise
            else:
                with contained():
                    await opening.__aexit__(None, None, None)

    @property
    def busy(self) -> bool:
        """Whether a method or a stream of the driver runs."""
        return self._allowance.busy

    async def quiet(self) -> None:
        """Wait until no method and no stream of the driver runs."""
        await self._allowance.quiet()

    async def _call_in_worker(self, method: Callable[..., Any], name: str, args: Sequence[Any], encode: Encode[E]) -> E:
        def run() -> Any:
            result = method(*check_arguments(method, name, args))
            return result if inspect.isawaitable(result) else encode(result)

        result: Any = await self._allowance.run(run)
        if inspect.isawaitable(result):
            # A wrapper that is no coroutine function may still return a coroutine.
            with self._allowance.occupied(), contained():
                return encode(await result)
        encoded: E = result
        return encoded

    async def _items(self, method: Callable[..., Any], args: list[Any], encode: Encode[E]) -> AsyncGenerator[E]:
        if inspect.isasyncgenfunction(unguarded(method)):
            generator = method(*args)
            try:
                while (item := await _next(generator)) is not END:
                    yield encode(item)
            finally:
                with contained():
                    await generator.aclose()
            return
        stepper = Stepper(self._allowance, lambda: method(*args), encode)
        try:
            while (item := await stepper.next()) is not END:
                yield item
        finally:
            stepper.abandon()

    def _find(self, name: str, *markers: str) -> Callable[..., Any]:
        """The bound method, by the name and marker that make it reachable; only marked names leave the exporter."""
        # A property runs code when it is looked at, and no property is an export.
        is_property = isinstance(getattr(type(self.driver), name, None), property | cached_property)
        method: Any = None if is_property else getattr(self.driver, name, None)
        if method is None and not is_property:
            raise CallRefused(grpc.StatusCode.NOT_FOUND, f"method {name} not found on driver {self._title}")
        if any(is_marked(method, marker) for marker in markers):
            return method  # type: ignore[no-any-return]
        for marker, use in _KINDS.items():
            if is_marked(method, marker):
                raise CallRefused(grpc.StatusCode.NOT_FOUND, f"{name} of {self._title} is {use.format(name)}")
        raise CallRefused(
            grpc.StatusCode.NOT_FOUND,
            f"method {name} missing marker {markers[0]}: {self._title}.{name} is not exported",
        )

    @property
    def _title(self) -> str:
        return type(self.driver).__name__


async def _next(generator: AsyncGenerator[Any]) -> Any:
    with contained():
        return await anext(generator, END)


@contextmanager
def contained() -> Generator[None]:
    """Driver code that exits, or cancels itself, on the loop fails its own call.

    An exit would end the loop, and grpc.aio crashes on any other exception that is no Exception.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise
        raise as_exception(error) from error


def _explain(method: Callable[..., Any], name: str, error: ValidationError) -> Exception:
    return explain_validation(error, method, name) if guards_itself(method) else InvalidArguments(str(error))
