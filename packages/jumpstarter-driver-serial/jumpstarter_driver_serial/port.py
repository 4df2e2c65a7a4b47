"""An open serial port, from its opening to its one end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from .audience import Audience, Failure
from .backlog import Backlog
from .handle import Handle, Line
from .sender import Sender

JOIN_SECONDS = 15.0


class Port:
    """Reads and sends in two threads until the port fails or is closed. Usable from every thread and event loop.

    `audience` hands out what arrives, `sender` takes what is to go; both are told the failure that ends the port.
    """

    def __init__(self, name: str, handle: Handle, backlog: Backlog, *, cps: float | None, stall_seconds: float) -> None:
        self.name = name
        self.audience = Audience(name, backlog, stall_seconds)
        self.sender = Sender(name, handle.write, cps, self._gone)
        self._handle = handle
        # Around every use of the handle but read() and write(), which end before it is closed.
        self._handle_lock = threading.Lock()
        self._handle_closed = False
        self._stopping = threading.Event()
        self._reading = threading.Thread(target=self._read_all, name=f"{name} reader", daemon=True)
        self._reading.start()

    @property
    def ended(self) -> bool:
        """Whether it takes a new `Port` to go on."""
        return self.audience.failure is not None

    def set_line(self, line: Line, enable: bool) -> None:
        """Set a control line; NotImplementedError if the port has none."""
        with self._controlling() as handle:
            handle.set_line(line, enable)

    def send_break(self, seconds: float) -> None:
        """Hold the line in the break state; NotImplementedError if the port cannot."""
        with self._controlling() as handle:
            handle.set_break(True)
        self._stopping.wait(seconds)
        with self._controlling() as handle:
            handle.set_break(False)

    def close(self, rate: float) -> int:
        """Send what is pending, for as long as a port of `rate` bytes per second needs, and close.

        Returns how many bytes did not go out.
        """
        if not self.ended:
            self.sender.drain(rate)
        self._end(partial(ConnectionError, f"serial port {self.name} was closed"))
        self._reading.join(JOIN_SECONDS)
        return self.sender.pending

    def _gone(self, error: Exception) -> None:
        self._end(partial(ConnectionError, f"serial port {self.name} is gone: {error}"))

    def _end(self, failure: Failure) -> None:
        self.audience.end(failure)
        self.sender.stop(failure)
        self._stopping.set()
        with self._handle_lock:
            if not self._handle_closed:
                self._handle.cancel()

    def _read_all(self) -> None:
        try:
            while self.audience.wait_for_room():
                if data := self._handle.read():
                    self.audience.give(data)
        except Exception as error:
            self._gone(error)
        self.sender.join()
        with self._handle_lock:
            self._handle_closed = True
            self._handle.close()

    @contextmanager
    def _controlling(self) -> Iterator[Handle]:
        with self._handle_lock:
            if self.audience.failure is not None:
                raise self.audience.failure()
            try:
                yield self._handle
            except NotImplementedError as error:
                raise NotImplementedError(f"serial port {self.name}: {error}") from error
            except OSError as error:
                raise ConnectionError(f"serial port {self.name}: {error}") from error
