"""A virtual board for tests: a process of its own, started and ended by a context manager."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from typing import IO, Any, cast

from . import control
from .config import BoardConfig
from .control import BoardError

_COMMAND = [sys.executable, "-m", "jumpstarter_testing.board"]
_END_TIMEOUT = 5.0


class VirtualBoard:
    """`with VirtualBoard(countdown=1) as board:` runs a board that starts powered off; it ends with the block.

    Takes the options of `BoardConfig`. The board also ends when this process dies. Linux only; BoardError when the
    board is not ready within `start_timeout` seconds.
    """

    def __init__(self, *, start_timeout: float = 20.0, **options: Any) -> None:
        self.config = BoardConfig(**options)
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._paths: dict[str, str] = {}

    def __enter__(self) -> VirtualBoard:
        if self._process is not None:
            raise RuntimeError("this VirtualBoard runs already; make another one for a second board")
        self._process = subprocess.Popen(
            [*_COMMAND, "--until-eof", *self.config.arguments()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the user of the board, who may still want to switch it off
        )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the board, which removes its files; returns when the process is gone."""
        process, self._process = self._process, None
        self._paths = {}
        if process is None:
            return
        for pipe in (process.stdin, process.stdout, process.stderr):
            cast("IO[bytes]", pipe).close()
        try:
            process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def console(self) -> str:
        """Path of the serial console, for a serial driver's `url`."""
        return self._path("console")

    @property
    def socket(self) -> str:
        """Path of the control socket."""
        return self._path("socket")

    @property
    def pid(self) -> int:
        """Process id of the board."""
        if self._process is None:
            raise RuntimeError("the virtual board runs only inside its `with` block")
        return self._process.pid

    @property
    def power_commands(self) -> dict[str, list[str]]:
        """Commands that work the power input: `CommandPower(**board.power_commands)`."""
        words = ("on", "off", "read")
        return {f"power_{word}": [*_COMMAND, "power", word, "--socket", self.socket] for word in words}

    def on(self) -> None:
        """Switches the board on without a relay."""
        control.request(self.socket, "on")

    def off(self) -> None:
        """Switches the board off without a relay."""
        control.request(self.socket, "off")

    def read(self) -> tuple[float, float]:
        """Volts and amps at the power input."""
        volts, _, amps, _ = control.request(self.socket, "read").split()
        return float(volts), float(amps)

    @property
    def state(self) -> str:
        """Where the board is, for example `off`, `prompt`, `shell` or `hung`."""
        return control.request(self.socket, "state")

    def _path(self, name: str) -> str:
        if name not in self._paths:
            raise RuntimeError("the virtual board runs only inside its `with` block")
        return self._paths[name]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        answer = _read_until(b"ready\n", cast("IO[bytes]", process.stdout), self._start_timeout)
        if answer is None:
            raise BoardError(f"the virtual board was not ready within {self._start_timeout:g} s")
        if not answer.endswith(b"ready\n"):
            process.wait()
            reason = cast("IO[bytes]", process.stderr).read().decode(errors="replace").strip()
            raise BoardError(f"the virtual board did not start: {reason or f'exit code {process.returncode}'}")
        *places, _ = os.fsdecode(answer).splitlines()
        self._paths = {name: path for name, _, path in (place.partition(" ") for place in places)}


def _read_until(end: bytes, stream: IO[bytes], timeout: float) -> bytes | None:
    """What came up to `end` or to the end of file, or None when time is up."""
    deadline = time.monotonic() + timeout
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not received.endswith(end):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            if not (piece := os.read(stream.fileno(), 4096)):
                break
            received += piece
    return received
