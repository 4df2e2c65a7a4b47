"""What guards ask of the operating system: signals as a queue, parents of orphans, the processes of a session."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# How Linux marks a signal that the terminal sent, for a key.
_SI_KERNEL = 0x80


class SignalQueue:
    """While it is open, signals to this process wait in it, and no handler runs."""

    def __init__(self, numbers: Collection[signal.Signals]) -> None:
        # What is ignored here, as under nohup, is ignored by the worker too.
        self._numbers = {number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}
        if not hasattr(signal, "sigtimedwait"):
            self._numbers.add(signal.SIGALRM)
        self._before: set[int | signal.Signals] = set()

    def open(self) -> None:
        """From now on signals wait."""
        self._before = set(signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers))

    def close(self) -> None:
        """Drop what waits; later signals go to their handlers again."""
        while signal.sigpending() & self._numbers:
            signal.sigwait(self._numbers)
        self.release()

    def release(self) -> None:
        """In a new process, where nothing waits: signals go to their handlers."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def get(self, seconds: float | None) -> tuple[int, bool] | None:
        """The next signal, and whether a key was pressed for it; None after `seconds`."""
        if hasattr(signal, "sigtimedwait"):
            info = signal.sigwaitinfo(self._numbers) if seconds is None else signal.sigtimedwait(self._numbers, seconds)
            return None if info is None else (info.si_signo, info.si_code == _SI_KERNEL)
        signal.setitimer(signal.ITIMER_REAL, 0 if seconds is None else max(seconds, 0.001))
        number = signal.sigwait(self._numbers)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return None if number == signal.SIGALRM else (number, _in_foreground())


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with(parent: int, lifeline: int) -> None:
    """Send SIGTERM to this process when `parent` dies, who holds the other end of the pipe `lifeline`."""
    if _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM):
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
        return

    def watch() -> None:
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="jumpstarter-lifeline", daemon=True).start()


def thread_count() -> int:
    """Threads of this process, those of C libraries included where the system tells."""
    with suppress(OSError):
        return len(list((_PROC / "self" / "task").iterdir()))
    return threading.active_count()


def signal_name(number: int) -> str:
    """`9 (SIGKILL)`."""
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:  # a real-time signal
        return str(number)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal that has not hung up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def has_process_list() -> bool:
    """Whether `descendants` can tell."""
    return (_PROC / "self" / "stat").exists()


def descendants(sessions: Collection[int]) -> list[int]:
    """Processes below this one that belong to one of `sessions`, zombies excepted; none where there is no /proc."""
    if not sessions:
        return []
    children: dict[int, list[int]] = {}
    wanted: set[int] = set()
    for pid, state, parent, session in _processes():
        children.setdefault(parent, []).append(pid)
        if session in sessions and state not in "ZX":
            wanted.add(pid)
    found = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += [pid for pid in below if pid in wanted]
        waiting += below
    return found


def _processes() -> Iterator[tuple[int, str, int, int]]:
    """(pid, state, parent, session) of every process."""
    with suppress(OSError):
        for entry in os.scandir(_PROC):
            if entry.name.isdigit():
                # It may end in between.
                with suppress(OSError, ValueError):
                    _, _, after = (_PROC / entry.name / "stat").read_text(errors="replace").rpartition(")")
                    state, parent, _, session = after.split()[:4]
                    yield int(entry.name), state, int(parent), int(session)


def _prctl(option: int, value: int) -> bool:
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _in_foreground() -> bool:
    from jumpstarter.common.terminal import controlling_terminal

    with controlling_terminal() as terminal:
        return terminal.in_foreground()
