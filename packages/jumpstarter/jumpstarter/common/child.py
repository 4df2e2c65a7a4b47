"""One program in the foreground: signals reach it, its exit code comes back, and the terminal is left as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

from .terminal import Terminal, controlling_terminal

NOT_EXECUTABLE = 126
NOT_FOUND = 127

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})
_TO_END = frozenset({signal.SIGTERM, signal.SIGHUP})


class Process(Protocol):
    """A running program, as subprocess.Popen has it."""

    @property
    def pid(self) -> int: ...

    def wait(self) -> int:
        """The exit code, -N after signal N."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it has ended."""


Start = Callable[[Sequence[str], Mapping[str, str]], Process]


def start_program(command: Sequence[str], variables: Mapping[str, str]) -> Process:
    """Start `command` with the environment `variables`; OSError where it cannot be run."""
    return subprocess.Popen(command, env=variables)


class Child:
    """Runs one program; until it has started, what is sent to it waits.

    `start`: what starts it. `end_seconds`: for the program to end when it is told to, before it is killed.
    """

    def __init__(self, start: Start = start_program, *, end_seconds: float = 10.0) -> None:
        # Whether the program was told to end, and may have left something behind.
        self.cut_short = False
        self._end_seconds = end_seconds
        self._start = start
        self._process: Process | None = None
        self._early: list[int] = []
        self._lock = threading.RLock()
        self._terminal = Terminal(None)
        self._killer: threading.Timer | None = None
        self._interactive = False

    def run(self, command: Sequence[str], variables: Mapping[str, str], *, interactive: bool = False) -> int:
        """The exit code of `command`: 128+N after signal N, 127 where it does not exist, 126 where it cannot be run.

        Called in the main thread, it passes on the signals sent to this process. `interactive`: a shell, which
        SIGTERM would not end and SIGHUP does.
        """
        self._interactive = interactive
        with controlling_terminal() as self._terminal, self._signals():
            try:
                process = self._start(command, variables)
            except FileNotFoundError:
                return _complain(f"{command[0]}: command not found", NOT_FOUND)
            except OSError as error:
                return _complain(f"{command[0]}: {error.strerror}", NOT_EXECUTABLE)
            try:
                self._attach(process)
                code = process.wait()
            finally:
                self._detach()
            self._terminal.take_back(process.pid)
        return code if code >= 0 else 128 - code

    def hang_up(self) -> None:
        """Tell the program, from any thread, that its connection is gone."""
        self._send(signal.SIGHUP)

    def pass_on(self, number: int, frame: FrameType | None = None) -> None:
        """A signal handler: the program gets the signal too, unless its terminal has sent it already."""
        if number not in _FROM_TERMINAL or not self._terminal.in_foreground():
            self._send(number)

    def _attach(self, process: Process) -> None:
        with self._lock:
            self._process = process
        for number in self._early:
            self._send(number)

    def _detach(self) -> None:
        if self._killer is not None:
            self._killer.cancel()

    def _send(self, number: int) -> None:
        with self._lock:
            process = self._process
            if process is None:
                self._early.append(number)
                return
        _signal(process, signal.SIGHUP if number == signal.SIGTERM and self._interactive else number)
        if number in _TO_END:
            self.cut_short = True
            _signal(process, signal.SIGCONT)  # one that is stopped would not hear of it
            self._kill_later(process)

    def _kill_later(self, process: Process) -> None:
        if self._killer is None:
            self._killer = threading.Timer(self._end_seconds, _signal, (process, signal.SIGKILL))
            self._killer.daemon = True
            self._killer.start()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Pass signals on; outside the main thread, which alone can, they stay with whoever handles them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # What is ignored here, as under nohup, is ignored by the program too.
        heeded = [number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self.pass_on) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _signal(process: Process, number: int) -> None:
    with suppress(PermissionError):  # one that runs as another user, as under sudo, goes its own way
        process.send_signal(number)


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code
