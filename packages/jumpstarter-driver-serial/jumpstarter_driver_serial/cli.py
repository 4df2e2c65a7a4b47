"""The commands of a serial console."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click
from anyio import BrokenResourceError
from jumpstarter.client import DriverClient
from jumpstarter.client.core import DriverError
from jumpstarter.client.decorators import driver_click_group

from .console import HINT, Console
from .terminal import Descriptors, join


def serial_group(client: DriverClient) -> click.Group:
    """`start-console` and `pipe` on the client's console."""
    group = _empty_group(client)

    @group.command()
    def start_console() -> None:
        """Use this terminal as the board's console; Ctrl-B three times leaves it."""
        if not sys.stdin.isatty():
            raise click.UsageError("start-console needs a terminal as standard input; without one use pipe")
        click.echo(HINT, err=True)
        with _told_plainly():
            Console(client).run()

    @group.command()
    @click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write to this file instead of to stdout.")
    @click.option("-i", "--input", "force_input", is_flag=True, help="Send stdin even if it is a terminal.")
    @click.option("--no-input", is_flag=True, help="Do not send stdin even if it is no terminal.")
    @click.option("-a", "--append", is_flag=True, help="Append to the output file.")
    @click.option("--no-output", is_flag=True, help="Only send stdin, and leave at its end.")
    def pipe(output: str | None, force_input: bool, no_input: bool, append: bool, no_output: bool) -> None:
        """Copy the console to stdout or a file, and stdin, if it is no terminal, to the console.

        \b
        j serial pipe -o serial.log                 log the console
        echo version | j serial pipe                send a command, show what follows
        j serial pipe --no-output < commands.txt    send commands and leave

        After the end of stdin it goes on until Ctrl-C, unless --no-output is given.
        """
        if no_input and (force_input or no_output):
            raise click.UsageError("--no-input goes with neither --input nor --no-output")
        if no_output and output is not None:
            raise click.UsageError("--no-output does not go with --output")
        if append and output is None:
            raise click.UsageError("--append needs --output")
        uses_input = force_input or no_output or not (no_input or sys.stdin.isatty())
        with _told_plainly(), _sink(output, append) as sink, suppress(KeyboardInterrupt):
            source = sys.stdin.fileno() if uses_input else None
            join(client, Descriptors(source, None if no_output else sink, leave_at_end=no_output))

    return group


def _empty_group(client: DriverClient) -> click.Group:
    @driver_click_group(client)
    def base() -> None:
        """Serial console"""

    return base


@contextmanager
def _sink(path: str | None, append: bool) -> Iterator[int]:
    if path is None:
        yield sys.stdout.fileno()
    else:
        with open(path, "ab" if append else "wb", buffering=0) as file:
            yield file.fileno()


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Errors of the driver and of files end the command with their text."""
    try:
        yield
    except (DriverError, BrokenResourceError, OSError) as error:
        raise click.ClickException(str(error)) from error
