"""What a command prints: followed while it runs, the end of it kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO

from anyio import wait_readable

KEPT_BYTES = 1 << 20
CHUNK_BYTES = 1 << 16
LINE_BYTES = 1 << 12


class Output:
    """One output of a command: its last `KEPT_BYTES`, and its lines for `on_line` as they come.

    `truncated`: whether there was more than is kept.
    """

    def __init__(self, pipe: IO[bytes], on_line: Callable[[str], None]) -> None:
        self._pipe = pipe
        self._on_line = on_line
        self._kept = bytearray()
        self._line = b""
        self.truncated = False
        os.set_blocking(pipe.fileno(), False)

    @property
    def text(self) -> str:
        """What is kept, undecodable bytes replaced."""
        return self._kept.decode(errors="replace")

    async def follow(self) -> None:
        """Take what comes until nobody is left who could write."""
        await wait_readable(self._pipe)
        while self._take() != b"":
            await wait_readable(self._pipe)

    def drain(self) -> None:
        """Take what is there now, up to a bound: who was left running may go on writing."""
        for _ in range(KEPT_BYTES // CHUNK_BYTES):
            if not self._take():
                break
        if self._line:
            self._emit(self._line)

    def close(self) -> None:
        """Release the pipe."""
        self._pipe.close()

    def _take(self) -> bytes | None:
        """Read once without waiting: None if nothing is there, no bytes at the end."""
        data = self._pipe.read(CHUNK_BYTES)
        if data:
            self._kept += data
            self.truncated |= len(self._kept) > KEPT_BYTES
            del self._kept[:-KEPT_BYTES]
            *lines, self._line = (self._line + data).split(b"\n")
            if len(self._line) > LINE_BYTES:
                lines.append(self._line)
                self._line = b""
            for line in lines:
                self._emit(line)
        return data

    def _emit(self, line: bytes) -> None:
        self._on_line(line.decode(errors="replace").rstrip())
