"""Click groups that import a command when it is used, and know it by its second names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from .completers import be_quick_and_silent
from .errors import invoke, run_command

LOG_LEVELS = click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False)
opt_log_level = click.option("--log-level", type=LOG_LEVELS, help="Least level of the log records to show.")

# Names that stand for each other, wherever a group has one of them.
SYNONYMS = (
    ("list", "ls"),
    ("create", "c"),
    ("import", "i"),
    ("get", "g"),
    ("admin", "a"),
    ("config", "conf"),
    ("delete", "del", "d"),
    ("shell", "sh", "s"),
    ("exporter", "exporters", "e"),
    ("client", "clients", "cl", "c"),
    ("lease", "leases", "l"),
    ("cluster", "clusters"),
    ("version", "ver", "v"),
    ("move", "mv"),
    ("remove", "rm"),
)


class Lazy(NamedTuple):
    """A command that is imported when it is used: `module:attribute`, and its line in the group's help."""

    path: str
    help: str


class LazyGroup(click.Group):
    """A group of the commands in `lazy`, of those that are added as usual, and of those that `plugins` finds.

    `plugins` is asked only for what the others do not answer: an unknown name, and the whole list.
    As a program its errors are one message on stderr; see `run_command`.
    """

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, Lazy] | None = None,
        plugins: Callable[[], Mapping[str, Lazy]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})
        self._plugins = plugins

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        prog_name = prog_name or os.path.basename(sys.argv[0])
        completing = be_quick_and_silent(prog_name)
        if completing or not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode, **extra)
        return run_command(lambda: invoke(self, args, prog_name))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._helps())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = _known_as(cmd_name, [*self.lazy, *self.commands])
        if name in self.commands:
            return self.commands[name]
        lazy = self.lazy.get(name) or self._plugged().get(name)
        return None if lazy is None else _load(name, lazy)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the command's own name for a synonym."""
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=self._helps(), ctx=ctx) from None
        return _known_as(name, [*self.lazy, *self.commands]) if name and command else name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        helps = list(self._helps().items())
        if helps:
            with formatter.section("Commands"):
                formatter.write_dl(helps)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        helps = [(name, text) for name, text in self._helps().items() if name.startswith(incomplete)]
        return [CompletionItem(name, help=text) for name, text in helps] + click.Command.shell_complete(
            self, ctx, incomplete
        )

    def _helps(self) -> dict[str, str]:
        """Names and help lines of all commands, none of which is imported for it."""
        own = {name: lazy.help for name, lazy in self.lazy.items()}
        added = {name: command.get_short_help_str(90) for name, command in self.commands.items() if not command.hidden}
        return {name: lazy.help for name, lazy in self._plugged().items()} | own | added

    def _plugged(self) -> Mapping[str, Lazy]:
        return self._plugins() if self._plugins is not None else {}


def _known_as(name: str, commands: list[str]) -> str:
    """The one of `commands` that `name` means, `name` itself where it means none."""
    return name if name in commands else next(_synonyms(name, commands), name)


def _synonyms(name: str, commands: list[str]) -> Iterator[str]:
    for names in SYNONYMS:
        if name in names:
            yield from (one for one in names if one in commands)


def _load(name: str, lazy: Lazy) -> click.Command:
    module, _, attribute = lazy.path.partition(":")
    try:
        command = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise click.ClickException(f"command {name}: {lazy.path} cannot be loaded: {reason}") from error
    if not isinstance(command, click.Command):
        raise click.ClickException(f"command {name}: {lazy.path} is no click command")
    return command
