"""Values to and from 0.9.0 peers: `google.protobuf.Value`. What that would change in silence is refused.

It has one kind of number, a double, so an int arrives as float; datetime, UUID and UTF-8 bytes arrive as str.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from jumpstarter.values.plain import Refused, not_supported, to_plain

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Value

_MAX_EXACT_INT = 2**53
_MAX_LEVELS = 99
"""Messages that may nest inside the one that carries the value: protobuf parsers stop at 100."""
_LIST_LEVELS, _DICT_LEVELS = 2, 3


def encode_value(value: object, name: str = "value") -> Value:
    """`value` as 0.9.0 sends it; raises `ValueNotSupported` naming `name` and the place in it."""
    from google.protobuf.struct_pb2 import Value

    message = Value()
    try:
        _fill(message, to_plain(value), _MAX_LEVELS)
    except (Refused, RecursionError) as error:
        raise not_supported(error, name) from error
    return message


def encode_args(args: Sequence[object], method: str) -> list[Value]:
    """Positional arguments; `ValueNotSupported` names the number of the argument (from 1) and `method`."""
    return [encode_value(argument, f"argument {number} of {method}") for number, argument in enumerate(args, 1)]


def decode_value(message: Value) -> Any:
    """The Python value as 0.9.0 reads it: every number is a float, an unset kind is None."""
    kind = message.WhichOneof("kind")
    if kind == "list_value":
        return [decode_value(item) for item in message.list_value.values]
    if kind == "struct_value":
        return {key: decode_value(item) for key, item in message.struct_value.fields.items()}
    return None if kind is None or kind == "null_value" else getattr(message, kind)


def _fill(message: Value, value: Any, levels: int) -> None:
    kind = type(value)
    if kind is float or kind is int:
        message.number_value = _exact_number(value)
    elif kind is bool:
        message.bool_value = value
    elif value is None:
        message.null_value = 0  # type: ignore[assignment] # the one member of NullValue
    elif kind is list:
        _fill_list(message, value, levels - _LIST_LEVELS)
    elif kind is dict:
        _fill_dict(message, value, levels - _DICT_LEVELS)
    else:
        message.string_value = _exact_text(value)


def _fill_list(message: Value, items: list[Any], levels: int) -> None:
    _check_depth(levels)
    message.list_value.SetInParent()
    values = message.list_value.values
    for index, item in enumerate(items):
        try:
            _fill(values.add(), item, levels)
        except Refused as error:
            error.path.append(index)
            raise


def _fill_dict(message: Value, items: dict[str, Any], levels: int) -> None:
    _check_depth(levels)
    message.struct_value.SetInParent()
    fields = message.struct_value.fields
    for key, item in items.items():
        try:
            _fill(fields[_exact_text(key)], item, levels)
        except Refused as error:
            error.path.append(key)
            raise


def _check_depth(levels: int) -> None:
    if levels < 0:
        raise Refused("nested too deep for a 0.9.0 peer, which takes at most 49 lists or 33 dicts within each other")


def _exact_number(value: int | float) -> float:
    if isinstance(value, int):
        if abs(value) > _MAX_EXACT_INT:
            raise Refused("a 0.9.0 peer takes no int beyond 2**53 without rounding it; send it as str")
    elif not math.isfinite(value):
        raise Refused(f"a 0.9.0 peer would read {value} as None")
    return float(value)


def _exact_text(value: str | bytes | UUID | datetime) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused("a 0.9.0 peer takes no str with lone surrogates") from None
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Refused(f"a 0.9.0 peer takes bytes only as UTF-8 text: {error}") from None
    return _iso_8601(value) if isinstance(value, datetime) else str(value)


def _iso_8601(value: datetime) -> str:
    offset = value.utcoffset()
    if offset is not None and offset % timedelta(minutes=1):
        raise Refused(f"a 0.9.0 peer takes no UTC offset with seconds ({offset})")
    text = value.isoformat()
    return text.removesuffix("+00:00") + "Z" if offset is not None and not offset else text
