"""What the tests of real processes and real terminals share."""

import os
import select
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

PATIENCE = 10.0


class Fifo:
    """Written to by commands; at its end when no process is left that holds it open."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self) -> bytes:
        """What was written next; nothing at the end."""
        ready, _, _ = select.select([self.fd], [], [], PATIENCE)
        assert ready, "a process still holds the FIFO open and writes nothing"
        return os.read(self.fd, 4096)

    def close(self) -> None:
        os.close(self.fd)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    fifo = Fifo(tmp_path / "fifo")
    yield fifo
    fifo.close()


class Board:
    """The far end of a serial port: a pty that can be unplugged and comes back under the same name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plug()

    @property
    def port(self) -> str:
        return str(self.path)

    @property
    def device(self) -> str:
        return os.path.realpath(self.path)

    def plug(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self.slave))

    def unplug(self) -> None:
        os.close(self.slave)
        os.close(self.master)

    def replug(self) -> None:
        """A new device under the old name."""
        master, slave = self.master, self.slave
        self.plug()
        os.close(slave)
        os.close(master)

    def received(self, size: int) -> bytes:
        """The next `size` bytes that arrived, and no more than these."""
        data = b""
        while len(data) < size:
            ready, _, _ = select.select([self.master], [], [], PATIENCE)
            assert ready, f"only {data!r} arrived, of {size} bytes"
            data += os.read(self.master, size - len(data))
        assert not self.pending, f"more than {data!r} arrived"
        return data

    def fill(self) -> None:
        """Write until nothing more fits; the kernel makes room for some time yet after the first refusal."""
        os.set_blocking(self.slave, False)
        while select.select([], [self.slave], [], 0.2)[1]:
            with suppress(BlockingIOError):
                os.write(self.slave, bytes(4096))

    @property
    def pending(self) -> bool:
        return bool(select.select([self.master], [], [], 0)[0])

    def open_handles(self) -> int:
        """How often this process has the port open, besides the fixture itself."""
        return list(map(_target, os.listdir("/proc/self/fd"))).count(self.device) - 1


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    board = Board(tmp_path / "ttyRELAY")
    yield board
    board.unplug()
