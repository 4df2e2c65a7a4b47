"""Power readings in the forms that command line tools print."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .common import PowerReading

EXPECTED = 'lines like "12.1 V 0.42 A", "12.1 0.42", or JSON {"voltage": 12.1, "current": 0.42}'

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_LINE = re.compile(rf"({_NUMBER})\s*V?(?:\s*[,;]\s*|\s+)({_NUMBER})\s*A?", re.IGNORECASE)


def parse(text: str) -> list[PowerReading]:
    """The readings in `text`, volts before amperes, one or more. ValueError says what was expected and what came."""
    text = text.strip()
    readings = list(_from_json(text) if text.startswith("{") else _from_lines(text))
    if not readings:
        raise ValueError(f"expected {EXPECTED}; got nothing")
    return readings


def _from_lines(text: str) -> Iterator[PowerReading]:
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"expected {EXPECTED}; got {_short(line)}")
        yield PowerReading(voltage=float(match[1]), current=float(match[2]))


def _from_json(text: str) -> Iterator[PowerReading]:
    decoder = json.JSONDecoder(parse_constant=_refuse)
    rest = text
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
            yield PowerReading.model_validate(value)
        except ValueError as error:
            raise ValueError(f"expected {EXPECTED}; got {_short(rest)}") from error
        rest = rest[end:].lstrip()


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no measurement")


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:200]}...")
