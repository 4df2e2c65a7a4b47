"""Results of a client's commands: as text, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Any, Optional
from uuid import UUID

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from jumpstarter.client.decorators import DataGroup
from jumpstarter.client.results import as_json
from pydantic import BaseModel


class Reading(BaseModel):
    volts: float
    at: datetime


@dataclass
class Port:
    path: PurePosixPath
    speed: int


class Colour(Enum):
    RED = "red"


class Pin(IntEnum):
    RESET = 3


NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON_VALUES)
def test_what_is_json_stays_as_it_is(value: Any) -> None:
    assert as_json(value) == value
    assert json.loads(json.dumps(as_json(value), allow_nan=False)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Reading(volts=5, at=NOON), {"volts": 5.0, "at": "2024-05-01T12:00:00+00:00"}),
        (Port(PurePosixPath("/dev/ttyS0"), 115200), {"path": "/dev/ttyS0", "speed": 115200}),
        ([Colour.RED, Pin.RESET], ["red", 3]),
        ({Pin.RESET: Colour.RED}, {"3": "red"}),
        ((1, {"a": (2,)}), [1, {"a": [2]}]),
        ({7}, [7]),
        (float("nan"), None),
        ([float("inf"), -float("inf")], [None, None]),
        (b"\x00\xff", "AP8="),
        (NOON, "2024-05-01T12:00:00+00:00"),
        (date(2024, 5, 1), "2024-05-01"),
        (time(12, 30), "12:30:00"),
        (timedelta(minutes=1.5), 90.0),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_have_a_form_in_json(value: Any, expected: Any) -> None:
    assert as_json(value) == expected
    assert json.dumps(as_json(value)) == json.dumps(expected)


def test_a_value_without_json_is_named() -> None:
    with pytest.raises(TypeError, match="no JSON for a value of type object"):
        as_json([object()])


def run(function: Callable[..., Any], *args: str, **settings: Any) -> tuple[int, str]:
    group = DataGroup()
    group.command("it", **settings)(function)
    result = CliRunner().invoke(group, ["it", *args])
    return result.exit_code, result.output


def test_text_is_what_the_formatter_makes_of_it() -> None:
    def readings() -> Iterator[Reading]:
        yield Reading(volts=1, at=NOON)
        yield Reading(volts=2, at=NOON)

    assert run(readings, text=lambda reading: f"{reading.volts} V") == (0, "1.0 V\n2.0 V\n")
    assert run(readings)[1].startswith("volts=1.0 at=")
    assert [json.loads(line)["volts"] for line in run(readings, "--json")[1].splitlines()] == [1.0, 2.0]


def test_a_generator_is_closed_when_its_reader_leaves() -> None:
    ended = []

    def numbers() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    def refuse(value: int) -> str:
        raise click.ClickException(f"no {value}")

    assert run(numbers, text=refuse) == (1, "Error: no 1\n")
    assert ended == [True]


def test_a_generator_hears_of_an_interrupt_while_its_item_is_printed() -> None:
    heard = []

    def numbers() -> Iterator[int]:
        try:
            yield 1
        except KeyboardInterrupt:
            heard.append(True)

    def interrupt(value: int) -> str:
        raise KeyboardInterrupt

    assert run(numbers, text=interrupt) == (0, "")
    assert heard == [True]


def test_nothing_is_no_text_and_null_in_json() -> None:
    def nothing() -> str | None:
        return None

    assert run(nothing) == (0, "")
    assert run(nothing, "--json") == (0, "null\n")


def nothing() -> None: ...


def code() -> int:
    return 0


def maybe_code() -> int | None:
    return 0


def maybe_code_too() -> Optional[int]:  # noqa: UP045 - what is tested
    return 0


def maybe_evaluated() -> None: ...


maybe_evaluated.__annotations__["return"] = int | None


def unannotated():  # type: ignore[no-untyped-def]
    return {}


def evaluated() -> None: ...


evaluated.__annotations__["return"] = None


@pytest.mark.parametrize(
    "function", [nothing, code, maybe_code, maybe_code_too, maybe_evaluated, unannotated, evaluated]
)
def test_functions_that_do_not_say_that_they_return_data_are_left_alone(function: Callable[..., Any]) -> None:
    exit_code, output = run(function, "--json")
    assert exit_code == 2
    assert "No such option" in output
    assert run(function) == (0, "")


def test_nested_groups_print_data_too() -> None:
    root = DataGroup()

    @root.group()
    def sub() -> None:
        """Nested"""

    @sub.command()
    def answer() -> str:
        return "42"

    result = CliRunner().invoke(root, ["sub", "answer", "--json"])
    assert (result.exit_code, result.output) == (0, '"42"\n')


def test_an_option_of_that_name_is_refused_where_it_would_be_hidden() -> None:
    group = DataGroup()

    def both(json: bool) -> str:
        return "text"

    with pytest.raises(TypeError, match="command both has an option --json of its own, and returns data"):
        group.command()(click.option("--json", is_flag=True)(both))
