"""Decompressing whole files: any number of members, bounded memory, a cap on growth, nothing short in silence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from anyio import CapacityLimiter, ResourceGuard, to_thread

from jumpstarter.streams.codecs import PADDED_WITH_ZEROS, Compression, Decoder, codec

PIECE_BYTES = 1024 * 1024
"""Largest piece of output."""
_INPUT_BYTES = 64 * 1024


class CompressedDataError(ValueError):
    """Compressed input is corrupt, cut short, or followed by something else."""


class ExpansionLimitExceeded(CompressedDataError):
    """Compressed input grows to more than its `ExpansionLimit` allows."""


@dataclass(frozen=True, kw_only=True)
class ExpansionLimit:
    """Compressed input may grow to `free_bytes`, or to `ratio` times its size if that is more."""

    free_bytes: int = 1024 * 1024 * 1024
    ratio: float = 1000.0

    def __post_init__(self) -> None:
        if self.free_bytes < 0:
            raise ValueError(f"free_bytes is {self.free_bytes}; it must not be negative")
        if not self.ratio >= 0:
            raise ValueError(f"ratio is {self.ratio}; it must be a number that is not negative")

    def check(self, compression: Compression, input_bytes: int, output_bytes: int) -> None:
        """Raise ExpansionLimitExceeded unless `input_bytes` may grow to `output_bytes`."""
        allowed = max(self.free_bytes, self.ratio * input_bytes)
        if output_bytes > allowed:
            raise ExpansionLimitExceeded(
                f"{input_bytes} bytes of {compression} data grow to more than the {allowed:.0f} bytes allowed; "
                f"if they are meant to, raise the expansion limit (free_bytes {self.free_bytes}, ratio {self.ratio:g})"
            )


DEFAULT_LIMIT = ExpansionLimit()


class Inflater:
    """Decompresses one file, in pieces of at most PIECE_BYTES, in a worker thread."""

    def __init__(self, compression: Compression, limit: ExpansionLimit) -> None:
        self._compression = compression
        self._limit = limit
        self._data = b""
        self._at = 0
        self._decoder: Decoder | None = None
        self._members = 0
        self._input_bytes = 0
        self._output_bytes = 0
        self._failure: CompressedDataError | None = None
        self._receiving = ResourceGuard("receiving from")
        # Of its own, so that no stream waits for other users of anyio's threads.
        self._worker = CapacityLimiter(1)

    async def next_piece(self, pull: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        """The next output, None after the last. `pull` gives the next input, None after the last."""
        with self._receiving:
            while True:
                while self._hungry():
                    data = await pull()
                    if data is None:
                        self._check_complete()
                        return None
                    self._data, self._at = data, 0
                    self._input_bytes += len(data)
                if piece := await to_thread.run_sync(self._step, limiter=self._worker):
                    return piece

    def _hungry(self) -> bool:
        if self._failure is not None:
            raise self._failure
        return self._at == len(self._data) and (self._decoder is None or self._decoder.needs_input)

    def _check_complete(self) -> None:
        if self._decoder is not None or not self._members:
            raise CompressedDataError(f"{self._compression} data is cut short: it ends after {self._input_bytes} bytes")

    def _step(self) -> bytes:
        """The next output of the input at hand, b"" when that is used up."""
        try:
            while not self._hungry() and (decoder := self._member()):
                if piece := self._decoded(decoder):
                    self._output_bytes += len(piece)
                    self._limit.check(self._compression, self._input_bytes, self._output_bytes)
                    return piece
        except CompressedDataError as error:
            self._failure = error
            raise
        return b""

    def _member(self) -> Decoder | None:
        """The decoder of the current member, or of the next; None when no input is left for that."""
        if self._decoder is None:
            if self._members and self._compression in PADDED_WITH_ZEROS and self._data[self._at] == 0:
                self._at = len(self._data) - len(self._data[self._at :].lstrip(b"\0"))
            if self._at < len(self._data):
                self._decoder = codec(self._compression).decoder()
                self._members += 1
        return self._decoder

    def _decoded(self, decoder: Decoder) -> bytes:
        data = b""
        if decoder.needs_input:
            data = self._data[self._at : self._at + _INPUT_BYTES]
            self._at += len(data)
        try:
            output = decoder.decompress(data, PIECE_BYTES)
        except codec(self._compression).error as error:
            where = f", or followed by other data (after {self._members - 1} members)" if self._members > 1 else ""
            raise CompressedDataError(f"{self._compression} data is corrupt{where}: {error}") from error
        if decoder.eof:
            self._at -= len(decoder.unused_data)
            self._decoder = None
        return output
