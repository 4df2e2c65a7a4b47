"""`j`: the drivers of the exporter that the surrounding shell is connected to, as commands."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from .completers import be_quick_and_silent
from .errors import FAILED, invoke, run_command
from .groups import LOG_LEVELS


def j() -> NoReturn:
    """Run the command that the arguments name.

    Exit code: what the command returned where that is an int, else 0; 1 for errors, 2 when interrupted.
    """
    completing = be_quick_and_silent("j")
    run_command(lambda: _run(completing), usage_code=FAILED)


def _run(completing: bool) -> Any:
    from jumpstarter.config.env import JUMPSTARTER_HOST, environment

    here = environment()
    if here.get(JUMPSTARTER_HOST) is None:
        raise click.ClickException(
            "the j command must be used inside a jmp shell; start one with `jmp shell --exporter-config FILE`"
        )
    if here.quiet:
        from .logs import configure_logging

        configure_logging()
    from jumpstarter.client.commands import command_of
    from jumpstarter.utils.env import env

    with env() as client:
        command = command_of(client)
        _add_options(command)
        return command.main(prog_name="j") if completing else invoke(command, None, "j")


def _add_options(command: click.Command) -> None:
    """Those that j has whatever the root driver is."""
    known = {name for param in command.params for name in param.opts}
    options = [
        click.Option(
            ["--log-level"],
            type=LOG_LEVELS,
            expose_value=False,
            callback=_set_level,
            help="Least level of log records.",
        ),
        click.Option(
            ["--quiet", "-q"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_set_quiet,
            help="Show no progress.",
        ),
    ]
    command.params.extend(option for option in options if not known.intersection(option.opts))


def _set_level(ctx: click.Context, param: click.Parameter, level: str | None) -> None:
    if level is not None:
        from .logs import configure_logging

        configure_logging(level)


def _set_quiet(ctx: click.Context, param: click.Parameter, quiet: bool) -> None:
    if quiet:
        from .logs import configure_logging, set_quiet

        set_quiet()
        configure_logging()
