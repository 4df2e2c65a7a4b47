"""Telling the service manager how a service is, as sd_notify(3) describes."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from jumpstarter.config.env import Environment

# What a service manager that does not read may cost, in seconds.
_SEND_SECONDS = 1.0


class Notifier:
    """Sends states to the socket that NOTIFY_SOCKET names; without one it does nothing.

    `watchdog_seconds`: how often to `beat` at least, half of what the service manager allows; None where it does not
    listen for that.
    """

    def __init__(self, environment: Environment) -> None:
        self._address = environment.notify_socket
        allowed = environment.watchdog_seconds if self._address else None
        self.watchdog_seconds = allowed / 2 if allowed else None

    def ready(self) -> None:
        """Serving, at first or again."""
        self._send("READY=1")

    def reloading(self) -> None:
        """About to start anew; `ready` ends that."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """On the way to the end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for people."""
        self._send(f"STATUS={text}")

    def beat(self) -> None:
        """A sign of life, where one is wanted."""
        if self.watchdog_seconds:
            self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        # A service goes on where its manager does not hear it.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SEND_SECONDS)
            sender.sendto("\n".join(assignments).encode(), address)
