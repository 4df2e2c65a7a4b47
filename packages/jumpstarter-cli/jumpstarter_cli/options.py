"""Options that several commands have: which client or exporter is meant."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from .completers import client_aliases, exporter_aliases

if TYPE_CHECKING:
    from jumpstarter.config.client import ClientConfigV1Alpha1
    from jumpstarter.config.exporter import ExporterConfigV1Alpha1

F = TypeVar("F", bound=Callable[..., Any])

_LONGEST_SECONDS = 24 * 60 * 60


class FilePath(click.Path):
    """The path of a file, as a Path; an empty one, as of a variable that is not set, is a usage error."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(value, param, ctx) if value else self.fail("expected a path, this is empty", param, ctx)


class Seconds(click.FloatRange):
    """A time to wait: more than nothing, and at most a day."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True, max=_LONGEST_SECONDS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        return seconds if seconds == seconds else self.fail("expected a number", param, ctx)


_FILE = FilePath(dir_okay=False)


class ConfigChoice(NamedTuple):
    """What the command line says about the configuration to use: at most one of the four is given."""

    client: str | None = None
    client_config: Path | None = None
    exporter: str | None = None
    exporter_config: Path | None = None

    @property
    def is_exporter(self) -> bool:
        """Whether an exporter is meant, and no client."""
        return self.exporter is not None or self.exporter_config is not None

    @property
    def is_client(self) -> bool:
        """Whether a client is named."""
        return self.client is not None or self.client_config is not None

    def load_exporter(self) -> ExporterConfigV1Alpha1:
        """The exporter's configuration; ConfigurationError for all mistakes in it."""
        from jumpstarter.config.exporter import ExporterConfigV1Alpha1

        if self.exporter_config is not None:
            return ExporterConfigV1Alpha1.load_path(self.exporter_config)
        if self.exporter is not None:
            return ExporterConfigV1Alpha1.load(self.exporter)
        raise click.UsageError("give --exporter ALIAS or --exporter-config PATH")

    def load_client(self) -> ClientConfigV1Alpha1:
        """The client's configuration: the one named, else that of the environment (JMP_*), else the user's current."""
        from jumpstarter.config.client import ClientConfigV1Alpha1

        if self.client_config is not None:
            return ClientConfigV1Alpha1.from_file(self.client_config)
        if self.client is not None:
            return ClientConfigV1Alpha1.load(self.client)
        return current_client()


def current_client() -> ClientConfigV1Alpha1:
    """The client of the environment (JMP_ENDPOINT and its like), else the user's current one; else a usage error."""
    from jumpstarter.config.client import ClientConfigV1Alpha1
    from jumpstarter.config.env import JMP_ENDPOINT, environment
    from jumpstarter.config.user import UserConfigV1Alpha1

    if environment().get(JMP_ENDPOINT) is not None:
        return ClientConfigV1Alpha1.from_env()
    if UserConfigV1Alpha1.exists():
        current = UserConfigV1Alpha1.load().config.current_client
        if current is not None:
            return current
    raise click.UsageError(
        "no client is chosen: give --client ALIAS or --client-config PATH, or choose one for all commands "
        "with `jmp config client use ALIAS`"
    )


def opt_config(*, client: bool = True, exporter: bool = True) -> Callable[[F], F]:
    """Options that choose a client's or an exporter's configuration; the command gets a ConfigChoice as `config`.

    Two of them at once are a usage error; whether none is one, the command decides by what it loads.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def chosen(*args: Any, **kwargs: Any) -> Any:
            given = {name: kwargs.pop(name, None) for name in ConfigChoice._fields}
            names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
            if len(names) > 1:
                raise click.UsageError(f"{' and '.join(names)} exclude each other")
            return function(*args, config=ConfigChoice(**given), **kwargs)

        command: Any = chosen
        if client:
            command = click.option("--client-config", type=_FILE, metavar="PATH", help="Client file to use.")(command)
            command = click.option(
                "--client", metavar="ALIAS", shell_complete=client_aliases, help="Client configuration to use."
            )(command)
        if exporter:
            command = click.option("--exporter-config", type=_FILE, metavar="PATH", help="Exporter file to use.")(
                command
            )
            command = click.option(
                "--exporter", metavar="ALIAS", shell_complete=exporter_aliases, help="Exporter configuration to use."
            )(command)
        return command  # type: ignore[no-any-return]

    return decorate
