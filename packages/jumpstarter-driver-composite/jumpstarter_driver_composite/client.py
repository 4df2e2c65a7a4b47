"""The client of a driver that is nothing but its children."""

from __future__ import annotations

import logging
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from jumpstarter.client import DriverClient
from jumpstarter.client.base import StubDriverClient

if TYPE_CHECKING:
    import click

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class CompositeClient(DriverClient):
    """Its attributes are its children: `client.power` is `client.children["power"]`."""

    def __getattr__(self, name: str) -> Any:
        children: dict[str, DriverClient] = self.__dict__.get("children", {})
        if name in children:
            return children[name]
        near = get_close_matches(name, children, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        names = ", ".join(map(repr, children)) or "none"
        raise AttributeError(f"{type(self).__name__} has no attribute or child {name!r}{hint} (children: {names})")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.children]

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
