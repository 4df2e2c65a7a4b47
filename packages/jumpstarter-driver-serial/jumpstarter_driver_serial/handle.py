"""Blocking reads and writes on an open pyserial port that another thread can cancel."""

from __future__ import annotations

import errno
import os
import stat
import termios
from contextlib import suppress
from select import POLLIN, POLLOUT, poll
from typing import Literal, Protocol

import serial
from serial.urlhandler import protocol_socket

READ_BYTES = 64 * 1024
API_WRITE_BYTES = 1024
API_READ_SECONDS = 0.5
UNIX98_PTY_MAJORS = range(136, 144)

Line = Literal["dtr", "rts"]


class Handle(Protocol):
    """An open port. One thread reads, one writes. The errors are OSErrors, of which pyserial's own are a kind."""

    def read(self) -> bytes:
        """Wait for bytes; may return none of them early, and does after `cancel`."""

    def write(self, data: memoryview) -> int:
        """Wait until the port accepts some of `data` and return how many bytes it took; 0 after `cancel`."""

    def set_line(self, line: Line, enable: bool) -> None:
        """Set a control line. NotImplementedError if the port has none."""

    def set_break(self, enable: bool) -> None:
        """Begin or end a break. NotImplementedError if the port cannot send one."""

    def cancel(self) -> None:
        """Wake both threads, now and for ever."""

    def close(self) -> None:
        """Close the port, once neither thread uses it."""


def handle_for(port: serial.Serial) -> Handle:
    """The fastest handle that gets along with `port`."""
    # Exact types: a subclass may do more in read() and write() than its file descriptor shows, as spy:// does.
    if type(port) in (serial.Serial, protocol_socket.Serial):
        return DescriptorHandle(port)
    return ApiHandle(port)


def open_unflushed(port: serial.Serial) -> None:
    """Open the port without throwing away what has arrived by then, as pyserial does by itself."""
    flushes = ("reset_input_buffer", "_reset_input_buffer")
    vars(port).update(dict.fromkeys(flushes, lambda: None))
    try:
        port.open()
    finally:
        for name in flushes:
            del vars(port)[name]


def clear_hupcl(port: serial.Serial) -> bool:
    """Keep DTR up when the port is closed; False if the port is no tty."""
    try:
        attributes = termios.tcgetattr(port.fileno())
    except (OSError, termios.error):
        return False
    attributes[2] &= ~termios.HUPCL
    termios.tcsetattr(port.fileno(), termios.TCSANOW, attributes)
    return True


class ApiHandle:
    """A port, with a time-out of `API_READ_SECONDS`, through pyserial's own calls: loop://, rfc2217:// and the like."""

    def __init__(self, port: serial.Serial) -> None:
        self._port = port
        self._cancelled = False

    def read(self) -> bytes:
        first = self._port.read(1)
        waiting = self._port.in_waiting if first else 0
        return first + self._port.read(min(waiting, READ_BYTES)) if waiting else first

    def write(self, data: memoryview) -> int:
        # Short pieces: loop:// blocks beyond cancelling when it is full, and then one reset makes room for a piece.
        return 0 if self._cancelled else self._port.write(data[:API_WRITE_BYTES].tobytes()) or 0

    def set_line(self, line: Line, enable: bool) -> None:
        _set_line(self._port, line, enable)

    def set_break(self, enable: bool) -> None:
        self._port.break_condition = enable

    def cancel(self) -> None:
        self._cancelled = True
        for name in ("reset_input_buffer", "cancel_read", "cancel_write"):
            # Not every kind of port has them, or still works; a full loop:// raises, and then read() returns anyway.
            with suppress(Exception):
                getattr(self._port, name)()

    def close(self) -> None:
        self._port.close()


class DescriptorHandle:
    """A tty or a socket, by its file descriptor: pyserial's calls would read 1 byte at a time from a socket."""

    def __init__(self, port: serial.Serial) -> None:
        self._port = port
        self._fd = port.fileno()
        os.set_blocking(self._fd, False)
        self._woken, self._wake = os.pipe()
        self._cancelled = False
        self._readable, self._writable = poll(), poll()
        self._readable.register(self._fd, POLLIN)
        self._writable.register(self._fd, POLLOUT)
        for poller in (self._readable, self._writable):
            poller.register(self._woken, POLLIN)

    def read(self) -> bytes:
        self._readable.poll()
        if self._cancelled:
            return b""
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise ConnectionResetError("it was hung up")
        return data

    def write(self, data: memoryview) -> int:
        self._writable.poll()
        if self._cancelled:
            return 0
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def set_line(self, line: Line, enable: bool) -> None:
        if not os.isatty(self._fd):
            raise NotImplementedError(f"a socket has no {line.upper()} line")
        _set_line(self._port, line, enable)

    def set_break(self, enable: bool) -> None:
        # The kernel takes a break on a pseudo-terminal for good and drops it.
        if not os.isatty(self._fd) or _is_pty(self._fd):
            raise NotImplementedError("neither a socket nor a pseudo-terminal can send a break")
        self._port.break_condition = enable

    def cancel(self) -> None:
        self._cancelled = True
        os.write(self._wake, b"x")

    def close(self) -> None:
        self._port.close()
        os.close(self._woken)
        os.close(self._wake)


def _set_line(port: serial.Serial, line: Line, enable: bool) -> None:
    try:
        setattr(port, line, enable)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            raise NotImplementedError(f"it has no {line.upper()} line (a pseudo-terminal has none)") from error
        raise


def _is_pty(fd: int) -> bool:
    status = os.fstat(fd)
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in UNIX98_PTY_MAJORS
