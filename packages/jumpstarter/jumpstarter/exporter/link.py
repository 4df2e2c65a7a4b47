"""What a worker tells its guard, as lines through a pipe."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from contextlib import suppress

# Short enough to be written in one piece, whichever threads write.
_CHARACTERS = 900
_READ_BYTES = 65536
# With so much unread, what can be done without is left out, so that the pipe does not become full.
_UNREAD_BYTES = 2048


class Link:
    """The worker's end; from any thread, and never blocking.

    `watchdog_seconds`: how often to `beat` at least, None where nobody listens for that.
    """

    def __init__(self, pipe: int, watchdog_seconds: float | None) -> None:
        self.watchdog_seconds = watchdog_seconds
        self._pipe = pipe

    def ready(self) -> None:
        """It serves."""
        self._tell("ready")

    def reloading(self) -> None:
        """It ends in order to be started anew."""
        self._tell("reloading")

    def stopping(self) -> None:
        """It is on its way to the end."""
        self._tell("stopping")

    def status(self, text: str) -> None:
        """One line for people, about what it does; the guard may miss some of very many."""
        if self._is_read():
            self._tell("status", text)

    def beat(self) -> None:
        """Its event loop is alive."""
        if self._is_read():
            self._tell("beat")

    def own(self, pid: int) -> None:
        """The session that `pid` leads is to be killed when the worker dies."""
        self._tell("own", str(pid))

    def disown(self, pid: int) -> None:
        """The session that `pid` led is over, or on its own."""
        self._tell("disown", str(pid))

    def limits(self, max_rapid_failures: int, window: float) -> None:
        """Give up after so many failures in a row, each within `window` seconds of a start."""
        self._tell("limits", f"{max_rapid_failures} {window}")

    def finish(self) -> None:
        """The exit with 0 that follows is meant to be the last."""
        self._tell("finish")

    def clear(self) -> None:
        """What it leaves in this session is to be ended after it."""
        self._tell("clear")

    def done(self) -> None:
        """The exit that follows is in good order, whatever its code; one without this is a crash."""
        self._tell("done")

    def _is_read(self) -> bool:
        (unread,) = struct.unpack("i", fcntl.ioctl(self._pipe, termios.FIONREAD, struct.pack("i", 0)))
        return bool(unread < _UNREAD_BYTES)

    def _tell(self, word: str, text: str = "") -> None:
        line = " ".join(f"{word} {text}".split())[:_CHARACTERS]
        # The guard is gone, or does nothing any more.
        with suppress(BrokenPipeError, BlockingIOError):
            os.write(self._pipe, f"{line}\n".encode(errors="replace"))


class Reports:
    """The guard's end."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._rest = b""

    def read(self) -> list[tuple[str, str]]:
        """What has come, as (word, text)."""
        with suppress(BlockingIOError):
            while data := os.read(self._pipe, _READ_BYTES):
                self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        return [(word, text) for word, _, text in (line.decode(errors="replace").partition(" ") for line in lines)]
