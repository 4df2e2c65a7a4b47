"""The board's end of the console: a pseudo-terminal that behaves like a UART with a reader that may come and go."""

from __future__ import annotations

import errno
import os
import select
import termios
import tty
from contextlib import suppress
from pathlib import Path


class Console:
    """A raw pty whose other end is the device at `path`, a symbolic link made here and removed by `close()`.

    While no program has the device open, what the board writes is lost, as on a real line. While one has, a full
    buffer is back-pressure: `write` takes nothing until `wait_fd` tells of a change. FileExistsError when `path` is
    taken; OSError where the system has no epoll (the board runs on Linux).
    """

    def __init__(self, path: Path) -> None:
        if not hasattr(select, "epoll"):
            raise OSError("the virtual board needs Linux: its console is built on epoll")
        self.path = path
        self._master, slave = os.openpty()
        try:
            tty.setraw(slave)
            _link(path, os.ttyname(slave))
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)
        os.set_blocking(self._master, False)
        # Level triggering would report the hang-up of an unopened device for ever.
        self._epoll = select.epoll()
        self._epoll.register(self._master, select.EPOLLIN | select.EPOLLOUT | select.EPOLLHUP | select.EPOLLET)
        self._hangup = select.poll()
        self._hangup.register(self._master, 0)

    @property
    def wait_fd(self) -> int:
        """Becomes readable when there is something to read, room to write, or the device was closed."""
        return self._epoll.fileno()

    @property
    def is_open(self) -> bool:
        """Whether a program has the device open."""
        return not self._hangup.poll(0)

    def read(self) -> bytes:
        """All that was written to the device since the last call."""
        self._epoll.poll(0)
        data = bytearray()
        with suppress(BlockingIOError):
            while chunk := self._read_chunk():
                data += chunk
        return bytes(data)

    def _read_chunk(self) -> bytes:
        try:
            return os.read(self._master, 65536)
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            # The device was closed: what its reader left unread must not greet the next one.
            termios.tcflush(self._master, termios.TCOFLUSH)
            return b""

    def write(self, data: bytes) -> int:
        """The number of bytes taken, all of them while nobody has the device open; never blocks."""
        if not self.is_open:
            return len(data)
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self._epoll.close()
        os.close(self._master)
        self.path.unlink(missing_ok=True)


def _link(path: Path, target: str) -> None:
    if path.is_symlink() and not path.exists():
        path.unlink()  # left by a board that was killed
    try:
        path.symlink_to(target)
    except FileExistsError:
        raise FileExistsError(f"{path} exists already: remove it or choose another path for the console") from None
