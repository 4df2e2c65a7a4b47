"""What `power_read` may print."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jumpstarter_driver_power.common import PowerReading
from jumpstarter_driver_power.readings import parse

numbers = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
forms = st.sampled_from(["{v!r} {i!r}", "{v!r} V {i!r} A", "{v!r}V, {i!r}A", "  {v!r};{i!r}  ", "{v!r}\t{i!r} a"])


@given(st.lists(st.tuples(numbers, numbers, forms), min_size=1, max_size=5))
def test_lines(samples: list[tuple[float, float, str]]) -> None:
    text = "\n\n".join(form.format(v=v, i=i) for v, i, form in samples)
    assert parse(text) == [PowerReading(voltage=v, current=i) for v, i, _ in samples]


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5), st.sampled_from([None, 2]))
def test_json(samples: list[tuple[float, float]], indent: int | None) -> None:
    text = "\n".join(json.dumps({"voltage": v, "current": i, "unit": "V"}, indent=indent) for v, i in samples)
    assert parse(text) == [PowerReading(voltage=v, current=i) for v, i in samples]


def test_integers_and_exponents() -> None:
    assert parse("12 0\n1e1 .5\n-3. +2E-1") == [
        PowerReading(voltage=12, current=0),
        PowerReading(voltage=10, current=0.5),
        PowerReading(voltage=-3, current=0.2),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "12.1",
        "12.1 V",
        "12.1 V 0.42 A 5 W",
        "12100 mV 0.42 A",
        "0.42 A 12.1 V",
        "ERROR: no device",
        "12.1 V 0.42 A\noops",
        "nan 1",
        '{"voltage": 1}',
        '{"voltage": NaN, "current": 1}',
        '{"voltage": "high", "current": 1}',
        '{"voltage": 1, "current": 2} trailing',
        "[1, 2]",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected lines like .*; got ['\"]"):
        parse(text)


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="got nothing"):
        parse(" \n ")


def test_long_garbage_is_cut() -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse("x" * 100_000)
    assert len(str(caught.value)) < 400
