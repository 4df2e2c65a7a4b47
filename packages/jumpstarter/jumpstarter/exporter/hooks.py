"""Hooks: the scripts that run around a lease, each on a terminal of its own, with what they print in the log."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from anyio import CancelScope

from jumpstarter.common.exceptions import JumpstarterException
from jumpstarter.config.env import (
    CLIENT_NAME,
    DEBIAN_FRONTEND,
    GIT_TERMINAL_PROMPT,
    JMP_DRIVERS_ALLOW,
    JMP_EXPORTER_PASSPHRASE,
    JUMPSTARTER_HOST,
    LEASE_NAME,
    NOTIFY_SOCKET,
    OF_ONE_SESSION,
    PATH,
    PS1,
    TERM,
    UNSAFE,
    WATCHDOG_PID,
    WATCHDOG_USEC,
    environment,
)
from jumpstarter.driver.workers import POOL

from .hook_process import NOT_EXECUTABLE, CannotRun, HookProcess, Order
from .processes import signal_name

# What an outer shell has set, and what is between this process and its service manager.
_NOT_PASSED_ON = OF_ONE_SESSION | {JMP_EXPORTER_PASSPHRASE, NOTIFY_SOCKET, PS1, WATCHDOG_PID, WATCHDOG_USEC}


@dataclass(frozen=True)
class Hook:
    """A script that runs before or after a lease.

    `exec`: the interpreter, by default /bin/sh. `timeout`: seconds. `where`: `FILE:LINE` that errors name.
    """

    name: str
    script: str
    exec: str | None = None
    timeout: float = 120
    on_failure: Literal["warn", "endLease", "exit"] = "warn"
    where: str = ""


class HookFailed(JumpstarterException):
    """A hook failed, for `reason`. `exit_code`: as a shell counts it, None where the hook took too long."""

    def __init__(self, hook: Hook, exit_code: int | None, reason: str | None = None) -> None:
        self.hook = hook
        self.exit_code = exit_code
        self.reason = reason or _reason(hook, exit_code)
        super().__init__(": ".join(part for part in (hook.where, hook.name, self.reason) if part))


def hook_variables(host: str, *, lease_name: str = "", client_name: str = "") -> dict[str, str]:
    """The environment of a hook: this process's own, led to the exporter's socket `host`."""
    here = environment()
    inherited = {name: text for name, text in here.variables.items() if name not in _NOT_PASSED_ON}
    # `j` is found, even where the exporter was started by its full path.
    path = [here.get(PATH) or os.defpath, str(Path(sys.executable).parent)]
    return inherited | {
        JUMPSTARTER_HOST: host,
        JMP_DRIVERS_ALLOW: UNSAFE,
        LEASE_NAME: lease_name,
        CLIENT_NAME: client_name,
        TERM: "dumb",
        DEBIAN_FRONTEND: "noninteractive",
        GIT_TERMINAL_PROMPT: "0",
        PATH: os.pathsep.join(path),
    }


def _ignore(pid: int) -> None:
    pass


async def run_hook(
    hook: Hook,
    variables: Mapping[str, str],
    logger: logging.Logger,
    *,
    started: Callable[[int], None] = _ignore,
    ended: Callable[[int], None] = _ignore,
) -> None:
    """Run a hook in the environment `variables`; each line that it prints goes to `logger` as it comes.

    Raises HookFailed when it fails or takes too long. After a time-out, and when cancelled, its whole process group is
    ended before this returns. What it left in the background otherwise goes on, without its terminal. `started` and
    `ended` hear, in a worker thread, which session was begun and is over.
    """
    process = HookProcess(Order(hook.script, hook.exec, hook.timeout, variables, logger, started, ended))
    try:
        running = _in_worker(process)
    except RuntimeError as error:  # no thread is to be had
        process.close()
        raise _cannot_run(hook, NOT_EXECUTABLE, error) from None
    try:
        code = await asyncio.shield(running)
    except asyncio.CancelledError:
        process.cancel()
        with CancelScope(shield=True):
            await asyncio.wait([running])
        raise
    except CannotRun as error:
        raise _cannot_run(hook, error.exit_code, error) from None
    if code is None:
        raise HookFailed(hook, None)
    if code != 0:
        raise HookFailed(hook, code if code > 0 else 128 - code, _reason(hook, code))


def _in_worker(process: HookProcess) -> asyncio.Future[int | None]:
    """Run it in a thread. Not a task, so that it is told to end, and waited for, before its loop ends."""
    outcome: Future[int | None] = Future()

    def job() -> None:
        try:
            outcome.set_result(process.run())
        except BaseException as error:
            outcome.set_exception(error)

    POOL.submit(partial(contextvars.copy_context().run, job))
    running = asyncio.wrap_future(outcome)
    # Known, even where nobody waits any more.
    running.add_done_callback(lambda future: future.cancelled() or future.exception())
    return running


def _cannot_run(hook: Hook, exit_code: int, error: Exception) -> HookFailed:
    return HookFailed(hook, exit_code, f"Hook cannot be run: {error}")


def _reason(hook: Hook, code: int | None) -> str:
    if code is None:
        return f"Hook timed out after {hook.timeout:g} seconds"
    return f"Hook failed with exit code {code}" if code >= 0 else f"Hook was killed by signal {signal_name(-code)}"
