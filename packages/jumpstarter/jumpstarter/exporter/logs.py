"""The log of a session: a ring of numbered records, and any number of readers with a place in it each.

Records come from any thread, rendered there; readers wait on the event loop. A reader that falls behind the ring loses
its
oldest records and is told how many.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import NamedTuple

from jumpstarter.common.enums import LogSource
from jumpstarter.rpc.errors import encodable

CAPACITY = 65_536
# What a new reader gets of the past.
HISTORY = 256
# Of all messages in a ring together, as UTF-8.
CAPACITY_BYTES = 64 * 1024 * 1024
# A longer message is cut, so that one record cannot drive out many.
MESSAGE_CHARACTERS = 16 * 1024


class Entry(NamedTuple):
    """One log record as readers get it. `created`: seconds since the epoch."""

    sequence: int
    created: float
    severity: str
    message: str
    source: LogSource
    logger: str


class LogRing:
    """The newest records, numbered from 1: at most `capacity` of them, with messages of at most `capacity_bytes`."""

    def __init__(self, capacity: int = CAPACITY, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._entries: dict[int, Entry] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._newest = 0
        self._fresh_from = 0
        self._readers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    @property
    def newest(self) -> int:
        """The sequence number of the newest record, 0 when there is none."""
        return self._newest

    def append(self, created: float, severity: str, message: str, source: LogSource, logger: str) -> None:
        """Add a record, from any thread."""
        message = message if message.isascii() else encodable(message)
        with self._lock:
            self._newest += 1
            self._entries[self._newest] = Entry(self._newest, created, severity, message, source, logger)
            self._bytes += _bytes(message)
            while len(self._entries) > self._capacity or self._bytes > self._capacity_bytes:
                self._bytes -= _bytes(self._entries.pop(self._newest - len(self._entries) + 1).message)
            waiting = list(self._readers.items()) if self._readers else ()
        for event, loop in waiting:
            if not event.is_set():
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(event.set)

    @property
    def recent(self) -> int:
        """After which record a new reader starts: recent history is its too."""
        return max(self._fresh_from, self._newest - HISTORY)

    def start_afresh(self) -> None:
        """What is there by now is no history of those who come from now on."""
        self._fresh_from = self._newest

    async def read(self, after: int) -> AsyncGenerator[tuple[Entry, int]]:
        """(record, number of records lost just before it), for ever, from the one after `after`."""
        place = min(after, self._newest)
        event = asyncio.Event()
        self._readers[event] = asyncio.get_running_loop()
        try:
            while True:
                event.clear()
                entries, lost = self._take(place)
                for entry in entries:
                    yield entry, lost
                    lost = 0
                if entries:
                    place = entries[-1].sequence
                else:
                    await event.wait()
        finally:
            del self._readers[event]

    def _take(self, place: int, most: int = 1024) -> tuple[list[Entry], int]:
        """Up to `most` records after `place`, and how many before them are gone."""
        with self._lock:
            start = max(place, self._newest - len(self._entries))
            stop = min(self._newest, start + most)
            return [self._entries[number] for number in range(start + 1, stop + 1)], start - place


class RingHandler(logging.Handler):
    """Puts the records of every logger into a ring, but not those that clients show of other exporters."""

    def __init__(self, ring: LogRing) -> None:
        super().__init__()
        self._ring = ring
        self._sources: dict[str, LogSource] = {}
        self._changing = threading.Lock()

    def set_source(self, logger_name: str, source: LogSource | None) -> None:
        """Have records of `logger_name` and below carry `source`; None ends that."""
        with self._changing:
            # A new one at each change: threads that log read it without a lock.
            sources = {name: one for name, one in self._sources.items() if name != logger_name}
            self._sources = sources if source is None else {**sources, logger_name: source}

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("exporter:"):
            return
        try:
            message = record.getMessage()
            if record.exc_info:
                message = f"{message}\n{logging.Formatter().formatException(record.exc_info)}"
        except Exception:
            self.handleError(record)
            return
        if len(message) > MESSAGE_CHARACTERS:
            message = f"{message[:MESSAGE_CHARACTERS]} ... ({len(message) - MESSAGE_CHARACTERS} more characters)"
        self._ring.append(record.created, record.levelname, message, self._source(record.name), record.name)

    def _source(self, name: str) -> LogSource:
        for prefix, source in self._sources.items():
            if name == prefix or name.startswith(f"{prefix}."):
                return source
        return LogSource.DRIVER if name.startswith("driver.") else LogSource.SYSTEM


def _bytes(message: str) -> int:
    return len(message) if message.isascii() else len(message.encode())
