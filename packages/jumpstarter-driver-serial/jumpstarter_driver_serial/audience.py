"""The readers of one open port: all get every byte, and the slowest sets the pace."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import monotonic

from anyio import ClosedResourceError

from .backlog import Backlog, Cursor

CHUNK_BYTES = 64 * 1024

# Makes the same error anew for each reader that it is raised to.
Failure = Callable[[], Exception]


@dataclass(eq=False)
class Reader(Cursor):
    """One reader; when it is out of the audience it may still take `rest` and is told `failure` then."""

    rest: bytes = b""
    failure: Failure | None = None
    taken_at: float = 0.0
    waiter: Future[None] | None = None

    def wake(self) -> None:
        """Let it look again."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None and waiter.set_running_or_notify_cancel():
            waiter.set_result(None)


class Audience:
    """Between the thread that reads a port and the readers, which may be on any thread or event loop.

    `name`: the port's, for messages.
    `stall_seconds`: a reader that takes nothing for so long, while another one waits for more, is sent away.
    """

    def __init__(self, name: str, backlog: Backlog, stall_seconds: float) -> None:
        self._name = name
        self._backlog = backlog
        self._stall_seconds = stall_seconds
        self._readers: set[Reader] = set()
        self._changed = threading.Condition()
        # Why no more will come; set once.
        self.failure: Failure | None = None

    def join(self) -> Reader:
        """A new reader; if the port has just ended, one for what is left of it."""
        with self._changed:
            reader = Reader()
            self._backlog.attach(reader)
            self._readers.add(reader)
            if self.failure is not None:
                self._dismiss(reader, self.failure)
            self._changed.notify_all()
            return reader

    def leave(self, reader: Reader) -> None:
        """End a reader; again is harmless."""
        with self._changed:
            if reader in self._readers:
                self._part(reader, ClosedResourceError)

    def take(self, reader: Reader) -> bytes | Future[None]:
        """The next bytes, or what to wait for before asking again; raises the reader's failure after its last byte."""
        with self._changed:
            if reader in self._readers:
                data = self._backlog.take(reader, CHUNK_BYTES)
            else:
                data, reader.rest = reader.rest[:CHUNK_BYTES], reader.rest[CHUNK_BYTES:]
            if data:
                reader.taken_at = monotonic()
                self._changed.notify_all()
                return data
            if reader.failure is not None:
                raise reader.failure()
            reader.waiter = Future()
            return reader.waiter

    def give(self, data: bytes) -> None:
        """Pass on what arrived."""
        with self._changed:
            self._backlog.append(data)
            for reader in self._readers:
                reader.wake()

    def end(self, failure: Failure) -> None:
        """Every reader gets what has arrived and then `failure`, the first one given; `wait_for_room` returns."""
        with self._changed:
            if self.failure is None:
                self.failure = failure
                for reader in tuple(self._readers):
                    self._dismiss(reader, failure)
                self._changed.notify_all()

    def wait_for_room(self) -> bool:
        """Wait until every reader has room for more, sending stalled ones away; False when the port has ended."""
        contended_at: float | None = None
        with self._changed:
            while self.failure is None and (full := [r for r in self._readers if self._backlog.is_full(r)]):
                if any(self._backlog.lag(reader) == 0 for reader in self._readers):
                    contended_at = contended_at or monotonic()
                    self._changed.wait(self._part_stalled(full, contended_at))
                else:
                    contended_at = None
                    self._changed.wait()
            return self.failure is None

    def _part_stalled(self, full: list[Reader], contended_at: float) -> float:
        """Send away those that took nothing for too long; the seconds until the next one's time is up."""
        remaining = self._stall_seconds
        for reader in full:
            left = max(reader.taken_at, contended_at) + self._stall_seconds - monotonic()
            if left <= 0:
                text = (
                    f"serial port {self._name}: this reader took nothing for {self._stall_seconds:g} s "
                    "while others waited for more, so it was disconnected"
                )
                self._part(reader, partial(TimeoutError, text))
                left = 0
            remaining = min(remaining, left)
        return remaining

    def _dismiss(self, reader: Reader, failure: Failure) -> None:
        reader.rest = self._backlog.take(reader, self._backlog.lag(reader))
        self._part(reader, failure)

    def _part(self, reader: Reader, failure: Failure) -> None:
        self._readers.remove(reader)
        self._backlog.detach(reader)
        reader.failure = failure
        reader.wake()
        self._changed.notify_all()
