"""The virtual board as a process: the state machine between a console, a control socket and a clock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from .config import BoardConfig
from .console import Console
from .control import REQUESTS
from .machine import Machine
from .states import Arm, Disarm, Discard, Event, Write

_CHUNK = 4096
_PACE = 50
"""Pieces per second in which a slow console sends."""


class Board:
    """Runs a machine on the running event loop."""

    def __init__(self, config: BoardConfig, console: Console) -> None:
        self._machine = Machine(config)
        self._console = console
        self._cps = config.cps
        self._output = bytearray()
        self._due: float | None = None
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(console.wait_fd, self._on_console)

    async def run(self) -> None:
        """Sends output and delivers ticks until cancelled."""
        while True:
            self._wake.clear()
            if self._output:
                await self._send()
            elif self._due is None:
                await self._wake.wait()
            else:
                await self._sleep_until_due(self._due)

    def power(self, word: str) -> str:
        """Answers a request of the control socket."""
        match word:
            case "on":
                self._feed(Event.POWER_ON)
            case "off":
                self._feed(Event.POWER_OFF)
            case "read":
                volts, amps = self._machine.reading
                return f"{volts:.2f} V {amps:.2f} A"
            case "state":
                return self._machine.state.name.lower()
            case _:
                return f"error: unknown request {word!r}, known are {', '.join(REQUESTS)}"
        return "ok"

    async def _send(self) -> None:
        piece = self._output[: max(1, int(self._cps / _PACE))] if self._cps else self._output[:_CHUNK]
        taken = self._console.write(bytes(piece))
        del self._output[:taken]
        if not taken:
            await self._wake.wait()
        elif self._cps:
            await asyncio.sleep(taken / self._cps)
        else:
            await asyncio.sleep(0)

    async def _sleep_until_due(self, due: float) -> None:
        try:
            async with asyncio.timeout_at(due):
                await self._wake.wait()
        except TimeoutError:
            self._due = None
            self._feed(Event.TICK)

    def _on_console(self) -> None:
        if data := self._console.read():
            self._feed(Event.INPUT, data)
        self._wake.set()

    def _feed(self, event: Event, data: bytes = b"") -> None:
        for effect in self._machine.handle(event, data):
            match effect:
                case Write(data=output):
                    self._output += output
                case Arm(seconds=seconds):
                    self._due = self._loop.time() + seconds
                case Disarm():
                    self._due = None
                case Discard():
                    self._output.clear()
        self._wake.set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection of the control socket."""
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                writer.write(f"{self.power(line.decode(errors='replace').strip())}\n".encode())
                await writer.drain()
        writer.close()


async def serve(config: BoardConfig, *, console: Path, control: Path, until_eof: bool) -> None:
    """Runs a board until SIGINT, SIGTERM or, with `until_eof`, the end of standard input.

    Prints where the console and the control socket are, then `ready`; removes both at the end.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if until_eof:
        loop.add_reader(sys.stdin.fileno(), _stop_at_eof, stop)
    with contextlib.closing(Console(console)) as terminal, _listener(control) as listener:
        board = Board(config, terminal)
        server = await asyncio.start_unix_server(board.answer, sock=listener)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(board.run())
                print(f"console {console}\nsocket {control}\nready", flush=True)  # noqa: T201
                await stop.wait()
                running.cancel()
        finally:
            server.close()
            loop.remove_reader(terminal.wait_fd)


@contextlib.contextmanager
def _listener(path: Path) -> Iterator[socket.socket]:
    """A Unix socket at `path` for this user only; OSError when the path is taken."""
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(path))
        except OSError as e:
            raise OSError(f"cannot put the control socket at {path}: {e.strerror or e}") from e
        try:
            path.chmod(0o600)
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _stop_at_eof(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()
