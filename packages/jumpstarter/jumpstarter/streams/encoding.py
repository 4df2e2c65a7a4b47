"""Byte streams that are compressed on the wire: gzip, xz, bz2 and zstd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anyio import BrokenResourceError, CapacityLimiter, ClosedResourceError, EndOfStream, ResourceGuard, to_thread
from anyio.abc import ObjectStream

from jumpstarter.streams.codecs import MAGIC_BYTES, Compression, Encoder, codec, recognise
from jumpstarter.streams.inflate import (
    DEFAULT_LIMIT,
    PIECE_BYTES,
    CompressedDataError,
    ExpansionLimit,
    ExpansionLimitExceeded,
    Inflater,
)

__all__ = [
    "AutoDecompressIterator",
    "CompressedDataError",
    "CompressedStream",
    "Compression",
    "ExpansionLimit",
    "ExpansionLimitExceeded",
    "compress_stream",
]


def compress_stream(
    stream: ObjectStream[bytes], compression: Compression | None, *, limit: ExpansionLimit = DEFAULT_LIMIT
) -> ObjectStream[bytes]:
    """`stream`, with what is received from it decompressed and what is sent to it compressed; None: as it is."""
    return stream if compression is None else CompressedStream(stream=stream, compression=compression, limit=limit)


@dataclass(kw_only=True, eq=False)
class CompressedStream(ObjectStream[bytes]):
    """The plain side of `stream`, whose both directions are compressed. `receive` raises CompressedDataError."""

    stream: ObjectStream[bytes]
    compression: Compression
    limit: ExpansionLimit = DEFAULT_LIMIT

    _inflater: Inflater = field(init=False, repr=False)
    _encoder: Encoder | None = field(init=False, repr=False, default=None)
    _ended: bool = field(init=False, repr=False, default=False)
    # False while output is on its way, and for good once that was interrupted: the file has a hole then.
    _whole: bool = field(init=False, repr=False, default=True)
    _sending: ResourceGuard = field(init=False, repr=False)
    _worker: CapacityLimiter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._inflater = Inflater(self.compression, self.limit)
        self._sending = ResourceGuard("sending to")
        self._worker = CapacityLimiter(1)

    async def receive(self) -> bytes:
        piece = await self._inflater.next_piece(self._pull)
        if piece is None:
            raise EndOfStream
        return piece

    async def _pull(self) -> bytes | None:
        try:
            return await self.stream.receive()
        except EndOfStream:
            return None

    async def send(self, item: bytes) -> None:
        """BrokenResourceError once an earlier send was interrupted."""
        with self._sending:
            if self._ended:
                raise ClosedResourceError
            for start in range(0, len(item), PIECE_BYTES):
                await self._send_output_of(self._compress, item[start : start + PIECE_BYTES])

    async def send_eof(self) -> None:
        """End the compressed data properly (nothing sent: an empty file), then close that direction."""
        with self._sending:
            await self._end()
        await self.stream.send_eof()

    async def finish(self) -> None:
        """`send_eof` for one who may not have meant to send: nothing sent stays nothing, not an empty file."""
        if self._encoder is not None:
            await self.send_eof()
        elif not self._ended:
            await self.stream.send_eof()

    async def aclose(self) -> None:
        """Close; what was sent before arrives as a whole file, unless sending was interrupted."""
        try:
            if self._encoder is not None and self._whole:
                await self._end()
        finally:
            await self.stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self.stream.extra_attributes

    async def _end(self) -> None:
        if not self._ended:
            self._ended = True
            await self._send_output_of(self._flush)

    async def _send_output_of(self, step: Callable[..., bytes], *args: bytes) -> None:
        if not self._whole:
            raise BrokenResourceError("sending was interrupted before; the compressed data cannot be completed")
        self._whole = False
        output = await to_thread.run_sync(step, *args, limiter=self._worker)
        for start in range(0, len(output), PIECE_BYTES):
            await self.stream.send(output[start : start + PIECE_BYTES])
        self._whole = True

    def _compress(self, data: bytes) -> bytes:
        return self._opened_encoder().compress(data)

    def _flush(self) -> bytes:
        return self._opened_encoder().flush()

    def _opened_encoder(self) -> Encoder:
        if self._encoder is None:
            self._encoder = codec(self.compression).encoder()
        return self._encoder


@dataclass(kw_only=True, eq=False)
class AutoDecompressIterator(AsyncIterator[bytes]):
    """The pieces of `source`, decompressed if it begins like gzip, xz, bz2 or zstd data, else as they are."""

    source: AsyncIterator[bytes]
    limit: ExpansionLimit = DEFAULT_LIMIT

    _head: bytes = field(init=False, repr=False, default=b"")
    _detected: bool = field(init=False, repr=False, default=False)
    _inflater: Inflater | None = field(init=False, repr=False, default=None)

    async def __anext__(self) -> bytes:
        if not self._detected:
            await self._detect()
        piece = await (self._pull() if self._inflater is None else self._inflater.next_piece(self._pull))
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def _detect(self) -> None:
        while len(self._head) < MAGIC_BYTES and (piece := await anext(self.source, None)) is not None:
            self._head += piece
        compression = recognise(self._head)
        if compression is not None:
            self._inflater = Inflater(compression, self.limit)
        self._detected = True

    async def _pull(self) -> bytes | None:
        if self._head:
            head, self._head = self._head, b""
            return head
        return await anext(self.source, None)
