"""The keys of a file, from the model that reads it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, get_args

from jumpstarter_cli.driver.docs import parse_docstring
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .markdown import code, table


def keys(path: str) -> str:
    """A table for the model at an import path, and one for each model below it."""
    module, _, name = path.rpartition(".")
    return "\n\n".join(section(prefix, model) for prefix, model in models(getattr(import_module(module), name)))


def models(
    model: type[BaseModel], prefix: str = "", seen: tuple[type, ...] = ()
) -> Iterator[tuple[str, type[BaseModel]]]:
    """The model and those below it, each with the dotted key that leads there."""
    yield prefix, model
    for key, field in fields(model).items():
        for below, suffix in models_in(field.annotation):
            if below not in (*seen, model):
                yield from models(below, f"{prefix}{key}.{suffix}", (*seen, model))


def fields(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The keys that a file may have, with their fields."""
    return {
        field.validation_alias if isinstance(field.validation_alias, str) else field.alias or name: field
        for name, field in model.model_fields.items()
        if not field.exclude
    }


def models_in(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The models that a key's value may be or hold, each with what stands for the names in between."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    for argument in get_args(annotation):
        for model, suffix in models_in(argument):
            yield model, f"NAME.{suffix}" if annotation_is_mapping(annotation) else suffix


def annotation_is_mapping(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is dict


def section(prefix: str, model: type[BaseModel]) -> str:
    """One mapping of a file, with a row for each of its keys."""
    known = fields(model)
    written = parse_docstring(inspect.getdoc(model) or "", known)
    schema = model.model_json_schema(by_alias=True)
    properties = schema.get("properties") or schema["$defs"][model.__name__]["properties"]
    rows = []
    for key, field in known.items():
        meaning = written.settings.get(key) or field.description or ""
        rows.append([code(prefix + key), kind(properties[key]), default(field), meaning])
    heading = f"### {code(prefix.rstrip('.'))}" if prefix else ""
    return "\n\n".join(filter(None, [heading, written.text, table(["key", "type", "default", ""], rows)]))


def default(field: FieldInfo) -> str:
    """A field's default as a file would have it; nothing for one that is empty anyway."""
    if field.is_required():
        return "required"
    value = field.default
    return (
        "" if value in (None, "", PydanticUndefined) else code(value if isinstance(value, str) else json.dumps(value))
    )


def kind(schema: Mapping[str, Any]) -> str:
    """The type of a value in words."""
    if "$ref" in schema or "allOf" in schema:
        return "mapping"
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return " or ".join(map(code, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(option) for option in schema["anyOf"] if option.get("type") != "null"))
    names = {"string": "text", "object": "mapping", "array": "list", "boolean": "true or false"}
    name = str(names.get(schema.get("type", ""), schema.get("type", "anything")))
    if "items" in schema:
        name += f" of {kind(schema['items'])}"
    return name + bounds(schema)


def bounds(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return "".join(f", {sign} {schema[name]}" for name, sign in signs.items() if name in schema)
