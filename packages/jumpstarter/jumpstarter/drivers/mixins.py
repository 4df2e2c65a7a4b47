"""Mix-ins for client classes: raw streams as sockets and files, and files of the client as resources."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from io import BufferedRWPair

from anyio.abc import ObjectStream

from jumpstarter.client.base import DriverClient, refuse_running_loop
from jumpstarter.client.files import BytesSource, Handle, Mode, PathBuf, open_path
from jumpstarter.streams.portal import Entered

from .stream_socket import StreamSocket

__all__ = ["ResourceMixin", "StreamMixin", "StreamSocket"]


class StreamMixin(DriverClient):
    """Raw streams to the driver for code that expects a socket or a file. On an event loop use `stream_async`."""

    @contextmanager
    def connect(self, method: str = "connect") -> Generator[StreamSocket]:
        """The driver's stream with the methods of a socket: `recv`, `sendall`, `settimeout`."""
        with self.stream(method) as stream:
            yield StreamSocket(stream)

    @contextmanager
    def open(self, method: str = "connect") -> Generator[BufferedRWPair]:
        """The driver's stream as a binary file; `flush()` sends what was written, as does leaving."""
        with self.connect(method) as sock, sock.makefile() as file:
            yield file


class ResourceMixin(DriverClient):
    """Resources of the client for its driver: each context manager gives a handle to pass to `call`."""

    @contextmanager
    def file(self, path: PathBuf, mode: Mode = "rb", compression: str | None = None) -> Generator[Handle]:
        """A local file for the driver to read (mode `rb`) or to fill (`wb`); an http(s) URL is left to the exporter.

        `compression` (gzip, xz, bz2, zstd): that of the file, which the exporter undoes, or does in mode `wb`.
        """
        refuse_running_loop("file")
        with Entered(self.portal, "file", self.file_async(path, mode, compression)) as handle:
            yield handle

    @asynccontextmanager
    async def file_async(
        self, path: PathBuf, mode: Mode = "rb", compression: str | None = None
    ) -> AsyncGenerator[Handle]:
        """`file` on an event loop."""
        async with open_path(self, path, mode, compression) as handle:
            yield handle

    @contextmanager
    def resource(self, source: bytes | ObjectStream[bytes], content_encoding: str | None = None) -> Generator[Handle]:
        """Bytes, or a byte stream that lives on the client's event loop, as a resource; see `resource_async`."""
        refuse_running_loop("resource")
        stream = BytesSource(source) if isinstance(source, bytes) else source
        with Entered(self.portal, "resource", self.resource_async(stream, content_encoding)) as handle:
            yield handle
