"""`jmp driver show`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

import click

from ..completers import driver_names
from ..output import opt_output, show

if TYPE_CHECKING:
    from .describe import DriverInfo, Export, SettingInfo

_WIDTH = 120


@click.command("show")
@click.argument("name", shell_complete=driver_names)
@opt_output("json", "yaml")
def show_driver(name: str, output: str | None) -> None:
    """Describe a driver: what it offers its clients, and its configuration.

    NAME is that of an installed driver, as in `jmp driver list`, or the import path of a class.
    """
    from .describe import describe

    driver = describe(name)
    show(output, _plain(driver), text=_text(driver) if output is None else "")


def _plain(driver: DriverInfo) -> dict[str, Any]:
    from .example import example

    return {
        "name": driver.reference,
        "type": driver.type,
        "package": driver.package,
        "version": driver.version,
        "description": driver.description,
        "client": driver.client,
        "exports": [vars(one) for one in driver.exports],
        "configuration": [_plain_setting(one) for one in driver.settings],
        "takes_other_keys": driver.open,
        "example": example(driver) + "\n",
    }


def _plain_setting(setting: SettingInfo) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    told = {"name": setting.name, "type": setting.type, "required": setting.required}
    if setting.default is not MISSING:
        told["default"] = to_jsonable_python(setting.default, fallback=str)
    return told | {"description": setting.description}


def _text(driver: DriverInfo) -> str:
    from .example import example

    origin = f"{driver.package} {driver.version}".strip() or "not installed as a package"
    lines = [driver.reference, *_indented(driver.description), ""]
    lines += [f"type:    {driver.type}", f"package: {origin}", f"client:  {driver.client}"]
    for title, kind in (("Calls", "call"), ("Streaming calls", "streaming call"), ("Streams", "stream")):
        exports = [one for one in driver.exports if one.kind == kind]
        if exports:
            lines += ["", f"{title}:", *(line for one in exports for line in _export(one))]
    own = [one for one in driver.settings if not one.common]
    if own or driver.open:
        lines += ["", "Configuration:", *(line for one in own for line in _setting(one))]
    if driver.open:
        lines += ["  and any other key"]
    common = [one for one in driver.settings if one.common]
    lines += ["", "Configuration of every driver:", *(line for one in common for line in _setting(one))]
    return "\n".join([*lines, "", "In an exporter's file:", *_indented(example(driver))])


def _export(export: Export) -> Iterator[str]:
    yield f"  {export.name}{export.signature if export.kind != 'stream' else ''}"
    yield from _indented(export.description, 6)


def _setting(setting: SettingInfo) -> Iterator[str]:
    from .example import one_line

    need = "required" if setting.required else ""
    if not setting.required and setting.default is not MISSING:
        need = f"default {one_line(setting.default)}"
    yield f"  {setting.name}: {setting.type}{f' ({need})' if need else ''}"
    yield from _indented(setting.description, 6)


def _indented(text: str, by: int = 2) -> list[str]:
    """The lines of a text; those that are longer than a terminal is wide are broken."""
    broken = (textwrap.wrap(line, _WIDTH - by) if len(line) > _WIDTH - by else [line] for line in text.splitlines())
    return [f"{' ' * by}{line}".rstrip() for lines in broken for line in lines]
