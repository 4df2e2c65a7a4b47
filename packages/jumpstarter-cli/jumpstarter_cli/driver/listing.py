"""`jmp driver list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..output import Table, opt_output, show

if TYPE_CHECKING:
    from jumpstarter.config.registry import Offer


@click.command("list")
@opt_output()
def list_drivers(output: str | None) -> None:
    """List the installed drivers, broken ones with the reason."""
    from jumpstarter.config.registry import offers

    installed = offers()
    if output == "name":
        show(output, names=dict.fromkeys(offer.name for offer in installed))
        return
    found = [_row(offer) for offer in installed]
    columns = ("NAME", "TYPE", "PACKAGE", "VERSION", "CLIENT")
    rows = [
        (one["name"], one["type"], one["package"], one["version"], one.get("client") or f"broken: {one['error']}")
        for one in found
    ]
    show(output, found, text=Table(columns, rows) if rows else "No drivers are installed.")


def _row(offer: Offer) -> dict[str, str]:
    """What is known of a driver, with `client`, or with `error` where it cannot be used."""
    from jumpstarter.common.exceptions import ConfigurationError
    from jumpstarter.config.registry import driver_class

    from .describe import client_of, offered_type, quiet_imports

    found = {
        "name": offer.name,
        "type": offered_type(offer),
        "package": offer.package,
        "version": offer.version,
    }
    try:
        with quiet_imports():
            return found | {"client": client_of(driver_class(offer.name))}
    except ConfigurationError as error:
        return found | {"error": " ".join(str(error).split())}
