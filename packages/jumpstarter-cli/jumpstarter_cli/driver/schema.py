"""`jmp driver schema`: the exporter file as editors understand it, with the settings of every installed driver."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from typing import Any

import click

from ..completers import driver_names

Json = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FILE = "ExporterConfigV1Alpha1"
_ENTRY = "ExporterConfigV1Alpha1DriverInstance"
_IMPORT_PATH = r"^[^.]+(\.[^.]+)+$"
_HELP = """Print a JSON Schema (draft 2020-12) of the exporter file, or of one driver's `config`.

\b
It knows the settings of every driver that is installed here. Editors with a YAML language server use it
after a first line in the exporter's file:
    jmp driver schema > exporter.schema.json
    # yaml-language-server: $schema=exporter.schema.json
"""


@click.command("schema", help=_HELP, short_help="Print a JSON Schema of the exporter file")
@click.argument("name", required=False, shell_complete=driver_names)
def print_schema(name: str | None) -> None:
    """Print a schema as JSON."""
    import json

    click.echo(json.dumps(exporter_schema() if name is None else config_schema(name), indent=2))


@dataclass(frozen=True)
class _Known:
    """A driver, all that a file may call it, and what its `config` is called in `$defs`."""

    cls: Any
    types: tuple[str, ...]
    definition: str


def exporter_schema() -> Json:
    """The schema of an exporter's file, `config` of the installed drivers included."""
    from jumpstarter.config.exporter import ExporterConfigV1Alpha1
    from pydantic import TypeAdapter

    drivers = list(_installed())
    made, definitions = _generate([one.cls for one in drivers], {_FILE: TypeAdapter(ExporterConfigV1Alpha1)})
    file = made[_FILE]
    if "$ref" in file:
        file = definitions.pop(_FILE)
    for driver in drivers:
        definitions[driver.definition] = _config(driver.cls, made)
    definitions[_ENTRY] = _entry(definitions[_ENTRY], drivers, definitions)
    return {"$schema": _DIALECT, "title": "Jumpstarter exporter", **file, "$defs": definitions}


def config_schema(reference: str) -> Json:
    """The schema of one driver's `config`; ConfigurationError where there is no such driver."""
    from jumpstarter.config.registry import driver_class

    from .describe import quiet_imports

    with quiet_imports():
        cls = driver_class(reference)
    made, definitions = _generate([cls], {})
    schema = {"$schema": _DIALECT, "title": reference, **_config(cls, made)}
    return {**schema, "$defs": definitions} if definitions else schema


def _installed() -> Iterator[_Known]:
    """The drivers that a file can name and an exporter can make."""
    from jumpstarter.common.exceptions import ConfigurationError
    from jumpstarter.config.registry import driver_class, offers

    from .describe import import_path, offered_type, quiet_imports

    types: dict[Any, dict[str, None]] = {}
    with quiet_imports():
        for offer in offers():
            try:
                cls = driver_class(offer.name)
            except ConfigurationError:
                continue
            if not inspect.isabstract(cls):
                found = dict.fromkeys((offer.name, offered_type(offer), import_path(cls)))
                types[cls] = types.get(cls, {}) | found
    for cls, found in types.items():
        names = tuple(found)
        yield _Known(cls, names, f"{names[0]}.config")


def _generate(classes: list[Any], others: Mapping[str, Any]) -> tuple[dict[Any, Json], Json]:
    """The schemas of `others`, and by (class, key) those of the settings that have a type; and their definitions."""
    from jumpstarter.config.settings import settings_of
    from pydantic import TypeAdapter

    from .lax import LaxJsonSchema

    inputs: list[Any] = [(key, "validation", adapter) for key, adapter in others.items()]
    for cls in classes:
        known = settings_of(cls).known.values()
        inputs += [((cls, one.name), "validation", one.adapter) for one in known if one.adapter is not None]
    made, definitions = TypeAdapter.json_schemas(inputs, schema_generator=LaxJsonSchema)
    return {key: schema for (key, _), schema in made.items()}, definitions.get("$defs", {})


def _config(cls: Any, made: Mapping[Any, Json]) -> Json:
    """The schema of a driver's `config`."""
    from jumpstarter.config.settings import BESIDE, settings_of

    from .describe import settings_info
    from .docs import description_of

    settings = settings_of(cls)
    properties: Json = {key: {"not": {}} for key in sorted(BESIDE)} if settings.open else {}
    for one in settings_info(cls):
        told = {"description": one.description, "default": _plain(one.default)}
        properties[one.name] = made.get((cls, one.name), {}) | {key: value for key, value in told.items() if value}
    return {
        "type": "object",
        "description": description_of(cls, settings.known),
        "properties": properties,
        "required": [name for name, setting in settings.known.items() if setting.required],
        "additionalProperties": settings.open,
    }


def _entry(plain: Json, drivers: list[_Known], definitions: Json) -> Json:
    """The schema of an entry of the tree: its three forms, and `config` by `type`."""
    properties = dict(plain["properties"])
    names = [name for driver in drivers for name in driver.types[:1]]
    texts = [definitions[driver.definition]["description"] for driver in drivers for _ in driver.types[:1]]
    properties["type"] = {
        "description": properties["type"].get("description", ""),
        "anyOf": [
            {"enum": names, "enumDescriptions": texts},
            {"type": "string", "pattern": _IMPORT_PATH},
            {"type": "null"},
        ],
    }
    return {**plain, "properties": properties, "allOf": [_forms(), *map(_by_type, drivers)]}


def _forms() -> Json:
    """`ref` alone, a driver by its `type`, or a group with `children`; null is as if the key were not there."""

    def given(key: str) -> Json:
        return {"required": [key], "properties": {key: {"type": "string"}}}

    def without(*keys: str) -> Json:
        return {key: {"not": {}} for key in keys}

    null = {"type": "null"}
    reference = {"type": null, "description": null, **without("methods_description", "config", "children")}
    group = {"required": ["children"], "properties": without("methods_description", "config")}
    return {
        "if": given("ref"),
        "then": {"properties": reference},
        "else": {"if": given("type"), "else": group},
    }


def _by_type(driver: _Known) -> Json:
    config: Json = {"properties": {"config": {"$ref": f"#/$defs/{driver.definition}"}}}
    if _needs_config(driver):
        config["required"] = ["config"]
    return {"if": {"required": ["type"], "properties": {"type": {"enum": list(driver.types)}}}, "then": config}


def _needs_config(driver: _Known) -> bool:
    from jumpstarter.config.settings import settings_of

    return any(setting.required for setting in settings_of(driver.cls).known.values())


def _plain(default: Any) -> Any:
    """A default as JSON has it; None where there is none."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    if default is MISSING:
        return None
    try:
        return to_jsonable_python(default)
    except (PydanticSerializationError, ValueError):
        return None
