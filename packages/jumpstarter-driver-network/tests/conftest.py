from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from anyio import wait_all_tasks_blocked

Handler = Callable[[socket.socket], None]
Serve = Callable[[Handler], tuple[str, int]]


class Server:
    """A real stream server: each connection runs `handler` in a thread of its own."""

    def __init__(self, listener: socket.socket, handler: Handler) -> None:
        self._listener = listener
        self._handler = handler
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._run, args=(connection,))
                self._connections.append(connection)
                self._threads.append(thread)
                thread.start()

    def _run(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._handler(connection)

    def close(self) -> None:
        for one in (self._listener, *self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self._listener.close()


@pytest.fixture
def tcp_server() -> Iterator[Serve]:
    """Start a TCP server with a handler; gives its host and port."""
    with ExitStack() as stack:

        def start(handler: Handler) -> tuple[str, int]:
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            stack.callback(Server(listener, handler).close)
            host, port = listener.getsockname()
            return host, port

        yield start


@pytest.fixture
def unix_server(tmp_path: Path) -> Iterator[Callable[[Handler], str]]:
    """Start a server on a Unix socket with a handler; gives its path."""
    with ExitStack() as stack:

        def start(handler: Handler) -> str:
            path = str(tmp_path / "server")
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen(128)
            stack.callback(Server(listener, handler).close)
            return path

        yield start


@pytest.fixture
def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def echo_after_end(connection: socket.socket) -> None:
    data = b"".join(iter(lambda: connection.recv(65536), b""))
    connection.sendall(data)


def reset(connection: socket.socket) -> None:
    """Close so that the other side gets RST, not FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.fixture
def handlers() -> type:
    """Handlers for the servers above."""

    class Handlers:
        echo = staticmethod(echo)
        echo_after_end = staticmethod(echo_after_end)
        reset = staticmethod(reset)

    return Handlers


@pytest.fixture
def leaves_nothing():
    """A context: tasks, threads and files that came up within it are gone within seconds of its end."""

    @contextmanager
    def check(client) -> Iterator[None]:
        def counts() -> tuple[int, int, int]:
            client.portal.call(wait_all_tasks_blocked)
            tasks = client.portal.call(_count_tasks)
            return tasks, threading.active_count(), psutil.Process().num_fds()

        before = counts()
        yield
        deadline = time.monotonic() + 10
        # Idle workers from before may end meanwhile.
        while (grown := [pair for pair in zip(before, counts(), strict=True) if pair[1] > pair[0]]) and (
            time.monotonic() < deadline
        ):
            continue
        assert grown == []

    return check


async def _count_tasks() -> int:
    return len(asyncio.all_tasks())
