"""What arrived at a port, and how far each reader has come in it."""

from __future__ import annotations

from dataclasses import dataclass

KEPT_BYTES = 64 * 1024
FULL_BYTES = 256 * 1024


@dataclass(eq=False)
class Cursor:
    """A reader's place, in bytes since the first that ever arrived.

    `missed`: how many bytes had been dropped for want of a reader when this one came.
    """

    position: int = 0
    missed: int = 0


class Backlog:
    """One buffer for all readers. Each attached cursor gets every byte that arrives while it is attached.

    While none is attached the newest `KEPT_BYTES` are kept for the next one; so is what the last one to leave had not
    taken. Not thread-safe.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0
        self._dropped = 0
        self._cursors: set[Cursor] = set()

    @property
    def _end(self) -> int:
        return self._start + len(self._buffer)

    def attach(self, cursor: Cursor) -> None:
        """Place the cursor before the kept bytes if it is the only one, else before the next byte to arrive."""
        cursor.position = self._end if self._cursors else self._start
        cursor.missed, self._dropped = self._dropped, 0
        self._cursors.add(cursor)

    def detach(self, cursor: Cursor) -> None:
        """Forget the cursor."""
        self._cursors.remove(cursor)
        self._trim(cursor.position)

    def append(self, data: bytes) -> None:
        """Add what arrived."""
        self._buffer += data
        if not self._cursors:
            self._trim(self._start)

    def take(self, cursor: Cursor, limit: int) -> bytes:
        """The next bytes for this reader, at most `limit`; none when it has them all."""
        offset = cursor.position - self._start
        data = bytes(self._buffer[offset : offset + limit])
        cursor.position += len(data)
        self._trim(cursor.position)
        return data

    def lag(self, cursor: Cursor) -> int:
        """How many bytes this reader has still to take."""
        return self._end - cursor.position

    def is_full(self, cursor: Cursor) -> bool:
        """Whether this reader has no room for more; while one has none, nothing is to be appended."""
        return self.lag(cursor) >= FULL_BYTES

    def _trim(self, position: int) -> None:
        """Give up what nobody needs; `position` is where the reader stands, or stood, that this is about."""
        if self._cursors:
            needed = min(cursor.position for cursor in self._cursors)
        else:
            needed = max(position, self._end - KEPT_BYTES)
            self._dropped += needed - position
        del self._buffer[: needed - self._start]
        self._start = needed
