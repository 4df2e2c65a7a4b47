"""Serial ports that several drivers of this process share: one open port each, one writer at a time."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from jumpstarter.common.exceptions import ConfigurationError

if TYPE_CHECKING:
    from serial import Serial

WRITE_SECONDS = 1.0
BUSY_SECONDS = 15.0

_registry: list[SharedPort] = []
_registry_lock = threading.Lock()


class SharedPort:
    """One port, opened at the first write, and again after it was unplugged. Its methods block; any thread may call."""

    def __init__(self, port: str, baudrate: int) -> None:
        self.port = port
        self.baudrate = baudrate
        self.users = 0
        self._lock = threading.Lock()
        self._serial: Serial | None = None

    def write(self, data: bytes) -> None:
        """Send all of `data`, not mixed with another writer's. ConnectionError or TimeoutError names the port."""
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise TimeoutError(f"serial port {self.port}: other writers kept it busy for {BUSY_SECONDS:g} s")
        try:
            was_open = self._serial is not None
            try:
                self._write(data)
            except ConnectionError:
                if not was_open:
                    raise
                # The handle may date from before the device was unplugged and plugged back in.
                self._write(data)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the port; a later write opens it again."""
        with self._lock:
            self._close()

    def _write(self, data: bytes) -> None:
        import serial

        try:
            if self._serial is None:
                self._serial = serial.serial_for_url(
                    self.port, baudrate=self.baudrate, timeout=0, write_timeout=WRITE_SECONDS
                )
            # Reading tells whether the other end is still there, and empties what it may have answered.
            self._serial.read(4096)
            self._serial.write(data)
        except serial.SerialTimeoutException:
            self._close()
            raise TimeoutError(f"serial port {self.port}: not writable for {WRITE_SECONDS:g} s") from None
        except Exception as error:  # each kind of URL fails in its own way
            action = "cannot be opened" if self._serial is None else "was lost"
            self._close()
            raise ConnectionError(f"serial port {self.port} {action}: {error}") from error

    def _close(self) -> None:
        port, self._serial = self._serial, None
        if port is not None:
            port.close()


def acquire(port: str, baudrate: int) -> SharedPort:
    """The shared port for this device, however it is named. ConfigurationError when it is in use at another speed."""
    with _registry_lock:
        shared = next((one for one in _registry if _same_device(one.port, port)), None)
        if shared is None:
            shared = SharedPort(port, baudrate)
            _registry.append(shared)
        elif shared.baudrate != baudrate:
            raise ConfigurationError(
                f"serial port {port}: another driver uses it at {shared.baudrate} baud, this one asks for {baudrate}"
            )
        shared.users += 1
        return shared


def release(shared: SharedPort) -> None:
    """Give a port back; the last user's closes it."""
    with _registry_lock:
        shared.users -= 1
        last = shared.users == 0
        if last:
            _registry.remove(shared)
    if last:
        shared.close()


def _same_device(one: str, other: str) -> bool:
    if "://" in one or "://" in other:
        return one == other
    return os.path.realpath(one) == os.path.realpath(other)
