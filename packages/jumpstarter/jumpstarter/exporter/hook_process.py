"""One run of a hook: a process that leads a session on a terminal of its own. Blocks: meant for a worker thread."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

from .hook_output import OutputLines

NOT_EXECUTABLE = 126
NOT_FOUND = 127

_ROWS, _COLUMNS = 24, 120
# From SIGTERM to SIGKILL, and from there until a process counts as stuck, in seconds.
_TERMINATE_SECONDS = 3.0
_KILL_SECONDS = 5.0
# How often to look for the end of processes where the system does not announce it, in seconds.
_LOOK_SECONDS = 0.05
# The longest that one look takes, in seconds: the system's clock for it ends after 24 days.
_LONGEST_LOOK_SECONDS = 3600.0
# How long killed processes may take to vanish, in seconds; zombies that nobody reaps never do.
_VANISH_SECONDS = 1.0
_READ_BYTES = 65536
# More than a terminal holds: a daemon that goes on printing does not keep its hook from ending.
_LAST_BYTES = 65536


class CannotRun(Exception):
    """The program cannot be started. `exit_code`: what a shell would give."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Order(NamedTuple):
    """What to run. `timeout`: seconds. `started` and `ended` hear the number of the session, and process group."""

    script: str
    interpreter: str | None
    timeout: float
    variables: Mapping[str, str]
    logger: logging.Logger
    started: Callable[[int], None]
    ended: Callable[[int], None]


class HookProcess:
    """Runs one script, once."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)

    def cancel(self) -> None:
        """Have `run` end the process group; from any thread."""
        with suppress(OSError):  # closed
            self._waker.send(b"\0")

    def close(self) -> None:
        """Free what `cancel` needs; `run` does so by itself."""
        self._waker.close()
        self._woken.close()

    def run(self) -> int | None:
        """The exit code, -N after signal N; None where it took too long or was cancelled, and its process group is
        gone. CannotRun where there is nothing to run.
        """
        with self._waker, self._woken, _terminal() as (ours, theirs):
            process = _start(self._order, theirs)
            os.close(theirs)
            try:
                self._order.started(process.pid)
                return self._follow(process, ours)
            except BaseException:
                _signal_group(process, signal.SIGKILL)
                process.wait()
                raise
            finally:
                self._order.ended(process.pid)

    def _follow(self, process: subprocess.Popen[bytes], terminal: int) -> int | None:
        lines = OutputLines()
        with _Watch(process, terminal, self._woken.fileno()) as watch:
            self._log(lines, watch.follow(self._order.timeout, lambda: watch.over or watch.woken))
            by_itself = watch.over
            if not by_itself:
                _signal_group(process, signal.SIGTERM)
                self._log(lines, watch.follow(_TERMINATE_SECONDS, lambda: watch.over and watch.silent))
                # The leader is not reaped yet, so its number cannot be that of another group.
                _signal_group(process, signal.SIGKILL)
                self._log(lines, watch.follow(_KILL_SECONDS, lambda: watch.over))
            self._log(lines, watch.last_output())
        for line in lines.close():
            self._order.logger.info("%s", line)
        if not watch.over:
            self._order.logger.error("process %d of the hook cannot be ended", process.pid)
            return None
        code = process.wait()
        if by_itself:
            return code
        _wait_for_group(process.pid)
        return None

    def _log(self, lines: OutputLines, output: Iterable[bytes]) -> None:
        for data in output:
            for line in lines.feed(data):
                self._order.logger.info("%s", line)


class _Watch:
    """Waits for output of a process, its end, and a wake-up call.

    `over`: the process has ended. `silent`: nobody has its terminal open any more. `woken`: somebody called.
    """

    def __init__(self, process: subprocess.Popen[bytes], terminal: int, waking: int) -> None:
        self._process = process
        self._terminal = terminal
        self._waking = waking
        self.over = self.silent = self.woken = False
        self._poll = select.poll()
        self._poll.register(terminal, select.POLLIN)
        self._poll.register(waking, select.POLLIN)
        self._end = _announced_end(process)
        if self._end is not None:
            self._poll.register(self._end, select.POLLIN)

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._end is not None:
            os.close(self._end)

    def follow(self, seconds: float, done: Callable[[], bool]) -> Generator[bytes]:
        """The output, until `done()` or for `seconds`."""
        deadline = time.monotonic() + seconds
        while not done() and (left := deadline - time.monotonic()) > 0:
            ready = self._ready(left)
            if self._terminal in ready:
                yield self._read()
            if self._waking in ready:
                self.woken = True
                self._poll.unregister(self._waking)
            if self._end is not None and self._end in ready:
                self.over = True
                self._poll.unregister(self._end)

    def last_output(self) -> Generator[bytes]:
        """What the terminal still holds."""
        size = 0
        while not self.silent and size < _LAST_BYTES:
            data = self._read()
            if not data:
                return
            yield data
            size += len(data)

    def _ready(self, seconds: float) -> set[int]:
        longest = _LONGEST_LOOK_SECONDS if self._end is not None else _LOOK_SECONDS
        ready: set[int] = {file for file, _ in self._poll.poll(min(seconds, longest) * 1000)}
        if self._end is None:
            self.over = self._process.poll() is not None
        return ready

    def _read(self) -> bytes:
        """What there is, or nothing."""
        try:
            return os.read(self._terminal, _READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:  # all other ends are closed
            self.silent = True
            self._poll.unregister(self._terminal)
            return b""


def _announced_end(process: subprocess.Popen[bytes]) -> int | None:
    """A file that becomes readable when the process ends, None where the system has no such thing."""
    try:
        return os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return None


@contextmanager
def _terminal() -> Generator[tuple[int, int]]:
    """A terminal, from both ends, that passes on output as it is; the second end is the caller's to close."""
    try:
        ours, theirs = os.openpty()
    except OSError as error:
        raise CannotRun(f"no terminal for it: {error.strerror}", NOT_EXECUTABLE) from None
    try:
        termios.tcsetwinsize(ours, (_ROWS, _COLUMNS))
        attributes = termios.tcgetattr(theirs)
        attributes[1] &= ~termios.OPOST
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        os.set_blocking(ours, False)
        yield ours, theirs
    finally:
        os.close(ours)


def _start(order: Order, terminal: int) -> subprocess.Popen[bytes]:
    command = _command(order.script, order.interpreter)
    try:
        return subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=dict(order.variables),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        os.close(terminal)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        raise CannotRun(f"{command[0]}: {reason}", code) from None


def _command(script: str, interpreter: str | None) -> list[str]:
    """A script of one line that names a file stands for that file."""
    name = script.strip()
    if "\n" in name or not os.path.isfile(name):
        return [interpreter or "/bin/sh", "-c", script]
    if interpreter is None and name.endswith(".py"):
        return [sys.executable, os.path.abspath(name)]
    return [interpreter or "/bin/sh", os.path.abspath(name)]


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # ProcessLookupError: nobody is left. PermissionError: only processes of another user are.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _wait_for_group(group: int) -> None:
    """Wait, for a bounded time, until the killed processes of a group are gone."""
    deadline = time.monotonic() + _VANISH_SECONDS
    with suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(_LOOK_SECONDS)
