"""`jmp exporter`: is the file right, and do the devices answer?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .completers import exporter_aliases
from .groups import LazyGroup
from .options import ConfigChoice, FilePath, Seconds
from .output import Table, opt_output, show

if TYPE_CHECKING:
    from jumpstarter.config.exporter import ExporterConfigV1Alpha1

    from .probe import Row

_HELP = """Check an exporter's file: FILE, or that of --exporter ALIAS. All mistakes are told at once.

With --probe each driver of the file is tried on its own, in a process of its own: it is made, reset as at the start of
a lease, asked for its report over a private socket, and closed. Nothing else of it is called, except an exported
method `probe()` where the driver has one: it is to change nothing, and returns what to show or raises. What does not
end in time is told and ended. The exit code is 1 where anything failed.
"""


@click.group(cls=LazyGroup)
def exporter() -> None:
    """Check an exporter's file and its devices."""


@exporter.command(help=_HELP, short_help="Check an exporter's file and, with --probe, its devices")
@click.argument("file", required=False, type=FilePath())
@click.option(
    "--exporter", "alias", metavar="ALIAS", shell_complete=exporter_aliases, help="Exporter configuration to check."
)
@click.option("--probe", is_flag=True, help="Also try each driver.")
@click.option(
    "--timeout",
    type=Seconds(),
    default=30.0,
    show_default=True,
    help="Seconds for each step of a probe.",
)
@opt_output("json", "yaml")
@click.pass_context
def check(
    ctx: click.Context, file: Path | None, alias: str | None, probe: bool, timeout: float, output: str | None
) -> int:
    """Check an exporter's file."""
    from .driver.describe import quiet_imports
    from .probe import listed, probed

    if (file is None) == (alias is None):
        raise click.UsageError("give a FILE or --exporter ALIAS")
    with quiet_imports():
        config = ConfigChoice(exporter=alias, exporter_config=file).load_exporter()
        config.check()
        _tell(f"{config.path}: no mistakes found")
        rows = probed(config, timeout) if probe else listed(config)
    failed = sum(row.failed for row in rows)
    if probe or failed or output is not None:
        show(output, [_plain(row) for row in rows], text=_table(rows))
    if probe or failed:
        _tell(_summary(config, rows, failed))
    return 1 if failed else 0


def _plain(row: Row) -> dict[str, str | None]:
    plain = {"path": row.path} | asdict(row)
    return {key: value for key, value in plain.items() if key != "names" and (value is not None or key == "client")}


def _table(rows: list[Row]) -> Table:
    shown = [
        (
            "  " * (len(row.names) - 1) + row.names[-1],
            row.type,
            row.client or "",
            row.status,
            " ".join((row.detail or "").split()),
        )
        for row in rows
    ]
    return Table(("NAME", "TYPE", "CLIENT", "STATUS", "DETAIL"), shown)


def _summary(config: ExporterConfigV1Alpha1, rows: list[Row], failed: int) -> str:
    if failed:
        return f"{config.path}: {failed} of {sum(row.status != 'group' for row in rows)} failed"
    return f"{config.path}: every driver answers" if rows else f"{config.path}: there is no driver in it"


def _tell(line: str) -> None:
    from jumpstarter.config.env import environment

    if not environment().quiet:
        click.echo(line, err=True)
