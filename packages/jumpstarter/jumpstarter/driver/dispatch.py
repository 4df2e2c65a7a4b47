"""From the name of a method to its result: the three kinds of exports, each run where it belongs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import grpc
from anyio.abc import ObjectStream
from pydantic import ValidationError

from jumpstarter.rpc.errors import CallRefused

from .arguments import InvalidArguments, check_arguments, explain_validation, guards_itself
from .base import Driver
from .decorators import MARKER_DRIVERCALL, MARKER_STREAMCALL, MARKER_STREAMING_DRIVERCALL, is_marked
from .generators import END, Stepper
from .workers import Allowance

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
        checked = check_arguments(method, name, args)
        try:
            if inspect.iscoroutinefunction(method):
                return encode(await method(*checked))
            return await self._call_in_worker(method, checked, encode)
        except ValidationError as error:
            raise _explain(method, name, error) from error

    async def streamingcall(self, name: str, args: Sequence[Any], encode: Encode[E]) -> AsyncGenerator[E]:
        """The encoded items of a streaming call; a plain export yields its one value. Close it when done."""
        method = self._find(name, MARKER_STREAMING_DRIVERCALL, MARKER_DRIVERCALL)
        if is_marked(method, MARKER_DRIVERCALL):
            yield await self.call(name, args, encode)
            return
        checked = check_arguments(method, name, args)
        items = self._items(method, checked, encode)
        try:
            async for item in items:
                yield item
        except ValidationError as error:
            raise _explain(method, name, error) from error
        finally:
            await items.aclose()

    def stream(self, name: str) -> AbstractAsyncContextManager[ObjectStream[bytes]]:
        """The context manager of a stream constructor."""
        constructor = self._find(name, MARKER_STREAMCALL)
        return constructor()  # type: ignore[no-any-return]

    @property
    def busy(self) -> bool:
        """Whether a sync method of the driver runs."""
        return self._allowance.busy

    async def quiet(self) -> None:
        """Wait until no sync method of the driver runs."""
        await self._allowance.quiet()

    async def _call_in_worker(self, method: Callable[..., Any], args: list[Any], encode: Encode[E]) -> E:
        def run() -> Any:
            result = method(*args)
            return result if inspect.isawaitable(result) else encode(result)

        result: Any = await self._allowance.run(run)
        # A wrapper that is no coroutine function may still return a coroutine.
        return encode(await result) if inspect.isawaitable(result) else result

    async def _items(self, method: Callable[..., Any], args: list[Any], encode: Encode[E]) -> AsyncGenerator[E]:
        if inspect.isasyncgenfunction(method):
            generator = method(*args)
            try:
                async for item in generator:
                    yield encode(item)
            finally:
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
        method: Callable[..., Any] | None = getattr(self.driver, name, None)
        if method is None:
            raise CallRefused(grpc.StatusCode.NOT_FOUND, f"method {name} not found on driver {self._title}")
        if any(is_marked(method, marker) for marker in markers):
            return method
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


def _explain(method: Callable[..., Any], name: str, error: ValidationError) -> Exception:
    return explain_validation(error, name) if guards_itself(method) else InvalidArguments(str(error))
