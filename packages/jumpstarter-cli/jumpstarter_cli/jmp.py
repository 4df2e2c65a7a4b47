"""`jmp`: exporters, shells, drivers and configuration."""

from __future__ import annotations

import sys

import click

from .groups import Lazy, LazyGroup, opt_log_level
from .plugins import commands

COMMANDS = {
    "shell": Lazy("jumpstarter_cli.shell:shell", "Open a shell, or run a command, connected to an exporter"),
    "run": Lazy("jumpstarter_cli.run:run", "Serve an exporter to clients on the network"),
    "exporter": Lazy("jumpstarter_cli.exporter:exporter", "Check an exporter's file and its devices"),
    "config": Lazy("jumpstarter_cli.config:config", "Create, list and change configuration files"),
    "driver": Lazy("jumpstarter_cli.driver:driver", "List, describe and create drivers"),
    "completion": Lazy("jumpstarter_cli.completion:completion", "Print a shell's completion script"),
    "version": Lazy("jumpstarter_cli.version:version", "Print the version"),
}
# Those that have nothing to log: they start without it.
_QUICK = {"completion", "version"}
_SERVICES = {"run"}


@click.group(cls=LazyGroup, lazy=COMMANDS, plugins=commands)
@opt_log_level
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    show_default=True,
    help="Format of log records; auto: JSON for `run` where stderr is no terminal, else text.",
)
@click.option("--quiet", "-q", is_flag=True, help="Show no progress, no notices and no warnings.")
@click.pass_context
def jmp(ctx: click.Context, log_level: str | None, log_format: str, quiet: bool) -> None:
    """Connect to boards, and share them with others."""
    if ctx.invoked_subcommand in _QUICK:
        return
    from .logs import configure_logging, set_quiet

    if quiet:
        set_quiet()
    service = ctx.invoked_subcommand in _SERVICES
    as_json = log_format == "json" or (log_format == "auto" and service and not sys.stderr.isatty())
    configure_logging(log_level, "json" if as_json else "text")
