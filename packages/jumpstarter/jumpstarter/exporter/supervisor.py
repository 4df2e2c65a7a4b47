"""The outer processes of `jmp shell` and `jmp run`: they outlive the work, and clean up after it.

Nothing heavy is imported here: the fork comes before the event loop, gRPC and any thread.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from jumpstarter.common.exceptions import JumpstarterException
from jumpstarter.common.terminal import controlling_terminal
from jumpstarter.config.env import NOTIFY_SOCKET, WATCHDOG_PID, WATCHDOG_USEC, environment, forget

from .guard import STOP_SIGNALS, Ended, Guard, Work
from .link import Link
from .notify import Notifier
from .processes import has_terminal, signal_name
from .restarts import Restarts

if TYPE_CHECKING:
    import logging

__all__ = ["Link", "run_guarded", "supervise"]

_FAILED = 1
# How long a start may take before the service manager's watchdog hears nothing any more, in seconds.
_START_SECONDS = 90.0
# Whoever sends a signal to a process and to its group, such as timeout(1), means one.
_SAME_SIGNAL_SECONDS = 0.25


def run_guarded(work: Work) -> int:
    """Run `work` in a worker process, and give its exit code, 128+N after signal N.

    The worker gets this process's signals, and SIGTERM at its death; what a killed worker, or one that asks for it,
    leaves in this session is ended. In the worker this does not return. RuntimeError where this process has threads.
    """

    def heed(number: int, worker_has_it: bool) -> None:
        if not worker_has_it:
            guard.pass_on(number)

    heard: set[str] = set()
    with controlling_terminal() as terminal, Guard(heed, lambda word, text: heard.add(word)) as guard:
        guard.start(work)
        while guard.ended is None:
            guard.step()
        guard.clear(whole_session=guard.ended.signal is not None or "clear" in heard)
        if guard.ended.code is not None:
            return guard.ended.code
        terminal.take_back(0)
    if guard.ended.signal not in (*STOP_SIGNALS, signal.SIGHUP):
        _logger().error("the session %s", _how(guard.ended, crashed=False))
    return _after_signal(guard.ended)


def supervise(work: Work) -> int:
    """Run `work` in a worker process, and again in a new one after its exit with 0 and after a crash.

    A crash is a signal's work, an exception other than JumpstarterException, or an exit that `work` knows nothing of.
    Other exit codes are final, and so is 0 when it comes after `Link.finish`. SIGTERM, SIGINT and SIGQUIT stop: 0 after
    a graceful end, 128+N where a second signal N cuts it short. SIGHUP is passed on, unless the terminal is gone: that
    stops. 1 after too many failures. In the worker this does not return. RuntimeError where this process has threads.
    """
    return _Supervisor(work).run()


class _CutShort(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Supervisor:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._notifier = Notifier(environment())
        self._guard = Guard(self._heed, self._hear)
        self._restarts = Restarts()
        self._had_terminal = has_terminal()
        self._told_to_stop: float | None = None
        self._told_to_reload = False
        # What the present worker has reported.
        self._ready = self._finished = self._done = False

    def run(self) -> int:
        with self._guard:
            try:
                while (code := self._one_worker()) is None:
                    pass
            except _CutShort as cut:
                self._guard.kill()
                code = 128 + cut.number
            self._notifier.stopping()
            return code

    def _one_worker(self) -> int | None:
        """The final exit code, None when another worker is to follow."""
        self._ready = self._finished = self._done = self._told_to_reload = False
        self._guard.start(self._in_worker, self._notifier.watchdog_seconds)
        self._beat_while(_START_SECONDS, lambda: self._guard.ended is None and not self._ready)
        while (ended := self._guard.ended) is None:
            self._guard.step()
        self._guard.clear(whole_session=not self._done or ended.signal is not None)
        if self._told_to_stop is not None:
            return self._code_of_stop(ended)
        if ended.code is not None and self._done and (ended.code != 0 or self._finished):
            return ended.code
        if self._is_new_start(ended):
            self._restarts.forget_failures()
            return None
        return self._after_failure(ended)

    def _in_worker(self, link: Link) -> int:
        # Between the guard and the service manager only.
        forget(NOTIFY_SOCKET, WATCHDOG_PID, WATCHDOG_USEC)
        try:
            code = self._work(link)
        except (JumpstarterException, SystemExit):
            link.done()
            raise
        except KeyboardInterrupt:
            code = 0
        except Exception as error:
            _logger().error("unexpected %s: %s", type(error).__name__, error)
            _logger().debug("where it was raised:", exc_info=True)
            return _FAILED
        link.done()
        return code

    def _code_of_stop(self, ended: Ended) -> int:
        if ended.code is not None:
            return ended.code if self._done else _FAILED
        # Before a worker is ready, it may know no better way to stop.
        return 0 if not self._ready and ended.signal in STOP_SIGNALS else _after_signal(ended)

    def _is_new_start(self, ended: Ended) -> bool:
        """Whether the worker ended in order to be followed by another one."""
        if ended.code == 0:
            return self._done and (self._ready or self._told_to_reload)
        return ended.signal == signal.SIGHUP and self._told_to_reload

    def _after_failure(self, ended: Ended) -> int | None:
        delay = self._restarts.after_failure(ended.seconds)
        how = _how(ended, crashed=not self._done)
        if delay is None:
            failures = f"{self._restarts.failures} times in a row within {self._restarts.window:g} seconds of a start"
            message = f"giving up: the exporter failed {failures}, the last time it {how}"
            _logger().error("%s", message)
            self._notifier.status(message)
            return _FAILED
        message = f"the exporter {how}; it starts again in {delay:g} seconds"
        _logger().error("%s", message)
        self._notifier.status(message)
        self._told_to_reload = False
        self._beat_while(delay, lambda: self._told_to_stop is None and not self._told_to_reload)
        return None if self._told_to_stop is None else 0

    def _beat_while(self, seconds: float, condition: Callable[[], bool]) -> None:
        """Keep the service manager's watchdog quiet while nobody else can, for at most `seconds`."""
        deadline = time.monotonic() + seconds
        while condition() and (left := deadline - time.monotonic()) > 0:
            self._notifier.beat()
            self._guard.step(min(left, self._notifier.watchdog_seconds or left))

    def _heed(self, number: int, worker_has_it: bool) -> None:
        if number == signal.SIGHUP and self._had_terminal and not has_terminal():
            number = signal.SIGTERM  # not a request for a new start, but the end of whoever watched
        if number == signal.SIGHUP:
            self._told_to_reload = True
        else:
            now = time.monotonic()
            if self._told_to_stop is None:
                self._told_to_stop = now
                self._notifier.stopping()
            elif now - self._told_to_stop > _SAME_SIGNAL_SECONDS:
                raise _CutShort(number)
        if not worker_has_it:
            self._guard.pass_on(number)

    def _hear(self, word: str, text: str) -> None:
        if word == "beat":
            self._notifier.beat()
        elif word == "ready":
            self._ready = True
            self._notifier.ready()
        elif word == "reloading":
            self._notifier.reloading()
        elif word == "stopping":
            # The end of a worker that another one follows is none of the service.
            if self._finished:
                self._notifier.stopping()
        elif word == "status":
            self._notifier.status(text)
        elif word == "limits":
            failures, window = text.split()
            self._restarts.limit(int(failures), float(window))
        elif word == "finish":
            self._finished = True
        elif word == "done":
            self._done = True


def _after_signal(ended: Ended) -> int:
    return 128 + (ended.signal or 0)


def _how(ended: Ended, *, crashed: bool) -> str:
    if ended.signal is not None:
        return f"was killed by signal {signal_name(ended.signal)}"
    if not crashed:
        return "ended before it was ready"
    return "ended with an error of its own" if ended.code == _FAILED else f"ended out of turn with code {ended.code}"


def _logger() -> logging.Logger:
    import logging

    return logging.getLogger(__name__)
