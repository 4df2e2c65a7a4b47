"""What a client's command returns, printed: as text for people, or as JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from enum import Enum
from functools import update_wrapper
from typing import Any
from uuid import UUID

import click

Text = Callable[[Any], str]

# Annotations of functions that print for themselves, or whose result is the exit code.
_NO_DATA = frozenset({"None", "int", "NoReturn", "Never"})


def returns_data(function: Any) -> bool:
    """Whether the return annotation of a command's function is there and has more in it than None and int."""
    note = getattr(function, "__annotations__", {}).get("return", None)
    name = note if isinstance(note, str) else note.__name__ if isinstance(note, type) else str(note)
    alternatives = name.strip("'\"").replace("typing.", "").removeprefix("Optional[").removesuffix("]").split("|")
    return not _NO_DATA.issuperset(map(str.strip, alternatives))


def print_result(command: click.Command, text: Text = str) -> None:
    """Have `command` print what its function returns, and give it the option --json.

    People get `text` of the result: a line for each item where it is a list or a generator, `key: value` lines for a
    mapping, bytes as they are. JSON is one document, of a generator one a line.
    """
    if any("--json" in param.opts for param in command.params):
        raise TypeError(f"command {command.name} has an option --json of its own, and returns data")
    function = command.callback
    if function is None:
        return

    def printing(*args: Any, print_json: bool, **kwargs: Any) -> None:
        result = function(*args, **kwargs)
        with _closing(result):
            if print_json:
                _print_json(result)
            else:
                _print_text(result, text)

    command.callback = update_wrapper(printing, function)
    command.params.append(click.Option(["--json", "print_json"], is_flag=True, help="Print JSON."))


@contextmanager
def _closing(result: Any) -> Iterator[None]:
    """Close a generator at the end; an interrupt while an item of it is printed is for the generator to answer."""
    if not isinstance(result, Generator):
        yield
        return
    with closing(result):
        try:
            yield
        except KeyboardInterrupt as interrupt:
            with suppress(StopIteration):
                result.throw(interrupt)


def as_json(value: Any) -> Any:
    """`value` in JSON's types; TypeError, naming the type, where there is no way. NaN and infinities are null."""
    if value is None or isinstance(value, bool | int | str):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(as_json(key)): as_json(item) for key, item in value.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        import base64

        return base64.b64encode(value).decode()
    if isinstance(value, Enum):
        return as_json(value.value)
    return _structured(value)


def _structured(value: Any) -> Any:
    from decimal import Decimal

    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return as_json(dump())
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal | os.PathLike):
        return str(value)
    if isinstance(value, Iterable):
        return [as_json(item) for item in value]
    raise TypeError(f"no JSON for a value of type {type(value).__name__}")


def _print_json(result: Any) -> None:
    import json

    for document in result if isinstance(result, Iterator) else [result]:
        click.echo(json.dumps(as_json(document)))


def _print_text(result: Any, text: Text) -> None:
    if isinstance(result, bytes | bytearray):
        click.echo(bytes(result), nl=False)
    elif isinstance(result, Mapping) and text is str:
        for key, value in result.items():
            click.echo(f"{key}: {value}")
    elif isinstance(result, list | tuple | set | frozenset | Iterator):
        for item in result:
            click.echo(item if isinstance(item, bytes) else text(item), nl=not isinstance(item, bytes))
    elif result is not None:
        click.echo(text(result))
