"""A driver's settings: which there are, and whether a file's `config` fits them. No driver is made for that."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from jumpstarter.driver import Driver

from .document import KeyPath, Mistake
from .suggestions import nearest, suggestion
from .validation import mistakes_of, unknown_key

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

# Given in the entry itself, beside `config`.
BESIDE = frozenset({"children", "description", "methods_description"})


class Setting(NamedTuple):
    """`adapter` is None for a setting that takes anything, or whose type cannot be known here.

    `default` is as the constructor's signature has it, its `empty` for a setting that is required.
    """

    name: str
    required: bool
    adapter: TypeAdapter[Any] | None
    expected: str
    annotation: Any
    default: Any


class Settings(NamedTuple):
    """A driver's settings by name; `open` where its constructor takes any other as well."""

    known: dict[str, Setting]
    open: bool


def check_config(cls: type[Driver], config: Mapping[str, Any], path: KeyPath) -> tuple[dict[str, Any], list[Mistake]]:
    """`config`, converted to the types of the driver's settings, and what is wrong with it."""
    settings = settings_of(cls)
    arguments: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for key, value in config.items():
        setting = settings.known.get(key)
        if setting is None:
            mistakes += _unknown(cls, key, settings, (*path, key))
        try:
            adapter = setting.adapter if setting else None
            arguments[key] = adapter.validate_python(value) if adapter else value
        except ValidationError as error:
            mistakes += mistakes_of(error, value, (*path, key))
    for name, setting in settings.known.items():
        if setting.required and name not in config:
            mistakes.append(Mistake((*path, name), f"{cls.__name__} needs this key{setting.expected}"))
    return arguments, mistakes


@cache
def settings_of(cls: type[Driver]) -> Settings:
    """The settings that the constructor of a driver class takes."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    # A pydantic dataclass has a constructor that takes anything, and a signature of its own that tells what it means.
    constructor: Any = owner if "__pydantic_fields__" in vars(owner) else vars(owner)["__init__"]
    parameters = list(inspect.signature(constructor).parameters.values())[0 if constructor is owner else 1 :]
    names = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name not in BESIDE]
    annotation_of = _pydantic_annotation if constructor is owner else _annotation
    return Settings(
        {p.name: _setting(owner, p, annotation_of(owner, p)) for p in names},
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def _unknown(cls: type[Driver], key: str, settings: Settings, path: KeyPath) -> Iterator[Mistake]:
    if key in BESIDE:
        yield Mistake(path, "belongs beside config, not into it")
    elif not settings.open:
        yield Mistake(path, f"{cls.__name__}: {unknown_key(key, list(settings.known))}")


def _setting(owner: type, parameter: inspect.Parameter, annotation: Any) -> Setting:
    required = parameter.default is parameter.empty
    if _home(owner, parameter.name) is Driver and parameter.name == "log_level":
        annotation = _LogLevel
    if annotation is Any or annotation is object:
        return Setting(parameter.name, required, None, "", annotation, parameter.default)
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
    return Setting(parameter.name, required, _adapter(annotation), f" ({name})", annotation, parameter.default)


def _pydantic_annotation(owner: Any, parameter: inspect.Parameter) -> Any:
    """The type of a pydantic dataclass's field, with its constraints."""
    fields = owner.__pydantic_fields__.items()
    field = next((field for name, field in fields if parameter.name in (name, field.alias)), None)
    if field is None:
        return Any
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _annotation(owner: type, parameter: inspect.Parameter) -> Any:
    """The evaluated annotation of a constructor's parameter; Any where it names what only type checkers see.

    That of a dataclass's field is evaluated where the field is written, which may be in another module.
    """
    if not isinstance(parameter.annotation, str):
        return Any if parameter.annotation is parameter.empty else parameter.annotation
    home = _home(owner, parameter.name)
    alone = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    with suppress(Exception):
        names = vars(sys.modules[home.__module__])
        return get_type_hints(alone, names, dict(vars(home)), include_extras=True)[parameter.name]
    return Any


def _home(owner: type, name: str) -> type:
    """The class that annotates a field."""
    return next((base for base in owner.__mro__ if name in inspect.get_annotations(base)), owner)


def _check_level(level: str) -> str:
    if level not in logging.getLevelNamesMapping():
        near = suggestion(nearest(level, _LEVELS)[:1])
        raise ValueError(f"expected {', '.join(_LEVELS[:-1])} or {_LEVELS[-1]}, got {level!r}{near}")
    return level


_LogLevel = Annotated[
    str, AfterValidator(_check_level), Field(json_schema_extra={"enum": [*logging.getLevelNamesMapping()]})
]


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(annotation)
    except PydanticSchemaGenerationError:  # a class that pydantic knows nothing of: only its instances fit
        with suppress(PydanticUserError):
            return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticUserError, NameError):  # names that are not there at run time
        pass
    return None
