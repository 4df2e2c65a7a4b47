"""A process and its guard: the fork, the signals and reports between them, and what a dead worker leaves behind."""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from .link import Link, Reports
from .processes import SignalQueue, adopt_orphans, descendants, end_with, has_process_list, thread_count

Work = Callable[[Link], int]

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
# Whoever presses their keys sends them to the whole process group: the worker has them already.
_OF_KEYS = frozenset({signal.SIGINT, signal.SIGQUIT})
# From SIGTERM to SIGKILL, and from there until a process counts as stuck, in seconds.
_TERMINATE_SECONDS = 2.0
_KILL_SECONDS = 5.0
# How often to look whether processes that are nobody's children here have ended, in seconds.
_LOOK_SECONDS = 0.05


class Ended(NamedTuple):
    """How a worker ended: by itself, with an exit code, or by a signal. `seconds`: how long it lived."""

    code: int | None
    signal: int | None
    seconds: float


class _Leave:
    """The last thing a worker does at its exit: end at once, without first taking apart all that ends with it."""

    def __init__(self) -> None:
        self.code: int | None = None

    def __call__(self) -> None:
        if self.code is None:
            return
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # nobody reads it any more, or there is none
                stream.flush()
        os._exit(self.code)


class Guard:
    """The parent of one worker at a time, in a process without threads.

    While it is open, signals wait until `step` takes them. `heed` gets those meant for this process, and whether the
    worker has them too; `hear` gets what the worker reports, as (word, text).
    """

    def __init__(self, heed: Callable[[int, bool], None], hear: Callable[[str, str], None]) -> None:
        self.ended: Ended | None = None
        self._heed = heed
        self._hear = hear
        self._queue = SignalQueue((*STOP_SIGNALS, signal.SIGHUP, signal.SIGCHLD, signal.SIGIO))
        self._pid = os.getpid()
        self._worker = 0
        self._started = 0.0
        self._pipes: tuple[int, int] | None = None
        self._reports = Reports(-1)
        self._owned: set[int] = set()

    def __enter__(self) -> Guard:
        if (threads := thread_count()) > 1:
            raise RuntimeError(f"a worker has to be forked before other threads start, and there are {threads}")
        # Where it was inherited as ignored, nobody would hear of the end of a child.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        adopt_orphans()
        self._queue.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if os.getpid() == self._pid:
            self._queue.close()

    def start(self, work: Work, watchdog_seconds: float | None = None) -> None:
        """Fork a worker. There, this does not return: it ends with `work`'s exit code, or with what it raises."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        ours, theirs = os.pipe()
        lifeline, held = os.pipe()
        os.set_blocking(theirs, False)
        fcntl.fcntl(ours, fcntl.F_SETOWN, self._pid)
        fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        self._started = time.monotonic()
        worker = os.fork()
        if worker == 0:
            os.close(ours)
            os.close(held)
            end_with(self._pid, lifeline)
            self._queue.release()
            leave = _Leave()
            atexit.register(leave)
            leave.code = work(Link(theirs, watchdog_seconds))
            raise SystemExit(leave.code)
        os.close(theirs)
        os.close(lifeline)
        self._worker, self._pipes, self._reports = worker, (ours, held), Reports(ours)
        self.ended = None

    def step(self, seconds: float | None = None) -> None:
        """Wait for one thing to happen, at most `seconds`, and deal with it."""
        arrived = self._queue.get(seconds)
        if arrived is None:
            return
        number, of_key = arrived
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGIO:
            self._take_reports()
        else:
            self._heed(number, of_key and number in _OF_KEYS)

    def pass_on(self, number: int) -> None:
        """Send a signal to the worker, if there is one."""
        if self._worker:
            os.kill(self._worker, number)

    def kill(self) -> None:
        """End the worker and all that is its at once; nothing is heeded any more."""
        self._heed = lambda number, worker_has_it: None
        self.pass_on(signal.SIGKILL)
        deadline = time.monotonic() + _KILL_SECONDS
        while self._worker and time.monotonic() < deadline:
            self.step(_LOOK_SECONDS)
        self._end_processes({*self._owned, os.getsid(0)}, ())

    def clear(self, *, whole_session: bool) -> None:
        """After a worker's end: end the sessions that it owned, and with `whole_session` all it has left in ours."""
        sessions = {*self._owned, os.getsid(0)} if whole_session else self._owned
        self._end_processes(sessions, (signal.SIGTERM, signal.SIGHUP, signal.SIGCONT))
        self._owned = set()

    def _end_processes(self, sessions: set[int], gently: tuple[signal.Signals, ...]) -> None:
        if not has_process_list():
            for leader in self._owned:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(leader, signal.SIGKILL)
        asked: set[int] = set()
        deadline = time.monotonic() + (_TERMINATE_SECONDS if gently else 0)
        while (left := descendants(sessions)) and time.monotonic() < deadline + _KILL_SECONDS:
            late = time.monotonic() >= deadline
            for pid in left if late else set(left) - asked:
                for number in (signal.SIGKILL,) if late else gently:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            asked.update(left)
            self.step(_LOOK_SECONDS)
        self._reap()  # a group exists as long as there are zombies in it

    def _reap(self) -> None:
        """Take note of all children that have ended, adopted ones included."""
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if found[0] == self._worker:
                    self._worker_ended(os.waitstatus_to_exitcode(found[1]))

    def _worker_ended(self, code: int) -> None:
        self._take_reports()
        self._worker = 0
        for pipe in self._pipes or ():
            os.close(pipe)
        self._pipes = None
        seconds = time.monotonic() - self._started
        self.ended = Ended(code, None, seconds) if code >= 0 else Ended(None, -code, seconds)

    def _take_reports(self) -> None:
        for word, text in self._reports.read() if self._pipes else ():
            if word == "own":
                self._owned.add(int(text))
            elif word == "disown":
                self._owned.discard(int(text))
            else:
                self._hear(word, text)
