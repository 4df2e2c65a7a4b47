"""`DriverClient`: the blocking face of the async core, for scripts and tests, from any thread."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import DriverCallRequest, StreamingDriverCallRequest

from jumpstarter.streams import portal
from jumpstarter.streams.portal import Entered, run, run_soon

from .core import AsyncDriverClient, StreamingCall

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from jumpstarter.streams.blocking import BlockingStream, OpenStream
else:
    # For those who evaluate the annotations of a client's fields: only its use tells a portal.
    BlockingPortal = Any

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

    def __getattr__(self, name: str) -> Any:
        """Children are reachable by name."""
        child = self.__dict__.get("children", {}).get(name)
        if child is None:
            raise AttributeError(self._no_attribute(name))
        return child

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.children]

    def _no_attribute(self, name: str) -> str:
        from difflib import get_close_matches

        children = self.__dict__.get("children", {})
        near = get_close_matches(name, children, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        names = ", ".join(map(repr, children)) or "none"
        return f"{type(self).__name__} has no attribute or child {name!r}{hint} (children: {names})"

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
            run_soon(self.portal, call.close)

    @contextmanager
    def stream(self, method: str = "connect") -> Generator[BlockingStream]:
        """Open a raw byte stream to the driver."""
        from jumpstarter.streams.blocking import BlockingStream

        refuse_running_loop("stream")
        with Entered(self.portal, "stream", self.stream_async(method)) as stream:
            yield BlockingStream(stream, self.portal)

    def open_stream(self, method: str = "connect") -> BlockingStream:
        """`stream` without a with block: `close()` ends it, as does garbage collection."""
        from jumpstarter.streams.blocking import OpenStream

        refuse_running_loop("open_stream")
        stream = OpenStream(self.stream_async(method), self.portal)
        self._open_streams.add(stream)
        return stream

    @contextmanager
    def log_stream(self) -> Generator[None]:
        """Show the exporter's log records, through the loggers `exporter:<source>`, while open."""
        refuse_running_loop("log_stream")
        with Entered(self.portal, "log_stream", self.log_stream_async()):
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
        return run(self.portal, name, func, *args)


@dataclass(kw_only=True, eq=False)
class StubDriverClient(DriverClient):
    """Stands for a client class that cannot be had here; its children work, any use of its own raises ImportError."""

    missing: str = "the client class is not installed"

    def _no_attribute(self, name: str) -> str:
        # No ImportError for this: hasattr() is to go on working.
        return f"no {name!r} here: {self.missing}"

    async def call_async(self, method: str, *args: Any) -> NoReturn:
        self._raise_missing_error()

    def streamingcall_async(self, method: str, *args: Any) -> NoReturn:
        self._raise_missing_error()

    def stream_async(self, method: str = "connect") -> NoReturn:
        self._raise_missing_error()

    def resource_async(self, stream: Any, content_encoding: str | None = None) -> NoReturn:
        self._raise_missing_error()

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
    portal.refuse_running_loop(name, f"{use}()")
