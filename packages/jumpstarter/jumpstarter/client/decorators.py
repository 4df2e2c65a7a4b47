"""Click groups and commands of a driver's client: their help is the exporter's to override, their results are data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

import click

from .results import Text, print_result, returns_data

if TYPE_CHECKING:
    from .base import DriverClient

Function = Callable[..., Any]


def driver_click_group(client: DriverClient, **kwargs: Any) -> Callable[[Function], DriverClickGroup]:
    """Make the decorated function the click group of `client`; `kwargs` are click's.

    The driver's `description` overrides the group's help, its `methods_description` that of each subcommand.
    """

    def decorate(function: Function) -> DriverClickGroup:
        def make(*args: Any, **attributes: Any) -> DriverClickGroup:
            return DriverClickGroup(client, *args, **attributes)

        group: DriverClickGroup = click.command(**{"cls": make, **kwargs})(function)
        _describe(group, client.description)
        return group

    return decorate


def driver_click_command(
    client: DriverClient, *, text: Text = str, **kwargs: Any
) -> Callable[[Function], click.Command]:
    """Make the decorated function the one click command of `client`; the driver's `description` overrides its help.

    Data that it returns is printed, as by the commands of a DataGroup.
    """

    def decorate(function: Function) -> click.Command:
        command: click.Command = click.command(**kwargs)(function)
        _describe(command, client.description)
        return _print_data(command, function, text)

    return decorate


class DataGroup(click.Group):
    """A click group whose commands can return data instead of printing it.

    A command whose function is annotated to return anything but None and int gets the option --json, and what it
    returns or yields is printed: as JSON, or as `text` (by default `str`) makes of it. An int is the exit code of `j`.
    """

    group_class: type[click.Group | type] | None = type

    @overload
    def command(self, __func: Function) -> click.Command: ...

    @overload
    def command(self, *args: Any, text: Text = str, **kwargs: Any) -> Callable[[Function], click.Command]: ...

    def command(self, *args: Any, text: Text = str, **kwargs: Any) -> Any:
        """As click's, with `text` for people's form of the result."""
        made = super().command(*args, **kwargs)
        if isinstance(made, click.Command):
            return _print_data(made, args[0], text)
        return lambda function: _print_data(made(function), function, text)


class DriverClickGroup(DataGroup):
    """A DataGroup whose commands take their help from the driver's `methods_description`, where that has it.

    Texts are found by the command's name (`set-dtr`), the same with underscores, or the function's name.
    """

    group_class = DataGroup

    def __init__(self, client: DriverClient, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.client = client

    @overload
    def command(self, __func: Function) -> click.Command: ...

    @overload
    def command(self, *args: Any, text: Text = str, **kwargs: Any) -> Callable[[Function], click.Command]: ...

    def command(self, *args: Any, **kwargs: Any) -> Any:
        """As DataGroup's; the exporter's text wins over `help`, `short_help` and the docstring."""
        return self._described(super().command(*args, **kwargs), *args)

    @overload
    def group(self, __func: Function) -> click.Group: ...

    @overload
    def group(self, *args: Any, **kwargs: Any) -> Callable[[Function], click.Group]: ...

    def group(self, *args: Any, **kwargs: Any) -> Any:
        """As click's; the exporter's text wins as with `command`."""
        return self._described(super().group(*args, **kwargs), *args)

    def _described(self, made: Any, function: Any = None, *_: Any) -> Any:
        """`made`, a command, or a decorator that makes one, with the exporter's help."""
        if not isinstance(made, click.Command):
            return lambda function: self._described(made(function), function)
        name = made.name or ""
        texts = self.client.methods_description
        keys = (name, name.replace("-", "_"), getattr(function, "__name__", name))
        _describe(made, next((texts[key] for key in keys if key in texts), None))
        return made


def _print_data(command: click.Command, function: Any, text: Text) -> click.Command:
    if returns_data(function):
        print_result(command, text)
    return command


def _describe(command: click.Command, text: str | None) -> None:
    if text:
        command.help, command.short_help = text, None
