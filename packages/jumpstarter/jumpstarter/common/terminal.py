"""The controlling terminal: whose keys' signals it sends, and its modes after a program that left them changed."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Terminal:
    """The controlling terminal of this process; without one, or in the background, it does nothing."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def in_foreground(self) -> bool:
        """Whether the terminal sends its keys' signals to this process group."""
        return self._foreground() == os.getpgrp()

    def take_back(self, pid: int) -> None:
        """Become its foreground group again, where that is a group that `pid` has left behind or nobody's."""
        group = self._foreground()
        if self._descriptor is None or group is None or group == os.getpgrp():
            return
        if group != pid and _exists(group):
            return
        with _writable():
            os.tcsetpgrp(self._descriptor, os.getpgrp())

    def modes(self) -> list[object] | None:
        """How it treats lines, echo and the like; None in the background."""
        if self._descriptor is None or not self.in_foreground():
            return None
        with suppress(termios.error):
            return termios.tcgetattr(self._descriptor)
        return None

    def restore(self, modes: list[object] | None) -> None:
        """Set the modes that `modes` gave, once what was written before is out."""
        if self._descriptor is None or modes is None or self.modes() in (None, modes):
            return
        with _writable(), suppress(termios.error):
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, modes)  # type: ignore[arg-type]

    def _foreground(self) -> int | None:
        if self._descriptor is None:
            return None
        try:
            return os.tcgetpgrp(self._descriptor)
        except OSError:  # it has hung up
            return None


@contextmanager
def controlling_terminal() -> Iterator[Terminal]:
    """The terminal, left at the end with the modes that it has now."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield Terminal(None)
        return
    try:
        terminal = Terminal(descriptor)
        modes = terminal.modes()
        yield terminal
        terminal.restore(modes)
    finally:
        os.close(descriptor)


@contextmanager
def _writable() -> Iterator[None]:
    """Without the stop that changing a terminal means to a background process; a terminal that is gone is no error."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        with suppress(OSError):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
