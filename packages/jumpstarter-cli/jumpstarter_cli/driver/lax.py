"""JSON Schema of what pydantic takes from a file in its lax mode: "8080" for an int, `yes` for a boolean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jumpstarter.config.common import Strict
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from .docs import parse_docstring

Json = dict[str, Any]

_INTEGER = r"^\s*[-+]?[0-9]+(_[0-9]+)*(\.0+)?\s*$"
_NUMBER = r"^\s*[-+]?([0-9]+(_[0-9]+)*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$|^\s*[-+]?([Ii]nf(inity)?|[Nn]a[Nn])\s*$"
_BOOLEAN = r"^([Oo][Nn]|[Oo][Ff]{2}|[Yy]([Ee][Ss])?|[Nn][Oo]?|[Tt]([Rr][Uu][Ee])?|[Ff]([Aa][Ll][Ss][Ee])?|0|1)$"
_UUID = r"^(urn:uuid:)?\{?[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?$"
_ANYTHING: Json = {}
_NOTHING: Json = {"not": {}}
# What stands for the fields of a class, within that for the class.
_PARTS = ("model-fields", "dataclass-args", "typed-dict")


class LaxJsonSchema(GenerateJsonSchema):
    """What cannot be told in a schema is let through: a schema is to refuse nothing that the exporter takes."""

    def int_schema(self, schema: Any) -> JsonSchemaValue:
        return _or_text(schema, super().int_schema(schema), _INTEGER, {"type": "boolean"})

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        return _or_text(schema, super().float_schema(schema), _NUMBER, {"type": "boolean"})

    def bool_schema(self, schema: Any) -> JsonSchemaValue:
        return _or_text(schema, super().bool_schema(schema), _BOOLEAN, {"enum": [0, 1]})

    def uuid_schema(self, schema: Any) -> JsonSchemaValue:
        return {"type": "string", "pattern": _UUID}

    def date_schema(self, schema: Any) -> JsonSchemaValue:
        return {"type": ["string", "number"]}

    time_schema = datetime_schema = timedelta_schema = date_schema

    def bytes_schema(self, schema: Any) -> JsonSchemaValue:
        return {"type": "string"}

    def set_schema(self, schema: Any) -> JsonSchemaValue:
        return {key: value for key, value in super().set_schema(schema).items() if key != "uniqueItems"}

    def frozenset_schema(self, schema: Any) -> JsonSchemaValue:
        return {key: value for key, value in super().frozenset_schema(schema).items() if key != "uniqueItems"}

    def is_instance_schema(self, schema: Any) -> JsonSchemaValue:
        return _NOTHING

    def callable_schema(self, schema: Any) -> JsonSchemaValue:
        return _NOTHING

    def function_before_schema(self, schema: Any) -> JsonSchemaValue:
        # A function that sees the value first may take what the type behind it would not.
        if schema["schema"]["type"] in _PARTS:
            return super().function_before_schema(schema)
        return _ANYTHING if schema.get("json_schema_input_schema") is None else super().function_before_schema(schema)

    def function_wrap_schema(self, schema: Any) -> JsonSchemaValue:
        return _ANYTHING if schema.get("json_schema_input_schema") is None else super().function_wrap_schema(schema)

    def dataclass_schema(self, schema: Any) -> JsonSchemaValue:
        return _ANYTHING if schema["schema"]["type"] == "function-before" else super().dataclass_schema(schema)

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return _ANYTHING

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def emit_warning(self, kind: Any, detail: str) -> None:
        """A default that JSON cannot tell is left out."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        """With the keys by their second names, with what the docstring says of each, without those of programs."""
        model = schema["cls"]
        if schema["schema"]["type"] == "function-before" and not issubclass(model, Strict):
            return _ANYTHING
        made = super().model_schema(schema)
        made.pop("title", None)
        properties = made.get("properties", {})
        names = {name: field.alias or name for name, field in model.model_fields.items()}
        documentation = parse_docstring(model.__doc__ or "", {*names, *names.values()})
        for name, field in model.model_fields.items():
            key = names[name]
            if field.exclude:
                properties.pop(key, None)
                continue
            text = documentation.settings.get(key) or documentation.settings.get(name)
            if key in properties and text:
                properties[key] = {**properties[key], "description": text}
            if name != key and key in properties and model.model_config.get("populate_by_name"):
                properties[name] = {**properties[key], "deprecated": True}
        if documentation.text:
            made["description"] = documentation.text
        return made


def _or_text(schema: Mapping[str, Any], made: Json, pattern: str, also: Json) -> Json:
    """What stands for a value in lax mode: `made`, text of the given pattern, and `also`."""
    if schema.get("strict"):
        return made
    return {"anyOf": [made, {"type": "string", "pattern": pattern}, also]}
