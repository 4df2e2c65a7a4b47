from __future__ import annotations

import os
import threading
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from select import select

import pytest

DEADLINE = 30.0


class Board:
    """The far end of a pseudo-terminal, behind a path that can be unplugged and plugged in again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = str(path)
        self._feeders: list[threading.Thread] = []
        self.plug()

    def plug(self) -> None:
        self.master, self.slave = os.openpty()
        for fd in (self.master, self.slave):
            tty.setraw(fd)
        self.path.symlink_to(os.ttyname(self.slave))

    def unplug(self) -> None:
        self.path.unlink()
        for fd in (self.master, self.slave):
            os.close(fd)

    def say(self, data: bytes) -> None:
        """Write all of it, waiting for whoever reads the port."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.master, view) :]

    def say_in_background(self, data: bytes) -> threading.Thread:
        feeder = threading.Thread(target=self.say, args=(data,), daemon=True)
        feeder.start()
        self._feeders.append(feeder)
        return feeder

    def hear(self, count: int) -> bytes:
        """Exactly `count` bytes that were sent to the port."""
        heard = bytearray()
        while len(heard) < count:
            ready, _, _ = select([self.master], [], [], DEADLINE)
            assert ready, f"only {len(heard)} of {count} bytes came within {DEADLINE} s: {bytes(heard[-100:])!r}"
            heard += os.read(self.master, count - len(heard))
        return bytes(heard)

    def is_silent(self) -> bool:
        """Whether nothing waits to be heard."""
        return not select([self.master], [], [], 0)[0]

    def close(self) -> None:
        with suppress(OSError):
            self.unplug()
        for feeder in self._feeders:
            feeder.join(DEADLINE)
            assert not feeder.is_alive()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    board = Board(tmp_path / "ttyBoard")
    yield board
    board.close()


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    yield
    assert [t.name for t in threading.enumerate() if t.name.endswith((" reader", " sender"))] == []
