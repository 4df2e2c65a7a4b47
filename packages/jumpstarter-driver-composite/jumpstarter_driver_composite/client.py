"""The client of a driver that is nothing but its children."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from jumpstarter.client import DriverClient

if TYPE_CHECKING:
    import click

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class CompositeClient(DriverClient):
    """Its attributes are its children: `client.power` is `client.children["power"]`."""

    def cli(self) -> click.Group:
        """A command per child that has one, under the child's name."""
        import click
        from jumpstarter.client.commands import children_group

        def set_log_level(ctx: click.Context, param: click.Parameter, level: str | None) -> None:
            if level is not None:
                logging.basicConfig()
                logging.getLogger().setLevel(level.upper())

        group = children_group(self, "Generic composite device")
        levels = click.Choice(LOG_LEVELS, case_sensitive=False)
        group.params.append(
            click.Option(
                ["--log-level"], type=levels, expose_value=False, callback=set_log_level, help="Set the log level"
            )
        )
        return group
