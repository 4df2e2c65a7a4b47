"""Files and URLs of the client as resources: handles that a driver call takes in place of their bytes."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from anyio import CancelScope, EndOfStream, to_thread
from anyio.abc import ObjectStream

from jumpstarter.streams.progress import ProgressAttribute, ProgressStream

if TYPE_CHECKING:
    from .core import AsyncDriverClient

PathBuf = str | os.PathLike[str]
Mode = Literal["rb", "wb"]
Handle = dict[str, Any]

_PIECE = 1 << 20


def is_url(path: PathBuf) -> bool:
    """Whether a path is an http or https URL, which the exporter itself fetches or fills."""
    return os.fspath(path).lower().startswith(("http://", "https://"))


def url_handle(url: str, mode: Mode = "rb") -> Handle:
    """The handle of a URL: read with GET, written with PUT."""
    return {"kind": "presigned_request", "headers": {}, "url": url, "method": "GET" if mode == "rb" else "PUT"}


@asynccontextmanager
async def open_path(
    client: AsyncDriverClient, path: PathBuf, mode: Mode = "rb", compression: str | None = None
) -> AsyncGenerator[Handle]:
    """The handle of a local file, or of a URL. OSError, naming the file, where it cannot be opened.

    `compression` (gzip, xz, bz2, zstd): that of the file, which the exporter undoes, or does in mode `wb`.
    """
    if is_url(path):
        if compression is not None:
            warnings.warn("compression is ignored for URLs: the exporter passes on what it fetches", stacklevel=3)
        yield url_handle(os.fspath(path), mode)
        return
    async with ProgressStream(stream=await LocalFile.open(path, mode)) as file:
        async with client.resource_async(file, compression) as handle:
            yield handle


class LocalFile(ObjectStream[bytes]):
    """One direction of a local file as a byte stream; reading and writing happen in worker threads."""

    def __init__(self, file: BinaryIO, total: int | None) -> None:
        self._file = file
        self._total = total

    @classmethod
    async def open(cls, path: PathBuf, mode: Mode) -> LocalFile:
        """Open `path` for reading, or create it for writing."""
        return await to_thread.run_sync(cls._open, path, mode)

    @classmethod
    def _open(cls, path: PathBuf, mode: Mode) -> LocalFile:
        file = open(path, mode)  # noqa: SIM115 - aclose() closes it
        status = os.fstat(file.fileno())
        return cls(file, status.st_size if mode == "rb" and stat.S_ISREG(status.st_mode) else None)

    async def receive(self) -> bytes:
        if not self._file.readable():
            raise EndOfStream
        data = await to_thread.run_sync(self._file.read, _PIECE)
        if not data:
            raise EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        if not self._file.writable():
            raise io.UnsupportedOperation(f"{self._file.name} is open for reading, and the driver writes to it")
        await to_thread.run_sync(self._file.write, item)

    async def send_eof(self) -> None:
        """What was sent is in the file once the stream is closed."""

    async def aclose(self) -> None:
        with CancelScope(shield=True):
            await to_thread.run_sync(self._file.close)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        total = self._total
        return {} if total is None else {ProgressAttribute.total: lambda: total}


class BytesSource(ObjectStream[bytes]):
    """Bytes in memory as a stream to read."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    async def receive(self) -> bytes:
        if not self._data:
            raise EndOfStream
        piece, self._data = self._data[:_PIECE], self._data[_PIECE:]
        return bytes(piece)

    async def send(self, item: bytes) -> None:
        raise io.UnsupportedOperation("the driver writes to bytes that were given to be read")

    async def send_eof(self) -> None:
        """Nothing was to be sent."""

    async def aclose(self) -> None:
        self._data = memoryview(b"")

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        total = len(self._data)
        return {ProgressAttribute.total: lambda: total}
