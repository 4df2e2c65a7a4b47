"""The commands in the text of the pages, and in what does not run, exist with all their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from doc_blocks import all_blocks, inline_code, name_of, pages
from jumpstarter.client.commands import command_of
from jumpstarter.common.utils import serve
from jumpstarter_cli.jmp import jmp
from jumpstarter_driver_composite.driver import Composite
from jumpstarter_driver_network.driver import EchoNetwork
from jumpstarter_driver_power.driver import CommandPower
from jumpstarter_driver_serial.driver import Serial

# A part of a command that stands for others.
PLACEHOLDER = re.compile(r"^(\.\.\.|[A-Z]+|FILE)$")


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, click.Command]]:
    """`jmp`, and `j` with the names that the pages use."""
    power = CommandPower(power_on="true", power_off="true", methods_description={"rescue": "Start the rescue system"})
    console, network = Serial(url="loop://"), EchoNetwork()
    board = Composite(children={"power": CommandPower(power_on="true", power_off="true")})
    children = {"power": power, "console": console, "serial": console, "ssh": network, "board": board}
    with serve(Composite(children=children)) as client:
        yield {"jmp": jmp, "j": command_of(client)}


def check(program: click.Command, words: list[str]) -> None:
    """Fail for a command or an option that there is not."""
    command, options, rest = program, options_of(program), iter(words)
    for word in rest:
        if word == "--" or PLACEHOLDER.match(word):
            break
        if word.startswith("-"):
            name, _, value = word.partition("=")
            assert name in options, word
            if options[name] and not value:
                next(rest, None)
        elif isinstance(command, click.Group):
            below = command.get_command(click.Context(command), word)
            assert below is not None, word
            command, options = below, options | options_of(below)


def options_of(command: click.Command) -> dict[str, bool]:
    """The options of a command, each with whether a value follows it."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    takes_value = {
        name: not one.is_flag and not one.count for one in options for name in [*one.opts, *one.secondary_opts]
    }
    return {"--help": False} | takes_value


def commands_in(text: str) -> Iterator[list[str]]:
    """The calls of `jmp` and `j` in one piece of code."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\||;", line):
            words = shlex.split(part, comments=True)
            if words and Path(words[0]).name in ("jmp", "j"):
                yield words


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_commands_in_the_text_exist(page: Path, programs: dict[str, click.Command]) -> None:
    for code in inline_code(page):
        if re.match(r"jmp |j ", code):
            for name, *words in commands_in(code):
                check(programs[name], words)


def test_the_systemd_unit_starts_a_command_that_exists(programs: dict[str, click.Command]) -> None:
    lines = [line for block in all_blocks() if block.language == "ini" for line in block.code.splitlines()]
    starts = [line.partition("=")[2] for line in lines if line.startswith("ExecStart=")]
    assert starts
    for start in starts:
        [(_, *words)] = commands_in(start)
        check(programs["jmp"], words)


def test_commands_that_do_not_run_exist(programs: dict[str, click.Command]) -> None:
    for block in all_blocks():
        if block.not_run:
            for line in block.code.splitlines():
                for name, *words in commands_in(re.sub(r"^\s*(\$|-) ", "", line)):
                    check(programs[Path(name).name], words)
