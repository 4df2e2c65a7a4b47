"""Arguments from the wire against a method's annotations, in pydantic's lax mode: 7.0 for an int, text for a UUID."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from .decorators import unguarded

RESOURCE_KINDS = frozenset({"client_stream", "presigned_request"})
_SHOWN = 80
# Pydantic makes one-time iterators of these, and finds bad items only when the driver gets to them.
_LAZY = frozenset({Iterable, Generator})
# What pydantic raises for classes it knows nothing of, and for those whose own annotations cannot be evaluated.
_UNUSABLE = (PydanticUserError, PydanticUndefinedAnnotation)


class _Parameter(NamedTuple):
    name: str
    adapter: TypeAdapter[Any] | None
    expected: str


class _Checks(NamedTuple):
    positional: tuple[_Parameter, ...]
    rest: _Parameter | None
    required: int
    plain: bool


class InvalidArguments(ValueError):
    """A call's arguments do not fit the method."""


def check_arguments(method: Callable[..., Any], name: str, args: Sequence[Any]) -> list[Any]:
    """`args`, converted to what `method` (bound) is annotated with.

    InvalidArguments names the method, the parameter, what was expected and what came. A resource handle passes any
    annotation.
    """
    checks = _checks_of(getattr(method, "__func__", method), hasattr(method, "__func__"))
    _check_count(checks, name, args)
    if checks.plain:
        return list(args)
    checked = []
    for position, value in enumerate(args):
        parameter = checks.positional[position] if position < len(checks.positional) else checks.rest
        checked.append(value if parameter is None else _check(parameter, name, value))
    return checked


def explain_validation(error: ValidationError, method: Callable[..., Any], name: str) -> InvalidArguments:
    """The error of a method that pydantic's `validate_call` guards by itself."""
    first = error.errors(include_url=False)[0]
    parameters = list(inspect.signature(unguarded(method)).parameters)
    # Pydantic tells the place of a positional argument, `self` included.
    places = [parameters[p] if isinstance(p, int) and p < len(parameters) else p for p in first["loc"][:1]]
    where = ".".join(map(str, (*places, *first["loc"][1:]))) or "arguments"
    return InvalidArguments(f"{name}(): argument {where!r}: {first['msg']}, got {_show(first['input'])}")


def guards_itself(method: Callable[..., Any]) -> bool:
    """Whether `method` is wrapped by pydantic's `validate_call`."""
    return unguarded(method) is not method


def _check(parameter: _Parameter, name: str, value: Any) -> Any:
    if parameter.adapter is None or _is_handle(value):
        return value
    try:
        return parameter.adapter.validate_python(value)
    except _UNUSABLE:
        return value
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        inside = f" at {'.'.join(map(str, first['loc']))}" if first["loc"] else ""
        raise InvalidArguments(
            f"{name}(): argument {parameter.name!r}: expected {parameter.expected}, "
            f"got {_show(value)}{inside} ({first['msg']})"
        ) from None


def _is_handle(value: Any) -> bool:
    kind = value.get("kind") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind in RESOURCE_KINDS


def _check_count(checks: _Checks, name: str, args: Sequence[Any]) -> None:
    if checks.required <= len(args) and (checks.rest is not None or len(args) <= len(checks.positional)):
        return
    signature = ", ".join(
        p.name if i < checks.required else f"{p.name}=..." for i, p in enumerate(checks.positional)
    ) + (f", *{checks.rest.name}" if checks.rest else "")
    missing = [p.name for p in checks.positional[len(args) : checks.required]]
    most = len(checks.positional)
    takes = f"takes at most {most} argument{'s' if most > 1 else ''}" if most else "takes no arguments"
    problem = f"missing {', '.join(missing)}" if missing else takes
    raise InvalidArguments(f"{name}({signature}): {problem}; got {len(args)}")


@lru_cache(maxsize=4096)
def _checks_of(function: Callable[..., Any], bound: bool) -> _Checks:
    try:
        parameters = list(inspect.signature(function).parameters.values())[1 if bound else 0 :]
    except (TypeError, ValueError):  # a callable without a signature takes what comes
        return _Checks((), _Parameter("args", None, ""), 0, True)
    annotations = {} if guards_itself(function) else _annotations(function)
    positional = []
    rest = None
    required = 0
    for parameter in parameters:
        made = _parameter(parameter, annotations)
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = made
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(made)
            required += parameter.default is parameter.empty
    adapters = [*(p.adapter for p in positional), rest.adapter if rest else None]
    return _Checks(tuple(positional), rest, required, all(adapter is None for adapter in adapters))


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations that can be evaluated; names that exist for type checkers only are left out one by one."""
    function = inspect.unwrap(function)
    names = getattr(function, "__globals__", {})
    found = {}
    for name, annotation in inspect.get_annotations(function).items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(Exception):
            found.update(typing.get_type_hints(alone, globalns=names, include_extras=True))
    return found


def _parameter(parameter: inspect.Parameter, annotations: dict[str, Any]) -> _Parameter:
    annotation = annotations.get(parameter.name, Any)
    if annotation is Any or annotation is object or (typing.get_origin(annotation) or annotation) in _LAZY:
        return _Parameter(parameter.name, None, "")
    try:
        if parameter.default is None:
            annotation |= None
        return _Parameter(parameter.name, TypeAdapter(annotation), _type_name(annotation))
    except (*_UNUSABLE, TypeError):
        return _Parameter(parameter.name, None, "")


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Annotated:
        return _type_name(typing.get_args(annotation)[0])
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _show(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"
