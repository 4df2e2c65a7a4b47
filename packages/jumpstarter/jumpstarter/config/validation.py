"""Pydantic's view of a file, told to its user: the key, what is expected there, and the nearest key that exists."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .document import Document, KeyPath, Mistake, spellings
from .suggestions import nearest, suggestion

M = TypeVar("M", bound=BaseModel)

_SHOWN = 60
_TEXT = "text"
# What YAML makes of text without quotes.
_UNQUOTED = ("bool", "int", "float", "date")
# Kinds of pydantic's errors, by how they begin.
_NAMES = (
    ("string_type", _TEXT),
    ("bool_", "true or false"),
    ("int_", "a whole number"),
    ("float_", "a number"),
    ("list_type", "a list"),
    ("dict_", "a mapping"),
    ("model_", "a mapping"),
    ("dataclass_", "a mapping"),
    ("path_", "a path"),
    ("uuid_", "a UUID"),
)
_SECRET = re.compile("token|passw|passphrase|secret|auth|key|cert", re.IGNORECASE)


def validate(model: type[M], document: Document, further: Callable[[], list[Mistake]] = list) -> M:
    """The model of a document; one ConfigurationError for all that is wrong with it.

    `further`: finds mistakes that the model cannot, once there is a mistake to report.
    """
    mistakes = list(document.mistakes)
    try:
        made = model.model_validate(document.value)
    except ValidationError as error:
        # A value that could not be read at all has been told of.
        read = {mistake.path for mistake in mistakes}
        mistakes += [m for m in mistakes_of(error, document.value, model=model) if m.path not in read]
        document.refuse(mistakes + further())
        raise
    if mistakes:
        document.refuse(mistakes + further())
    return made


def mistakes_of(
    error: ValidationError, data: Any, path: KeyPath = (), model: type[BaseModel] | None = None
) -> list[Mistake]:
    """What pydantic found wrong with `data`, the value at `path`; `model` gives the keys to suggest."""
    expected: dict[tuple[KeyPath, str], list[str]] = {}
    mistakes = []
    for detail in error.errors(include_url=False):
        # A key that a model looks for in a part that the file does not have has its place all the same.
        absent = detail["type"] == "missing" and model is not None
        keys = (*path, *(detail["loc"] if absent else _keys(detail, data)))
        if (text := _special(detail, model)) is not None:
            mistakes.append(Mistake(keys, text))
            continue
        # Of the alternatives that a value may be, each says what it expected.
        alternatives = expected.setdefault((keys, shown(detail["input"], keys)), [])
        alternatives += [one for one in [_expected(detail)] if one not in alternatives]
    return mistakes + [_expectation(keys, got, texts) for (keys, got), texts in expected.items()]


def shown(value: Any, path: KeyPath) -> str:
    """A value in an error message; only its type where the key sounds like a secret."""
    kind = "nothing" if value is None else type(value).__name__
    if value is None or isinstance(value, dict | list) or any(_SECRET.search(str(part)) for part in path[-1:]):
        return kind
    text = repr(value)
    return f"{kind} {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"


def unknown_key(key: str, known: list[str]) -> str:
    """What to say of a key that does not exist."""
    if near := nearest(key, known):
        return f"unknown key{suggestion(near[:1])}"
    return f"unknown key; known here: {', '.join(known) or 'none'}"


def _keys(detail: ErrorDetails, data: Any) -> KeyPath:
    """The keys on the way to an error: pydantic's location has names of alternatives in between."""
    keys: list[str | int] = []
    for part in detail["loc"]:
        inside = dict(enumerate(data)) if isinstance(data, list) else data
        key = next((one for one in spellings(part) if isinstance(inside, dict) and one in inside), None)
        if key is not None:
            data = inside[key]
            keys.append(part)
    return (*keys, detail["loc"][-1]) if detail["type"] == "missing" else tuple(keys)


def _special(detail: ErrorDetails, model: type[BaseModel] | None) -> str | None:
    """What to say where it is not the value that surprises; None where it is."""
    loc = detail["loc"]
    if detail["type"] == "extra_forbidden":
        return unknown_key(str(loc[-1]), known_keys(model, loc[:-1]))
    if detail["type"] == "missing":
        return "this key is missing"
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "invalid_key" or loc[-1:] == ("[key]",):
        return f"expected text as the key, got {shown(detail['input'], ())}: write it in quotes"
    return None


def _expected(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if (name := next((name for start, name in _NAMES if kind.startswith(start)), None)) is not None:
        return name
    bound = "a number " if kind.startswith(("greater_than", "less_than")) else ""
    return bound + detail["msg"].removeprefix("Input should be ")


def _expectation(path: KeyPath, got: str, expected: list[str]) -> Mistake:
    unquoted = expected == [_TEXT] and got.startswith(_UNQUOTED)
    return Mistake(path, f"expected {' or '.join(expected)}, got {got}{': write it in quotes' if unquoted else ''}")


def known_keys(model: Any, loc: tuple[int | str, ...] = ()) -> list[str]:
    """The keys of the model that is found at `loc` below `model`."""
    for part in loc:
        model = _below(model, part)
    fields = getattr(_model(model), "model_fields", {})
    return [field.alias or name for name, field in fields.items() if not field.exclude]


def _below(annotation: Any, part: int | str) -> Any:
    model = _model(annotation)
    if model is not None:
        fields = model.model_fields
        return next((field.annotation for name, field in fields.items() if part in (name, field.alias)), None)
    return get_args(annotation)[-1] if get_origin(annotation) in (dict, list) else None


def _model(annotation: Any) -> type[BaseModel] | None:
    """The one model among the alternatives of an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return next((model for option in get_args(annotation) if (model := _model(option))), None)
    return None
