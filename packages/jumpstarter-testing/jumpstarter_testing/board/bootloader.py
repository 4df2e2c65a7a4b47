"""The board's bootloader: its banner, its count-down, its environment and its commands. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum, auto

from .config import BoardConfig
from .syntax import expand, parse

Step = tuple[str, float]
"""Text for the console, and the seconds until the next step."""

VERSION = "U-Boot 2024.01-virtual (Jan 01 2024 - 00:00:00 +0000)"
PROMPT = "=> "
_MAX_DEPTH = 16
_ERASE_COUNT = "\b\b\b"


class Request(Enum):
    """What a command line asks of the board beyond printing text."""

    BOOT = auto()
    RESET = auto()


def banner(config: BoardConfig) -> Iterator[Step]:
    """From reset to the count-down."""
    yield "", config.boot_delay
    lines = f"""
{VERSION}

CPU:   virtual ARMv8 at 1000 MHz
Model: Jumpstarter virtual board
DRAM:  512 MiB
Loading Environment from Flash... OK
In:    serial
Out:   serial
Err:   serial
"""
    for line in lines.splitlines():
        yield line + "\n", config.line_delay


def countdown(seconds: int) -> Iterator[Step]:
    """The seconds in which a key stops the boot."""
    yield f"Hit any key to stop autoboot: {seconds:2d} ", 1.0 if seconds else 0.0
    for left in range(seconds - 1, -1, -1):
        yield f"{_ERASE_COUNT}{left:2d} ", 1.0 if left else 0.0
    yield "\n", 0.0


STOPPED = f"{_ERASE_COUNT} 0 \n"
"""What a key during the count-down prints."""


class Bootloader:
    """Environment and commands. `setenv` lasts until reset, after `saveenv` it survives power cycles."""

    def __init__(self, config: BoardConfig) -> None:
        self._saved = {
            "baudrate": "115200",
            "board": "virtual",
            "bootargs": "console=ttyS0,115200 root=/dev/vda ro",
            "bootcmd": "bootm",
            "bootdelay": str(config.countdown),
        }
        self.environment: dict[str, str] = {}
        self.reset()

    def reset(self) -> None:
        """Loads the saved environment."""
        self.environment = dict(self._saved)

    @property
    def bootdelay(self) -> int:
        """Seconds of count-down; what is no number counts as 0, as in U-Boot."""
        text = self.environment.get("bootdelay", "")
        return int(text) if re.fullmatch(r"-?\d{1,6}", text) else 0

    def run(self, line: str, depth: int = 0) -> tuple[str, Request | None]:
        """The output of a command line, and what it asks of the board."""
        output = ""
        try:
            commands = parse(line)
        except ValueError as e:
            return f"{e}\n", None
        for _, words in commands:
            text, request = self._run_command([expand(word, self._value) for word in words], depth)
            output += text
            if request:
                return output, request
        return output, None

    def _run_command(self, words: list[str], depth: int) -> tuple[str, Request | None]:
        name, *arguments = words
        if name in ("run", "boot"):
            return self._run_variables(["bootcmd"] if name == "boot" else arguments, depth + 1)
        if name in ("bootm", "reset"):
            return ("", Request.BOOT) if name == "bootm" else ("resetting ...\n", Request.RESET)
        command = self._COMMANDS.get(name)
        return (command(self, arguments) if command else f"Unknown command '{name}' - try 'help'\n"), None

    def _run_variables(self, names: list[str], depth: int) -> tuple[str, Request | None]:
        if depth > _MAX_DEPTH:
            return "## Error: variables run each other without end\n", None
        output = ""
        for name in names:
            if name not in self.environment:
                return output + f'## Error: "{name}" not defined\n', None
            text, request = self.run(self.environment[name], depth)
            output += text
            if request:
                return output, request
        return output, None

    def _value(self, name: str) -> str:
        return self.environment.get(name, "")

    def _help(self, arguments: list[str]) -> str:
        return "".join(f"{name:9}- {text}\n" for name, text in sorted(self._HELP.items()))

    def _version(self, arguments: list[str]) -> str:
        return f"{VERSION}\n"

    def _echo(self, arguments: list[str]) -> str:
        return " ".join(arguments) + "\n"

    def _printenv(self, arguments: list[str]) -> str:
        names = arguments or sorted(self.environment)
        known = self.environment
        return "".join(f"{n}={known[n]}\n" if n in known else f'## Error: "{n}" not defined\n' for n in names)

    def _setenv(self, arguments: list[str]) -> str:
        if not arguments:
            return "Usage: setenv name [value ...]\n"
        name, *value = arguments
        if value:
            self.environment[name] = " ".join(value)
        else:
            self.environment.pop(name, None)
        return ""

    def _saveenv(self, arguments: list[str]) -> str:
        self._saved = dict(self.environment)
        return "Saving Environment to Flash... OK\n"

    _COMMANDS: dict[str, Callable[[Bootloader, list[str]], str]] = {
        "echo": _echo,
        "help": _help,
        "printenv": _printenv,
        "saveenv": _saveenv,
        "setenv": _setenv,
        "version": _version,
    }
    _HELP = {
        "boot": "boot default, i.e., run 'bootcmd'",
        "bootm": "boot the kernel",
        "echo": "echo args to console",
        "help": "print command description/usage",
        "printenv": "print environment variables",
        "reset": "perform RESET of the CPU",
        "run": "run commands in an environment variable",
        "saveenv": "save environment variables to persistent storage",
        "setenv": "set environment variables",
        "version": "print monitor version",
    }
