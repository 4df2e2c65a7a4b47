"""Values between our own peers: msgpack, with extensions for what msgpack lacks. Nothing changes on the way.

Extension 1, a datetime: a list of its wall clock time (ISO 8601), fold, UTC offset in microseconds or nil, zone or nil.
Extension 2, a UUID: its 16 bytes. Extension 3, an int beyond 64 bits: two's complement, big endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import msgpack  # type: ignore[import-untyped]

from jumpstarter.values.plain import MalformedValue, Refused, argument_not_supported, not_supported, to_plain

_DATETIME, _UUID, _INT = 1, 2, 3

_VERIFY_FROM = 4 * 1024
"""From this size on, a message is walked before memory is given to it: its headers may claim more than it holds."""


def encode(value: object, name: str = "value") -> bytes:
    """`value` as bytes; raises `ValueNotSupported` naming `name` and the place in it."""
    try:
        return _packed(to_plain(value))
    except (Refused, RecursionError) as error:
        raise not_supported(error, name) from error


def encode_args(args: Sequence[object], method: str) -> bytes:
    """Positional arguments as bytes; `ValueNotSupported` names the number of the argument (from 1) and `method`."""
    try:
        return _packed(to_plain(list(args), depth=-1))
    except (Refused, RecursionError) as error:
        raise argument_not_supported(error, method) from error


def decode(data: bytes) -> Any:
    """The value encoded in `data`; raises `MalformedValue` for anything else."""
    try:
        if len(data) >= _VERIFY_FROM:
            _verify(data)
        return msgpack.unpackb(data, ext_hook=_from_ext, timestamp=3, unicode_errors="surrogatepass")
    except (ValueError, TypeError, OverflowError, MemoryError, RecursionError, msgpack.UnpackException) as error:
        raise MalformedValue(f"malformed value of {len(data)} bytes: {error or type(error).__name__}") from error


def decode_args(data: bytes) -> list[Any]:
    """The arguments that `encode_args` encoded."""
    args = decode(data)
    if type(args) is not list:
        raise MalformedValue(f"malformed arguments: {type(args).__name__} instead of a list")
    return args


def _packed(plain: object) -> bytes:
    try:
        packed: bytes = msgpack.packb(plain, default=_to_ext, strict_types=True, unicode_errors="surrogatepass")
    except (ValueError, OverflowError) as error:
        raise Refused(str(error)) from error
    return packed


def _verify(data: bytes) -> None:
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    unpacker.skip()


def _to_ext(value: object) -> msgpack.ExtType:
    if isinstance(value, datetime):
        return msgpack.ExtType(_DATETIME, _datetime_fields(value))
    if isinstance(value, UUID):
        return msgpack.ExtType(_UUID, value.bytes)
    if isinstance(value, int):
        return msgpack.ExtType(_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    raise Refused(f"{type(value).__name__} cannot be sent")


def _from_ext(code: int, data: bytes) -> datetime | UUID | int:
    if code == _DATETIME:
        return _datetime_from(data)
    if code == _UUID:
        return UUID(bytes=data)
    if code == _INT:
        return int.from_bytes(data, "big", signed=True)
    raise ValueError(f"unknown extension type {code}")


def _datetime_fields(value: datetime) -> bytes:
    offset = value.utcoffset()
    # Not as part of the ISO text: fromisoformat() reads +00:00:00.000001 as UTC.
    microseconds = None if offset is None else offset // timedelta(microseconds=1)
    key = getattr(value.tzinfo, "key", None)
    wall_clock = value.replace(tzinfo=None).isoformat()
    fields: bytes = msgpack.packb([wall_clock, value.fold, microseconds, key if isinstance(key, str) else None])
    return fields


def _datetime_from(fields: bytes) -> datetime:
    wall_clock, fold, microseconds, key = msgpack.unpackb(fields)
    moment = datetime.fromisoformat(wall_clock).replace(fold=fold)
    if microseconds is None:
        return moment
    moment = moment.replace(tzinfo=timezone(timedelta(microseconds=microseconds)))
    return _in_zone(moment, key) if key else moment


def _in_zone(moment: datetime, key: str) -> datetime:
    """`moment` in the named zone where this machine's rules agree on its offset, else as it is.

    A time that occurs twice equals none but those of its own zone, so the zone matters beyond the offset.
    """
    from zoneinfo import ZoneInfo

    try:
        zoned = moment.replace(tzinfo=ZoneInfo(key))
    except (KeyError, ValueError, OSError):
        return moment
    return zoned if zoned.utcoffset() == moment.utcoffset() else moment
