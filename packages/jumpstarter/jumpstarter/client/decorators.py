"""Click groups and commands of a driver's client, whose help the exporter's owner can override."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

import click

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


def driver_click_command(client: DriverClient, **kwargs: Any) -> Callable[[Function], click.Command]:
    """Make the decorated function the one click command of `client`; the driver's `description` overrides its help."""

    def decorate(function: Function) -> click.Command:
        command: click.Command = click.command(**kwargs)(function)
        _describe(command, client.description)
        return command

    return decorate


class DriverClickGroup(click.Group):
    """A click group whose commands take their help from the driver's `methods_description`, where that has it.

    Texts are found by the command's name (`set-dtr`), the same with underscores, or the function's name.
    """

    def __init__(self, client: DriverClient, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.client = client

    @overload
    def command(self, __func: Function) -> click.Command: ...

    @overload
    def command(self, *args: Any, **kwargs: Any) -> Callable[[Function], click.Command]: ...

    def command(self, *args: Any, **kwargs: Any) -> Any:
        """As click's; the exporter's text wins over `help`, `short_help` and the docstring."""
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


def _describe(command: click.Command, text: str | None) -> None:
    if text:
        command.help, command.short_help = text, None
