"""Any Python value reduced to plain data: exact builtins, `datetime` and `UUID` in lists and string-keyed dicts."""

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from pydantic_core import SchemaSerializer

MAX_DEPTH = 500
"""Containers a value may nest; msgpack allows 511 in every supported version, one of them holds the arguments."""

_LEAVES = frozenset({type(None), bool, int, float, str, bytes, datetime, UUID})
_PLAIN = _LEAVES | {list, dict}
_STR = frozenset({str})
_PATH_SHOWN = 12
_KEY_SHOWN = 60


class ValueNotSupported(ValueError):
    """A value cannot be sent; the text names the argument, the place in it and the reason."""


class MalformedValue(ValueError):
    """Received bytes are no encoded value."""


class Refused(Exception):
    """Why a value cannot be sent; `path` collects keys and indices, innermost first, on the way up."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str | int] = []


def not_supported(error: Refused | RecursionError, name: str) -> ValueNotSupported:
    """The error for the sender of the value called `name`."""
    if isinstance(error, RecursionError):
        return ValueNotSupported(f"{name}: nested too deep for this thread's recursion limit")
    return ValueNotSupported(f"{name}{_place(error.path)}: {error}")


def argument_not_supported(error: Refused | RecursionError, method: str) -> ValueNotSupported:
    """The same for a list of arguments: the outermost index of the place is the argument's number, from 1."""
    if isinstance(error, Refused) and error.path:
        return not_supported(error, f"argument {int(error.path.pop()) + 1} of {method}")
    return not_supported(error, f"the arguments of {method}")


def to_plain(value: Any, depth: int = 0) -> Any:
    """`value` as plain data, sharing what is plain already; raises `Refused`."""
    # One frame a level: MAX_DEPTH has to stay well below the usual recursion limit of 1000.
    while (kind := type(value)) not in _PLAIN:
        value = _simplified(value)
    if kind in _LEAVES:
        return value
    if depth >= MAX_DEPTH:
        raise Refused(f"nested more than {MAX_DEPTH} levels deep, or contains itself")
    if kind is dict and not _STR.issuperset(map(type, value)):
        value = {_plain_key(key): item for key, item in value.items()}
    if _LEAVES.issuperset(map(type, value.values() if kind is dict else value)):
        return value
    plain = value.copy()
    for key, item in value.items() if kind is dict else enumerate(value):
        if type(item) not in _LEAVES:
            try:
                plain[key] = to_plain(item, depth + 1)
            except Refused as error:
                error.path.append(key)
                raise
    return plain


def _plain_key(key: object) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise Refused(f"dictionary key {reprlib.repr(key)} is {_type_name(key)}; only str keys can be sent")


def _simplified(value: object) -> object:
    """One step towards plain data, for a value whose type is none of the plain ones."""
    if isinstance(value, Enum):
        return value.value
    # The base class' own conversion: a subclass may override the method.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return memoryview(value).tobytes()
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list | tuple | set | frozenset | deque | Iterator):
        return list(value)
    if isinstance(value, datetime):
        return datetime.combine(value.date(), value.time(), value.tzinfo)
    if isinstance(value, UUID):
        return UUID(int=value.int)
    return _dumped(value)


def _dumped(value: object) -> object:
    """A model, a dataclass, a path ... in pydantic's JSON mode, which is what 0.9.0 sends."""
    serializer = _serializer()
    try:
        data = serializer.to_python(value, mode="json")
        if _holds_none(data):
            data = _with_floats(data, serializer.to_python(value, warnings=False))
    except (ValueError, TypeError, RecursionError) as error:
        known = repr(type(value)) in str(error)
        raise Refused(f"{_type_name(value)} cannot be sent" + ("" if known else f": {error}")) from error
    return data


@cache
def _serializer() -> SchemaSerializer:
    from pydantic_core import SchemaSerializer, core_schema

    return SchemaSerializer(core_schema.any_schema())


def _holds_none(data: object) -> bool:
    if isinstance(data, dict):
        return any(map(_holds_none, data.values()))
    if isinstance(data, list):
        return any(map(_holds_none, data))
    return data is None


def _with_floats(data: object, original: object) -> object:
    """`data` with the nan and inf back that JSON mode made None of, taken from the dump in Python mode."""
    if isinstance(original, Enum):
        original = original.value
    if data is None and isinstance(original, float):
        return original
    if isinstance(data, dict) and isinstance(original, dict) and len(data) == len(original):
        return {k: _with_floats(v, o) for (k, v), o in zip(data.items(), original.values(), strict=True)}
    if (
        isinstance(data, list)
        and isinstance(original, list | tuple | set | frozenset | deque)
        and len(data) == len(original)
    ):
        return list(map(_with_floats, data, original))
    return data


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _place(path: Sequence[str | int]) -> str:
    if not path:
        return ""
    steps = [f"[{_quoted(step) if isinstance(step, str) else step}]" for step in reversed(path)]
    if len(steps) > _PATH_SHOWN:
        steps = [*steps[:_PATH_SHOWN], "..."]
    return f", at {''.join(steps)}"


def _quoted(key: str) -> str:
    """Printable everywhere: a key may hold lone surrogates and line breaks."""
    import json

    shown = key if len(key) <= _KEY_SHOWN else key[:_KEY_SHOWN] + "..."
    return json.dumps(shown, ensure_ascii=False).encode(errors="backslashreplace").decode()
