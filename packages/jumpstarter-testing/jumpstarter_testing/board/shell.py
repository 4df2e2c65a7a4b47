"""The login shell of the board. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from enum import Enum, auto

from .bootloader import Step
from .linux import RELEASE, Linux
from .syntax import expand, parse

_CHUNK = 1024
"""Characters in a step of bulk output: large enough to be fast, small enough to be interrupted."""

Job = Generator[Step, None, int]
"""A running command: gives steps, returns its exit status."""


class Request(Enum):
    """What a command line asks of the board beyond printing text."""

    REBOOT = auto()
    POWEROFF = auto()
    LOGOUT = auto()


class Shell:
    """One login session; `status` and `request` tell the outcome of the last command line."""

    def __init__(self, linux: Linux) -> None:
        self.status = 0
        self.request: Request | None = None
        self.prompt = f"root@{linux.hostname}:~# "
        self._linux = linux

    def run(self, line: str) -> Iterator[Step]:
        """Runs a command line; closing the iterator interrupts it."""
        try:
            commands = parse(line)
        except ValueError as e:
            self.status = 2
            yield f"sh: {e}\n", 0.0
            return
        for operator, words in commands:
            if (operator == "&&" and self.status != 0) or (operator == "||" and self.status == 0):
                continue
            name, *arguments = [expand(word, self._value) for word in words]
            command = _COMMANDS.get(name, _unknown(name))
            self.status = 130  # of a command that Ctrl-C ends
            self.status = yield from command(self, arguments)
            if self.request:
                return

    def _value(self, name: str) -> str:
        values = {"?": str(self.status), "HOME": "/root", "USER": "root", "HOSTNAME": self._linux.hostname}
        return values.get(name, "")

    def _cat(self, arguments: list[str]) -> Job:
        status = 0
        for path in arguments:
            text = self._linux.read_file(path)
            status = status if text is not None else 1
            yield (f"cat: {path}: No such file or directory\n" if text is None else text), 0.0
        return status

    def _dmesg(self, arguments: list[str]) -> Job:
        yield from _bulk(iter(self._linux.messages))
        return 0

    def _echo(self, arguments: list[str]) -> Job:
        newline, words = ("", arguments[1:]) if arguments[:1] == ["-n"] else ("\n", arguments)
        yield " ".join(words) + newline, 0.0
        return 0

    def _help(self, arguments: list[str]) -> Job:
        yield " ".join(sorted(_COMMANDS)) + "\n", 0.0
        return 0

    def _hostname(self, arguments: list[str]) -> Job:
        yield f"{self._linux.hostname}\n", 0.0
        return 0

    def _seq(self, arguments: list[str]) -> Job:
        numbers = [_number(argument) for argument in arguments]
        if len(numbers) not in (1, 2) or not all(number.is_integer() for number in numbers):
            return (yield from _usage("seq [FIRST] LAST"))
        first = int(numbers[0]) if len(numbers) == 2 else 1
        yield from _bulk(f"{n}\n" for n in range(first, int(numbers[-1]) + 1))
        return 0

    def _sleep(self, arguments: list[str]) -> Job:
        seconds = _number(arguments[0]) if len(arguments) == 1 else -1.0
        if not 0 <= seconds < 1e9:
            return (yield from _usage("sleep SECONDS"))
        yield "", seconds
        return 0

    def _uname(self, arguments: list[str]) -> Job:
        name = self._linux.hostname
        answers = {"-s": "Linux", "-n": name, "-r": RELEASE, "-m": "aarch64"}
        answers["-a"] = f"Linux {name} {RELEASE} #1 SMP PREEMPT aarch64 GNU/Linux"
        option = arguments[0] if arguments else "-s"
        if option not in answers:
            return (yield from _usage(f"uname [{'|'.join(answers)}]"))
        yield answers[option] + "\n", 0.0
        return 0

    def _yes(self, arguments: list[str]) -> Job:
        line = (" ".join(arguments) or "y") + "\n"
        while True:
            yield line * max(1, _CHUNK // len(line)), 0.0


Command = Callable[[Shell, list[str]], Job]


def _unknown(name: str) -> Command:
    def command(shell: Shell, arguments: list[str]) -> Job:
        yield f"sh: {name}: not found\n", 0.0
        return 127

    return command


def _exits(status: int, request: Request | None = None) -> Command:
    def command(shell: Shell, arguments: list[str]) -> Job:
        shell.request = request
        yield "", 0.0
        return status

    return command


def _usage(text: str) -> Job:
    yield f"Usage: {text}\n", 0.0
    return 2


def _number(text: str) -> float:
    """The number, or nan."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _bulk(lines: Iterator[str]) -> Iterator[Step]:
    text = ""
    for line in lines:
        text += line
        if len(text) >= _CHUNK:
            yield text, 0.0
            text = ""
    yield text, 0.0


_COMMANDS: dict[str, Command] = {
    "cat": Shell._cat,
    "dmesg": Shell._dmesg,
    "echo": Shell._echo,
    "exit": _exits(0, Request.LOGOUT),
    "false": _exits(1),
    "help": Shell._help,
    "hostname": Shell._hostname,
    "poweroff": _exits(0, Request.POWEROFF),
    "reboot": _exits(0, Request.REBOOT),
    "seq": Shell._seq,
    "sleep": Shell._sleep,
    "true": _exits(0),
    "uname": Shell._uname,
    "yes": Shell._yes,
}
