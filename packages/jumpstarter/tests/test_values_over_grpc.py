"""Values as arguments and as results of real calls: between our own peers nothing changes, whatever its size."""

from __future__ import annotations

import math
from collections.abc import Generator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jumpstarter.client import DriverClient
from jumpstarter.client.core import DriverInvalidArgument
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export

MEGABYTE = 1024 * 1024

moments = st.datetimes() | st.datetimes(
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.uuids()
    | moments
    | st.integers(min_value=2**53, max_value=2**70)
)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


class Keeper(Driver):
    """Tells what arrived, and gives back what it keeps."""

    kept: Any = None

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def keep(self, value):  # type: ignore[no-untyped-def]
        self.kept = value

    @export
    def give(self):  # type: ignore[no-untyped-def]
        return self.kept

    @export
    async def give_async(self):  # type: ignore[no-untyped-def]
        return self.kept

    @export
    def items(self):  # type: ignore[no-untyped-def]
        yield from (self.kept, self.kept)


@pytest.fixture(scope="module")
def served() -> Generator[tuple[Keeper, DriverClient]]:
    keeper = Keeper()
    with serve(keeper) as client:
        yield keeper, client


def same(a: Any, b: Any) -> bool:
    """Equal in value and type, at every depth; nan is nan, and -0.0 is not 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, datetime):
        return a == b and a.utcoffset() == b.utcoffset() and a.fold == b.fold
    return bool(a == b)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_as_argument_as_result_and_as_item(served: tuple[Keeper, DriverClient], value: Any) -> None:
    keeper, client = served
    client.call("keep", value)
    assert same(keeper.kept, value)
    assert same(client.call("give"), value)
    assert same(client.call("give_async"), value)
    assert all(same(item, value) for item in client.streamingcall("items"))


LARGE = {
    "text": "é" * (16 * MEGABYTE),
    "bytes": bytes(range(256)) * (32 * MEGABYTE // 256),
    "numbers": list(range(4_000_000)),
    "nested": {f"key {number}": [number, str(number), {"half": number / 2}] for number in range(300_000)},
    "one big number": 1 << (8 * MEGABYTE),
    "ids": [UUID(int=number) for number in range(500_000)],
}


@pytest.mark.parametrize("name", LARGE)
def test_up_to_32_megabytes(served: tuple[Keeper, DriverClient], name: str) -> None:
    keeper, client = served
    value = LARGE[name]
    client.call("keep", value)
    assert keeper.kept == value
    assert client.call("give") == value
    keeper.kept = None


@pytest.mark.parametrize("value", [{1: 2}, {"a": [{(1, 2): 3}]}, object(), print])
def test_what_cannot_be_sent_is_refused_by_name(served: tuple[Keeper, DriverClient], value: Any) -> None:
    keeper, client = served
    with pytest.raises(ValueError, match="argument 1 of keep"):
        client.call("keep", value)
    keeper.kept = value
    with pytest.raises(DriverInvalidArgument, match="result of give"):
        client.call("give")
    keeper.kept = None
