"""Sending to a port: one owner at a time, in a thread of its own, no faster than asked."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from queue import SimpleQueue

from .audience import Failure

DRAIN_SECONDS = 5.0
DRAIN_LIMIT_SECONDS = 30.0
BURSTS_PER_SECOND = 1000
# What connections that were closed while they sent may leave behind.
PENDING_BYTES = 4 * 1024 * 1024

Write = Callable[[memoryview], int]


class Sender:
    """Sends through `write`, which returns how many bytes it took.

    `name`: the port's, for messages. `cps`: characters per second at most, None for no limit.
    `on_failure`: told when `write` fails; `stop` is to follow.
    """

    def __init__(self, name: str, write: Write, cps: float | None, on_failure: Callable[[Exception], None]) -> None:
        self._name = name
        self._write = write
        self._cps = cps
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._owner: object = None
        self._last: Future[None] = Future()
        self._last.set_result(None)
        self._queue: SimpleQueue[tuple[bytes, Future[None]] | None] = SimpleQueue()
        self._stopped = threading.Event()
        self._failure: Failure | None = None
        # Bytes not yet accepted by the port.
        self.pending = 0
        self._thread = threading.Thread(target=self._send_all, name=f"{name} sender", daemon=True)
        self._thread.start()

    def send(self, owner: object, data: bytes) -> Future[None]:
        """Send all of `data`; done when the port has accepted it.

        The first to send is the owner until it releases; EBUSY for all others, ENOBUFS when too much is waiting.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure()
            if self._owner not in (None, owner):
                text = f"another connection writes to serial port {self._name}; until it closes this one can only read"
                raise OSError(errno.EBUSY, text)
            if self._owner is None and self.pending > PENDING_BYTES:
                text = f"serial port {self._name} takes no more: {self.pending} bytes of earlier connections still wait"
                raise OSError(errno.ENOBUFS, text)
            self._owner = owner
            self._last = Future()
            self._last.set_running_or_notify_cancel()
            self.pending += len(data)
            self._queue.put((data, self._last))
            return self._last

    def release(self, owner: object) -> None:
        """Let others send, after what this owner has sent."""
        with self._lock:
            if self._owner is owner:
                self._owner = None

    def drain(self, rate: float) -> None:
        """Wait until all has gone out: for as long as it takes at `rate` bytes per second and `DRAIN_SECONDS` more."""
        with self._lock:
            last, seconds = self._last, self.pending / rate + DRAIN_SECONDS
        wait_for([last], min(seconds, DRAIN_LIMIT_SECONDS))

    def stop(self, failure: Failure) -> None:
        """Fail what is pending and all that is sent later; `write` must return at once from now on."""
        with self._lock:
            self._failure = self._failure or failure
        self._stopped.set()
        self._queue.put(None)

    def join(self) -> None:
        """Wait for the thread."""
        self._thread.join()

    def _send_all(self) -> None:
        while (job := self._queue.get()) is not None:
            data, done = job
            try:
                self._send(memoryview(data))
            except Exception as error:
                self._on_failure(error)
                done.set_exception(self._failure() if self._failure else error)
            else:
                done.set_result(None)

    def _send(self, data: memoryview) -> None:
        burst = len(data) if self._cps is None else max(1, int(self._cps / BURSTS_PER_SECOND))
        while data:
            if self._stopped.is_set():
                raise ConnectionError("it was stopped")
            count = self._write(data[:burst])
            data = data[count:]
            with self._lock:
                self.pending -= count
            if self._cps is not None:
                self._stopped.wait(count / self._cps)
