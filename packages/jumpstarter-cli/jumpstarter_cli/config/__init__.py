"""`jmp config`: the files of clients and exporters."""

from __future__ import annotations

import click

from ..groups import Lazy, LazyGroup

_COMMANDS = {
    "client": Lazy("jumpstarter_cli.config.client:client", "Clients: whom you are towards which service"),
    "exporter": Lazy("jumpstarter_cli.config.exporter:exporter", "Exporters: which boards this machine serves"),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def config() -> None:
    """Create, list and change configuration files."""
