"""A tree of clients as a tree of click commands."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import click

from .base import DriverClient, StubDriverClient
from .decorators import DriverClickGroup, driver_click_group


def command_of(client: DriverClient) -> click.Command:
    """What `client` offers on the command line: its own `cli()`, else a group of its children.

    click.UsageError, naming the reason, where it has neither.
    """
    own = getattr(type(client), "cli", None)
    if own is not None:
        command = own(client)
        if not isinstance(command, click.Command):
            raise click.UsageError(f"cli() of {type(client).__name__} gives no click command")
        return command
    if client.children:
        return children_group(client)
    if isinstance(client, StubDriverClient):
        raise click.UsageError(client.missing)
    raise click.UsageError(f"its client {type(client).__name__} has no commands, only methods to use from Python")


def children_group(client: DriverClient, help: str = "A group of drivers") -> DriverClickGroup:
    """A group with a command for each child of `client` that has any; the driver's description overrides `help`."""

    def nothing() -> None:
        """What all children share is done by the program around them."""

    return driver_click_group(client, name=client.name, help=help, commands=ChildCommands(client))(nothing)


class ChildCommands(MutableMapping[str, click.Command]):
    """Commands of the children of `client` by name, each made when it is first asked for.

    A child without commands is not listed; asked for by name, it gives a command that tells why.
    """

    def __init__(self, client: DriverClient) -> None:
        self._client = client
        self._made: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._made:
            self._made[name] = _child_command(name, self._client.children[name])
        return self._made[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        listed = [name for name, child in self._client.children.items() if has_commands(child)]
        return iter(dict.fromkeys([*listed, *(name for name, command in self._made.items() if not command.hidden)]))

    def __len__(self) -> int:
        return len(list(iter(self)))


def has_commands(client: DriverClient) -> bool:
    """Whether there is anything to run on `client` or below it."""
    return hasattr(type(client), "cli") or any(map(has_commands, client.children.values()))


def _child_command(name: str, child: DriverClient) -> click.Command:
    try:
        return command_of(child)
    except click.UsageError as error:
        return _refusal(f"{name}: {error.message}")
    except Exception as error:
        return _refusal(f"{name}: its commands cannot be made: {type(error).__name__}: {error}")


def _refusal(message: str) -> click.Command:
    def refuse(args: Any) -> None:
        raise click.UsageError(message)

    everything = click.Argument(["args"], nargs=-1, type=click.UNPROCESSED)
    settings = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    return click.Command(
        None, callback=refuse, params=[everything], add_help_option=False, hidden=True, context_settings=settings
    )
