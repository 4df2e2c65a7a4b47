"""A snippet for the exporter's file, for a driver whose settings are known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from .describe import DriverInfo, SettingInfo

_SHOWN = 60
_PLAIN: dict[Any, Any] = {str: "...", int: 1, float: 1.0, bool: True, list: [], dict: {}, tuple: [], set: []}


def example(driver: DriverInfo) -> str:
    """An entry for the driver: what is required with a value to replace, everything else as a comment with its default.

    The values fit the types of the settings.
    """
    own = [setting for setting in driver.settings if not setting.common]
    required = [setting for setting in own if setting.required]
    lines = ["export:", f"  {entry_name(driver.cls.__name__)}:", f"    type: {driver.reference}"]
    if own:
        lines.append("    config:" if required else "    # config:")
    for setting in own:
        lines.append(f"      {'' if setting.required else '# '}{_line(setting)}")
    return "\n".join(lines)


def entry_name(class_name: str) -> str:
    """`serial_relay` for `SerialRelay`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()


def _line(setting: SettingInfo) -> str:
    if setting.required:
        value = next(_values(setting.annotation), "...")
        return f"{setting.name}: {one_line(value)}  # required: {setting.type}"
    if setting.default is MISSING:
        return f"{setting.name}: ..."
    return f"{setting.name}: {one_line(setting.default)}"


def _values(annotation: Any) -> Iterator[Any]:
    """Values that fit an annotation, the likeliest first."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _constrained(arguments[0], arguments[1:])
    elif origin in (Union, UnionType):
        for one in arguments:
            yield from _values(one)
    elif origin is Literal:
        yield from arguments
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from (member.value for member in annotation)
    elif (origin or annotation) in _PLAIN:
        yield _PLAIN[origin or annotation]


def _constrained(annotation: Any, constraints: tuple[Any, ...]) -> Iterator[Any]:
    """With an author's own examples, and the least number that is allowed."""
    for constraint in constraints:
        yield from getattr(constraint, "examples", None) or ()
        least = getattr(constraint, "ge", None)
        if least is not None:
            yield least
    yield from _values(annotation)


def one_line(value: Any) -> str:
    """A value in one line of YAML."""
    import yaml
    from pydantic_core import to_jsonable_python

    plain = to_jsonable_python(value, fallback=str)
    text = yaml.safe_dump(plain, default_flow_style=True, width=float("inf"), allow_unicode=True)
    text = text.strip().removesuffix("...").strip()
    return text if len(text) <= _SHOWN else "..."
