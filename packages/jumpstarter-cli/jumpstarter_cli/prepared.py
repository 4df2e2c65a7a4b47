"""`jmp shell -- j ...`: the `j` it will run, loaded in a process of its own while its exporter starts.

What starts is a fork of this program and no new one; for all that it does afterwards it is the same: a child with the
command's arguments, environment and standard streams, and nothing else of this process.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from jumpstarter.common.child import Start, start_program

_COMMAND = "j"
# They are for the program, and there is none yet.
_WAITING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)


@contextmanager
def prepared(command: Sequence[str]) -> Iterator[Start]:
    """What starts `command`. To be entered while this process has no threads, and before it loads gRPC."""
    if not (command and _is_ours(command[0])):
        yield start_program
        return
    process = _Prepared()
    try:
        yield process.start
    finally:
        process.close()


def _is_ours(program: str) -> bool:
    """Whether `program` is the `j` that was installed beside the `jmp` that runs here."""
    found = shutil.which(program)
    jmp = Path(sys.argv[0])
    if found is None or Path(found).name != _COMMAND or not Path(found).parent.samefile(jmp.parent):
        return False
    try:
        with open(found, "rb") as ours, open(jmp, "rb") as running:
            return ours.readline() == running.readline()  # the same interpreter
    except OSError:
        return False


class _Prepared:
    """The forked process: `start` lets it run, as a subprocess.Popen would, and `close` ends one that never ran."""

    def __init__(self) -> None:
        self.returncode: int | None = None
        self._started = False
        order, self._order = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, _WAITING)
        self.pid = os.fork()
        if self.pid == 0:
            _become_j(order)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITING)
        os.close(order)

    def start(self, command: Sequence[str], variables: Mapping[str, str]) -> _Prepared:
        """Run `command` with the environment `variables`."""
        self._started = True
        with os.fdopen(self._order, "wb") as pipe, suppress(BrokenPipeError):
            pipe.write(json.dumps([list(command), dict(variables)]).encode())
        return self

    def wait(self) -> int:
        """The exit code, -N after signal N."""
        if self.returncode is None:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def close(self) -> None:
        """End it, if it has not been started."""
        if not self._started:
            os.close(self._order)
            self.send_signal(signal.SIGKILL)
            self.wait()


def _become_j(order: int) -> NoReturn:
    """In the fork: load what `j` needs, wait for the order, and be `j`."""
    code = 1
    try:
        os.dup2(order, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        with suppress(Exception):  # told of when `j` fails over it
            _load()
        with os.fdopen(3, "rb") as pipe:
            text = pipe.read()
        if text:
            code = _run(*json.loads(text))
    finally:
        os._exit(code)


def _load() -> None:
    for module in ("jumpstarter_cli.j", "jumpstarter.client.commands", "jumpstarter.utils.env"):
        import_module(module)


def _run(command: list[str], variables: dict[str, str]) -> int:
    import logging

    from jumpstarter.config.env import take_over

    take_over(variables)
    logging.getLogger().handlers.clear()  # those of `jmp`
    logging.getLogger().setLevel(logging.WARNING)
    sys.argv = [shutil.which(command[0]) or command[0], *command[1:]]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITING)
    code = 1
    try:
        from jumpstarter_cli.j import j

        j()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
    return code
