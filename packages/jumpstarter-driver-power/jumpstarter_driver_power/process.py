"""Run a command to its end or its deadline, and leave no process of it behind.

Each command leads a process group of its own. One that ends by itself may leave something running on purpose; one
that is cut short is ended with its whole group: SIGTERM, a moment of grace, SIGKILL. Its leader is reaped last of all,
because until then the number of the group cannot come to mean another one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from anyio import CancelScope, CapacityLimiter, create_task_group, fail_after, move_on_after
from anyio.to_thread import run_sync

from .output import Output

T = TypeVar("T")

GRACE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run: a list of arguments, or a string for the shell. `env` is added to the exporter's environment."""

    name: str
    line: str | Sequence[str]
    timeout: float
    cwd: str | None = None
    env: dict[str, str] = field(default_factory=dict)

    def start(self) -> subprocess.Popen[bytes]:
        """The running process, which leads its own session and group. OSError when it cannot be started."""
        return subprocess.Popen(
            ["/bin/sh", "-c", self.line] if isinstance(self.line, str) else self.line,
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd=self.cwd,
            env={**os.environ, **self.env},
        )


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: Output
    stderr: Output


class Runner:
    """Runs commands, and knows which are running so that `kill()` can end them from any thread."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._running: set[subprocess.Popen[bytes]] = set()
        self._kills = 0
        self._lock = threading.Lock()

    async def run(self, command: Command, level: int = logging.INFO) -> Result:
        """Run `command` to its end, logging at `level` what it prints. When cancelled, it ends the command first.

        TimeoutError after the command's time; another OSError when it cannot be started.
        """
        # In a task of its own, because gRPC cancels by asyncio's means, from which anyio's shields do not protect.
        scope = CancelScope()
        task = asyncio.create_task(self._run_within(scope, command, level))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            scope.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([task])
            raise

    def kill(self) -> None:
        """End whatever is running or about to, at once."""
        with self._lock:
            self._kills += 1
            for process in self._running:
                _signal(process, signal.SIGKILL)

    async def _run_within(self, scope: CancelScope, command: Command, level: int) -> Result:
        with scope:
            return await self._run(command, lambda line: self._logger.log(level, "%s: %s", command.name, line))
        raise asyncio.CancelledError

    async def _run(self, command: Command, on_line: Callable[[str], None]) -> Result:
        process = await _in_thread(partial(self._start, command))
        outputs = [Output(pipe, on_line) for pipe in (process.stdout, process.stderr) if pipe is not None]
        try:
            with fail_after(command.timeout):
                await self._finish(process, outputs, command.name)
        finally:
            self._reap(process)
            for output in outputs:
                output.close()
        return Result(returncode=process.returncode, stdout=outputs[0], stderr=outputs[1])

    async def _finish(self, process: subprocess.Popen[bytes], outputs: list[Output], name: str) -> None:
        """Take the output of `process` until its end; when that is cancelled, end its group."""
        ended = False
        try:
            async with create_task_group() as tasks:
                for output in outputs:
                    tasks.start_soon(output.follow)
                await _ended(process)
                ended = True
                # Not the end of the output: who was left running on purpose may hold it open.
                tasks.cancel_scope.cancel()
        finally:
            if not ended:
                await self._end_group(process, outputs, name)
            for output in outputs:
                output.drain()

    async def _end_group(self, process: subprocess.Popen[bytes], outputs: list[Output], name: str) -> None:
        """SIGTERM; SIGKILL once the group has closed its outputs or its time of grace is over."""
        try:
            _signal(process, signal.SIGTERM)
            with move_on_after(GRACE_SECONDS, shield=True):
                async with create_task_group() as tasks:
                    for output in outputs:
                        tasks.start_soon(output.follow)
                    await _ended(process)
        finally:
            _signal(process, signal.SIGKILL)
        with move_on_after(GRACE_SECONDS, shield=True) as patience:
            await _ended(process)
        if patience.cancelled_caught:
            self._logger.warning("%s: process %d goes on: it cannot be ended from here", name, process.pid)

    def _start(self, command: Command) -> subprocess.Popen[bytes]:
        kills = self._kills
        process = command.start()
        with self._lock:
            self._running.add(process)
            if self._kills != kills:
                _signal(process, signal.SIGKILL)
        return process

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)
            if process.poll() is None:
                # Killed, but not gone yet: the loop is ending, or the process is beyond our reach.
                threading.Thread(target=process.wait, name="jumpstarter-reaper", daemon=True).start()


async def _ended(process: subprocess.Popen[bytes]) -> None:
    await _in_thread(partial(_await_end, process), abandon_on_cancel=True)


async def _in_thread(function: Callable[[], T], abandon_on_cancel: bool = False) -> T:
    # A limiter of its own: a command that takes its time must not use up the threads that others share.
    return await run_sync(function, abandon_on_cancel=abandon_on_cancel, limiter=CapacityLimiter(1))


def _await_end(process: subprocess.Popen[bytes]) -> None:
    """Block until the leader has ended; where the system can, it is left to be reaped."""
    if hasattr(os, "waitid"):
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    else:
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal the group of a process that has not been reaped."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
