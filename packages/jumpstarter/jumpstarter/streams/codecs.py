"""The encodings of compressed data: how to recognise, decompress and make each. Libraries load on first use."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from zlib import _Decompress

XZ_MEMORY_BYTES = 256 * 1024 * 1024
"""Largest dictionary of xz input; zstd has a bound of 128 MiB of its own, gzip and bz2 need less than 4 MiB."""


class Compression(StrEnum):
    GZIP = "gzip"
    XZ = "xz"
    BZ2 = "bz2"
    ZSTD = "zstd"


PADDED_WITH_ZEROS = frozenset({Compression.GZIP, Compression.XZ})
"""Encodings whose members may be followed by zero bytes."""

MAGIC_BYTES = 10
_MAGIC = {
    Compression.GZIP: re.compile(rb"\x1f\x8b\x08"),
    Compression.XZ: re.compile(rb"\xfd7zXZ\x00"),
    # With the mark of the first block, or of the end: texts may well begin with BZh.
    Compression.BZ2: re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    # The second is a skippable frame, which parallel compressors put first.
    Compression.ZSTD: re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
}


def recognise(head: bytes) -> Compression | None:
    """The encoding of data that begins with `head`, its first MAGIC_BYTES bytes; None when it is none of ours."""
    return next((compression for compression, magic in _MAGIC.items() if magic.match(head)), None)


class Decoder(Protocol):
    """Decompresses one member; `needs_input` is False while more output than `max_length` is at hand."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Encoder(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Codec(NamedTuple):
    """`error` is what the decoder raises on corrupt data."""

    decoder: Callable[[], Decoder]
    encoder: Callable[[], Encoder]
    error: type[Exception]


@cache
def codec(compression: Compression) -> Codec:
    match compression:
        case Compression.GZIP:
            import zlib

            return Codec(_GzipDecoder, lambda: zlib.compressobj(wbits=_GZIP), zlib.error)
        case Compression.XZ:
            import lzma

            return Codec(lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES), lzma.LZMACompressor, lzma.LZMAError)
        case Compression.BZ2:
            import bz2

            return Codec(bz2.BZ2Decompressor, bz2.BZ2Compressor, OSError)
        case Compression.ZSTD:
            if sys.version_info >= (3, 14):
                from compression import zstd
            else:
                from backports import zstd

            return Codec(zstd.ZstdDecompressor, zstd.ZstdCompressor, zstd.ZstdError)


_GZIP = 31
"""zlib's window bits for a gzip header and the largest window."""


class _GzipDecoder:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        import zlib

        self._zlib: _Decompress = zlib.decompressobj(wbits=_GZIP)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        output = self._zlib.decompress(self._zlib.unconsumed_tail + data, max(max_length, 0))
        self.needs_input = len(output) != max_length
        return output
