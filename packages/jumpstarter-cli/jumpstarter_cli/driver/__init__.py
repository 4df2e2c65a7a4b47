"""`jmp driver`: what is installed, what it can do, and a start for drivers of one's own."""

from __future__ import annotations

import click

from ..groups import Lazy, LazyGroup, opt_log_level

COMMANDS = {
    "list": Lazy("jumpstarter_cli.driver.listing:list_drivers", "List the installed drivers"),
    "show": Lazy("jumpstarter_cli.driver.show:show_driver", "Describe a driver: what it offers, its configuration"),
    "schema": Lazy("jumpstarter_cli.driver.schema:print_schema", "Print a JSON Schema of the exporter file"),
    "new": Lazy("jumpstarter_cli.driver.new:new", "Start a driver package of your own"),
    "version": Lazy("jumpstarter_cli.version:version", "Print the version"),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
@opt_log_level
def driver(log_level: str | None) -> None:
    """List, describe and create drivers."""
    if log_level is not None:
        import logging

        logging.getLogger().setLevel(log_level)
