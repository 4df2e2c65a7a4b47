"""The drivers of the installed packages: what `jmp driver show` tells of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING
from itertools import groupby

from jumpstarter.config.registry import Offer, offers
from jumpstarter_cli.driver.describe import DriverInfo, SettingInfo, describe

from .markdown import code, table


def installed() -> str:
    """A section for each package, and below it one for each of its drivers."""
    found = sorted(offers(), key=lambda offer: (offer.package, offer.name))
    parts: list[str] = []
    for package, drivers in groupby(found, lambda offer: offer.package):
        parts += [f"## {package}", *map(section, drivers)]
    return "\n\n".join(parts)


def section(offer: Offer) -> str:
    """One driver: what it is, how a file names it, its settings, and what clients can call."""
    driver = describe(offer.name)
    return "\n\n".join([f"### {offer.name}", driver.description, names(driver), *tables(driver)])


def names(driver: DriverInfo) -> str:
    return f"`type: {driver.reference}` or `type: {driver.type}`; client {code(driver.client)}"


def tables(driver: DriverInfo) -> Iterator[str]:
    settings = [setting for setting in driver.settings if not setting.common]
    if settings:
        rows = ([code(one.name), code(one.type), default(one), one.description] for one in settings)
        yield table(["setting", "type", "default", ""], rows)
    if driver.exports:
        rows = ([code(one.name + one.signature), one.kind, one.description] for one in driver.exports)
        yield table(["method", "kind", ""], rows)


def default(setting: SettingInfo) -> str:
    if setting.required:
        return "required"
    return "" if setting.default is MISSING else code(repr(setting.default))
