"""`DriverClient`: the blocking face of the async core, for scripts and tests, from any thread."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import CancelledError as FutureCancelled
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn, TypeVar

from anyio.from_thread import BlockingPortal
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import DriverCallRequest, StreamingDriverCallRequest

from jumpstarter.common.exceptions import DriverConnectionError
from jumpstarter.streams import blocking
from jumpstarter.streams.blocking import BlockingStream, OpenStream

from .core import AsyncDriverClient, StreamingCall

T = TypeVar("T")


@dataclass(kw_only=True, eq=False)
class DriverClient(AsyncDriverClient):
    """Base of all driver clients. Its methods block; each has an async one beside it, named with `_async`.

    `portal`: leads to the event loop of the stub. `stack`: what is to end with the session.
    """

    children: dict[str, DriverClient] = field(default_factory=dict)
    portal: BlockingPortal = field(repr=False)
    stack: ExitStack = field(repr=False)
    description: str | None = None
    methods_description: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, *args: Any) -> Any:
        """Invoke a driver call."""
        refuse_running_loop("call")
        # Values are encoded and decoded in the caller's thread: the loop is there for everyone.
        request = self._request(DriverCallRequest, method, args)
        return self._result(method, self._block("call", self._send_call, method, request))

    def streamingcall(self, method: str, *args: Any) -> Generator[Any]:
        """Invoke a streaming driver call. Breaking out of the loop closes the driver's generator."""
        refuse_running_loop("streamingcall")
        return self._items(method, StreamingCall(self, method, self._request(StreamingDriverCallRequest, method, args)))

    def _items(self, method: str, call: StreamingCall) -> Generator[Any]:
        try:
            while (response := self._block("streamingcall", call.next)) is not None:
                yield self._result(method, response)
        finally:
            # Also from garbage collection, which may run in any thread; a loop that has ended took the call with it.
            blocking.run_soon(self.portal, call.close)

    @contextmanager
    def stream(self, method: str = "connect") -> Generator[BlockingStream]:
        """Open a raw byte stream to the driver."""
        refuse_running_loop("stream")
        with self.portal.wrap_async_context_manager(self.stream_async(method)) as stream:
            yield BlockingStream(stream, self.portal)

    def open_stream(self, method: str = "connect") -> BlockingStream:
        """`stream` without a with block: `close()` ends it, as does garbage collection."""
        refuse_running_loop("open_stream")
        stream = OpenStream(self.stream_async(method), self.portal)
        self._open_streams.add(stream)
        return stream

    @contextmanager
    def log_stream(self) -> Generator[None]:
        """Show the exporter's log records, through the loggers `exporter:<source>`, while open."""
        refuse_running_loop("log_stream")
        with self.portal.wrap_async_context_manager(self.log_stream_async()):
            yield

    @property
    def status(self) -> Any:
        """The exporter's status, asked anew each time; None from an exporter too old to tell."""
        return self._block("status", self.get_status_async)

    @cached_property
    def _open_streams(self) -> weakref.WeakSet[OpenStream]:
        """What `open_stream` has handed out; it is closed with the session at the latest."""
        streams: weakref.WeakSet[OpenStream] = weakref.WeakSet()
        self.stack.callback(_close_all, streams)
        return streams

    def close(self) -> None:
        """Release what the client holds; overridden where there is something."""
        for child in self.children.values():
            child.close()

    def _block(self, name: str, func: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run a coroutine function on the stub's loop and wait for it; an interrupt here cancels it there."""
        refuse_running_loop(name)
        future = self.portal.start_task_soon(func, *args)
        try:
            return future.result()
        except FutureCancelled:
            raise DriverConnectionError(f"{name}: the connection to the exporter was closed") from None
        except BaseException:
            future.cancel()
            raise


@dataclass(kw_only=True, eq=False)
class StubDriverClient(DriverClient):
    """Stands for a client class that cannot be had here; its children work, any use of its own raises ImportError."""

    missing: str = "the client class is not installed"

    def __getattr__(self, name: str) -> NoReturn:
        # No ImportError here: hasattr() is to go on working.
        raise AttributeError(f"no {name!r} here: {self.missing}")

    def _raise_missing_error(self) -> NoReturn:
        raise ImportError(self.missing)

    def call(self, method: str, *args: Any) -> NoReturn:
        self._raise_missing_error()

    def streamingcall(self, method: str, *args: Any) -> NoReturn:
        self._raise_missing_error()

    def stream(self, method: str = "connect") -> NoReturn:
        self._raise_missing_error()

    def open_stream(self, method: str = "connect") -> NoReturn:
        self._raise_missing_error()

    def log_stream(self) -> NoReturn:
        self._raise_missing_error()


def _close_all(streams: weakref.WeakSet[OpenStream]) -> None:
    for stream in list(streams):
        with suppress(Exception):  # a broken stream has told its user already
            stream.end()


def close_at_exit(client: DriverClient) -> Callable[..., None]:
    """For an ExitStack: closes `client`. An error of that does not take the place of the body's own."""

    def close(failure: type[BaseException] | None, *_: object) -> None:
        try:
            client.close()
        except Exception:
            if failure is None:
                raise
            client.logger.exception("closing the client failed")

    return close


def refuse_running_loop(name: str) -> None:
    """RuntimeError when called from a running event loop, which a blocking call would stop."""
    use = {"status": "get_status_async"}.get(name, f"{name.removeprefix('open_')}_async")
    blocking.refuse_running_loop(name, f"{use}()")
