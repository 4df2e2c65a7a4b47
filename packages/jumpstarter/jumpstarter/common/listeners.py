"""Local sockets that live as long as a context: each connection runs a handler."""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from socket import AddressFamily
from typing import Literal

from anyio import Event, create_tcp_listener, move_on_after, wait_readable
from anyio.abc import SocketAttribute, SocketStream, TaskGroup

from jumpstarter.common.directories import PATH_BYTES, in_thread, private_directory
from jumpstarter.streams.common import background_tasks, first_error
from jumpstarter.streams.sockets import ConnectedSocket

Handler = Callable[[SocketStream], Awaitable[object]]
IPFamily = Literal[AddressFamily.AF_UNSPEC, AddressFamily.AF_INET, AddressFamily.AF_INET6]

logger = logging.getLogger(__name__)

# How long to wait for a free descriptor when the process has none left to accept with, in seconds.
_RETRY_S = 0.1


@asynccontextmanager
async def TemporaryTcpListener(  # noqa: N802
    handler: Handler,
    local_host: str | None = "127.0.0.1",
    local_port: int = 0,
    family: IPFamily = AddressFamily.AF_UNSPEC,
    backlog: int = 65536,
    reuse_port: bool = True,
) -> AsyncIterator[tuple[str, int]]:
    """Accept TCP connections with `handler(stream)` while the context is open; yields the local (host, port).

    The stream is closed when its handler returns, and reset when the handler fails or the context ends first.
    Raises OSError naming the address when it cannot be bound.
    """
    try:
        listener = await create_tcp_listener(
            local_host=local_host, local_port=local_port, family=family, backlog=backlog, reuse_port=reuse_port
        )
    except (OSError, OverflowError) as error:
        raise _cannot_listen(f"{local_host}:{local_port}", error) from error
    async with listener:
        sockets = [one.extra(SocketAttribute.raw_socket) for one in listener.listeners]
        host, port = sockets[0].getsockname()[:2]
        async with _accepting(sockets, handler, f"{host}:{port}"):
            yield host, port


@asynccontextmanager
async def TemporaryUnixListener(  # noqa: N802
    handler: Handler, path: str | os.PathLike[str] | None = None
) -> AsyncIterator[Path]:
    """Accept connections on a Unix socket with `handler(stream)`; yields its path, which is removed at the end.

    Without `path` the socket lies in a new directory that only this user can enter. Raises OSError naming the path when
    it cannot be bound; a socket that nobody listens on any more is replaced.
    """
    async with in_thread(_bound_socket(path)) as (raw, socket_path):
        async with _accepting([raw], handler, str(socket_path)):
            yield socket_path


@contextmanager
def _bound_socket(path: str | os.PathLike[str] | None) -> Iterator[tuple[socket.socket, Path]]:
    with ExitStack() as stack:
        socket_path = Path(path) if path is not None else stack.enter_context(private_directory()) / "socket"
        raw = stack.enter_context(socket.socket(socket.AF_UNIX))
        try:
            _make_way(socket_path)
            raw.bind(os.fspath(socket_path))
            raw.listen(socket.SOMAXCONN)
            raw.setblocking(False)
        except OSError as error:
            raise _cannot_listen(str(socket_path), error) from error
        stack.callback(socket_path.unlink, missing_ok=True)
        yield raw, socket_path


def _make_way(path: Path) -> None:
    """Remove a socket that nobody listens on; raise OSError where `bind` would do so with a poor text."""
    if len(os.fsencode(path)) > PATH_BYTES:
        raise OSError(f"the path is longer than the {PATH_BYTES} bytes a Unix socket can have")
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # a live server with a full backlog
            pass
    raise FileExistsError("another process listens on it")


@asynccontextmanager
async def _accepting(listeners: Sequence[socket.socket], handler: Handler, address: str) -> AsyncIterator[None]:
    connections = _Connections(handler, address)
    async with background_tasks() as group:
        for listener in listeners:
            group.start_soon(connections.accept_from, listener, group)
        yield


class _Connections:
    def __init__(self, handler: Handler, address: str) -> None:
        self._handler = handler
        self._address = address
        self._one_closed = Event()

    async def accept_from(self, listener: socket.socket, group: TaskGroup) -> None:
        while True:
            self._one_closed = Event()
            await wait_readable(listener)
            try:
                raw, _ = listener.accept()
            except BlockingIOError:  # the peer gave up in between
                continue
            except OSError as error:
                logger.warning("%s: cannot accept a connection: %s", self._address, error)
                with move_on_after(_RETRY_S):
                    await self._one_closed.wait()
            else:
                group.start_soon(self._serve, raw)

    async def _serve(self, raw: socket.socket) -> None:
        if raw.family != AddressFamily.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with ConnectedSocket(raw) as stream:
            try:
                await self._handler(stream)
            except Exception as error:
                logger.warning("%s: connection ended: %s", self._address, _reason(error))
                logger.debug("%s: handler failed", self._address, exc_info=True)
                _reset_on_close(raw)
            except BaseException:
                _reset_on_close(raw)
                raise
        self._one_closed.set()


def _reset_on_close(raw: socket.socket) -> None:
    """Make the peer see a reset, for an orderly end would tell it that it got everything."""
    if raw.family != AddressFamily.AF_UNIX and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _cannot_listen(address: str, error: Exception) -> OSError:
    number = getattr(error, "errno", None)
    message = f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}"
    return OSError(number, message) if isinstance(number, int) else OSError(message)


def _reason(error: BaseException) -> str:
    error = first_error(error)
    while not str(error) and error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
