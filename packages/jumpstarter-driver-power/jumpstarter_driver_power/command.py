"""Power switched by commands that the exporter's owner configures."""

import logging
import shlex
import signal
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from math import inf

from anyio import Lock
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver, export

from .common import PowerReading
from .interface import PowerInterface
from .output import KEPT_BYTES, Output
from .process import Command, Runner
from .readings import parse

QUOTED_LINES = 5
QUOTED_CHARACTERS = 1000


@dataclass(kw_only=True)
class CommandPower(PowerInterface, Driver):
    """Runs a command for each method: a list of arguments, or a string for `/bin/sh -c`.

    `power_on`, `power_off`: the commands that switch the board.
    `power_read`: the command that measures; it prints a reading per line: volts and amperes as `12.1 V 0.42 A` or
    `12.1 0.42`, or JSON `{"voltage": 12.1, "current": 0.42}`.
    `power_rescue`: the command that switches the board on in its rescue mode.
    `timeout`: seconds each of them may take; one that takes longer is ended with all its processes.
    `cwd`: working directory of the commands; the exporter's own by default.
    `env`: what is added to the exporter's environment.

    Not zero is failure. What a command leaves running on purpose, such as an emulator, must have its output redirected.
    """

    power_on: str | list[str]
    power_off: str | list[str]
    power_read: str | list[str] | None = None
    power_rescue: str | list[str] | None = None
    timeout: float = 30.0
    cwd: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    _runner: Runner = field(init=False, repr=False)
    _switching: Lock = field(init=False, repr=False, default_factory=Lock)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("power_on", "power_off", "power_read", "power_rescue"):
            _check_command(name, getattr(self, name), required=name in ("power_on", "power_off"))
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float) or not 0 < self.timeout < inf:
            raise ConfigurationError(f"timeout: must be a number of seconds above 0, not {self.timeout!r}")
        if not isinstance(self.env, dict) or not _all_str(*self.env, *self.env.values()):
            raise ConfigurationError(f"env: must be a mapping of names to texts, not {self.env!r}")
        if self.power_rescue is not None:
            self.methods_description = {"rescue": "Power on in rescue mode", **self.methods_description}
        self._runner = Runner(self.logger)

    def close(self) -> None:
        """End what is running."""
        self._runner.kill()
        super().close()

    @export
    async def on(self) -> None:
        await self._switch("power_on", self.power_on)

    @export
    async def off(self) -> None:
        await self._switch("power_off", self.power_off)

    @export
    async def rescue(self) -> None:
        """Run `power_rescue`. NotImplementedError where none is configured."""
        if self.power_rescue is None:
            raise NotImplementedError("this supply has no rescue mode: power_rescue is not configured")
        await self._switch("power_rescue", self.power_rescue)

    @export
    async def read(self) -> AsyncGenerator[PowerReading, None]:
        """Run `power_read` once. NotImplementedError where none is configured."""
        if self.power_read is None:
            raise NotImplementedError("this supply does not measure: power_read is not configured")
        printed = await self._run("power_read", self.power_read, logging.DEBUG)
        if printed.truncated:
            raise RuntimeError(f"power_read: {_quote(self.power_read)}: more than {KEPT_BYTES} bytes of output")
        try:
            readings = parse(printed.text)
        except ValueError as error:
            raise RuntimeError(f"power_read: {_quote(self.power_read)}: {error}") from None
        for reading in readings:
            yield reading

    async def _switch(self, name: str, line: str | list[str]) -> None:
        async with self._switching:
            await self._run(name, line, logging.INFO)

    async def _run(self, name: str, line: str | list[str], level: int) -> Output:
        """What the command printed to stdout. An OSError or TimeoutError names the command and what became of it."""
        self.logger.log(level, "%s: %s", name, _quote(line))
        command = Command(name=name, line=line, timeout=self.timeout, cwd=self.cwd, env=self.env)
        try:
            result = await self._runner.run(command, level)
        except TimeoutError:
            text = f"{name}: command {_quote(line)} did not end within {self.timeout:g} s and was killed"
            raise TimeoutError(text) from None
        except OSError as error:
            text = f"{name}: command {_quote(line)} cannot be started: {error.strerror}"
            raise type(error)(error.errno, text, error.filename) from None
        if result.returncode:
            ending = _describe_end(result.returncode) + _last_lines(result.stderr, result.stdout)
            raise ChildProcessError(f"{name}: command {_quote(line)} {ending}")
        return result.stdout


def _check_command(name: str, command: object, *, required: bool) -> None:
    if command is None and not required:
        return
    words = [command.strip()] if isinstance(command, str) else command
    if not isinstance(words, list) or not _all_str(*words) or not any(words):
        raise ConfigurationError(f"{name}: must be a command, as a string or a list of strings, not {command!r}")


def _all_str(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


def _describe_end(returncode: int) -> str:
    if returncode > 0:
        return f"failed with exit code {returncode}"
    try:
        return f"was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was ended by signal {-returncode}"


def _last_lines(*outputs: Output) -> str:
    """The last lines of the first output that has any."""
    for output in outputs:
        if lines := output.text.strip().splitlines():
            return ": " + "\n".join(lines[-QUOTED_LINES:])[-QUOTED_CHARACTERS:]
    return ""


def _quote(line: str | list[str]) -> str:
    text = line if isinstance(line, str) else shlex.join(line)
    return f"`{text}`" if len(text) <= QUOTED_CHARACTERS else f"`{text[:QUOTED_CHARACTERS]}...`"
