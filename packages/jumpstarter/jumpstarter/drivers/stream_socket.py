"""A driver's stream with the methods of a connected socket."""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from anyio import BrokenResourceError, EndOfStream

from jumpstarter.streams.blocking import BlockingStream


class StreamSocket:
    """`stream` for code written for sockets. A stream that fails raises ConnectionResetError, with the cause."""

    def __init__(self, stream: BlockingStream) -> None:
        self._stream = stream
        self._unread = memoryview(b"")
        self._timeout: float | None = None

    def settimeout(self, seconds: float | None) -> None:
        """Longest wait of `recv`; None waits for ever."""
        self._timeout = seconds

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes, as soon as there is one; none after the driver's end of the stream.

        TimeoutError after the seconds set with `settimeout`.
        """
        while size > 0 and not self._unread:
            try:
                with _as_os_errors():
                    self._unread = memoryview(self._stream.receive(self._timeout))
            except EndOfStream:
                return b""
        data, self._unread = self._unread[:size], self._unread[size:]
        return bytes(data)

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`."""
        with _as_os_errors():
            self._stream.send(bytes(data))

    def send_eof(self) -> None:
        """Say that no more will be sent; receiving goes on."""
        with _as_os_errors():
            self._stream.send_eof()

    def close(self) -> None:
        """Close the stream; what was sent before still arrives."""
        self._stream.close()

    def makefile(self) -> io.BufferedRWPair:
        """A binary file over this socket. Closing the file flushes it and leaves the socket open."""
        return io.BufferedRWPair(_Raw(self), _Raw(self))


class _Raw(io.RawIOBase):
    def __init__(self, sock: StreamSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._sock.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        self._sock.sendall(data)
        return memoryview(data).nbytes


@contextmanager
def _as_os_errors() -> Generator[None]:
    try:
        yield
    except BrokenResourceError as error:
        raise ConnectionResetError(str(error) or "the stream is broken") from error
