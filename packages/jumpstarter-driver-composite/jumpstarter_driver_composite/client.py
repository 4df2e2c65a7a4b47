"""The client of a driver that is nothing but its children."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from jumpstarter.client import DriverClient
from jumpstarter.client.base import StubDriverClient

if TYPE_CHECKING:
    import click

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class CompositeClient(DriverClient):
    """Its attributes are its children: `client.power` is `client.children["power"]`."""

    def cli(self) -> click.Group:
        """A command per child that has one, under the child's name."""
        import click
        from jumpstarter.client.decorators import driver_click_group

        @driver_click_group(self)
        @click.option("--log-level", type=click.Choice(LOG_LEVELS, case_sensitive=False), help="Set the log level")
        def base(log_level: str | None) -> None:
            """Generic composite device"""
            if log_level is not None:
                logging.basicConfig()
                logging.getLogger().setLevel(log_level.upper())

        for name, child in self.children.items():
            if hasattr(child, "cli") and not isinstance(child, StubDriverClient):
                base.add_command(child.cli(), name)
        return base
