"""Between our peers values keep value and type; towards 0.9.0 they arrive as it has them or are refused by name."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import fractions
import ipaddress
import math
import pathlib
import re
import struct
import threading
import tracemalloc
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pydantic
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st
from jumpstarter.values import compat, native
from jumpstarter.values.plain import MAX_DEPTH, MalformedValue, ValueNotSupported
from jumpstarter_protocol import jumpstarter_pb2

INF, NAN = math.inf, math.nan
MIB = 1024 * 1024


def same(a: object, b: object) -> bool:
    """Equal in value and exact type at every depth; nan is nan, -0.0 is not 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(type(k) is str for k in a) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, datetime) and isinstance(b, datetime):
        return a == b and a.utcoffset() == b.utcoffset() and a.fold == b.fold
    return a == b


any_text = st.text(st.characters(exclude_categories=()))
offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
datetimes = st.datetimes(timezones=st.none() | st.timezones() | offsets)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**600), 2**600)
    | st.sampled_from([s * 2**p + d for s in (1, -1) for p in (53, 63, 64, 128) for d in (-1, 0, 1)])
    | st.floats()
    | any_text
    | st.binary()
    | datetimes
    | st.uuids()
)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(any_text, inner), max_leaves=30)


def sent_datetime(*fields: object) -> bytes:
    """A datetime as a peer would send it that knows other zones than we do."""
    packed: bytes = msgpack.packb(msgpack.ExtType(1, msgpack.packb(list(fields))))
    return packed


class TestNativeKeepsValueAndType:
    @given(values)
    def test_round_trip(self, value: object) -> None:
        assert same(native.decode(native.encode(value)), value)

    @given(st.dictionaries(any_text, st.none()))
    def test_dictionaries_keep_their_order(self, value: dict[str, None]) -> None:
        assert list(native.decode(native.encode(value))) == list(value)

    @given(st.lists(values, max_size=4))
    def test_arguments(self, args: list[object]) -> None:
        assert same(native.decode_args(native.encode_args(args, "m")), args)

    @given(datetimes.map(lambda moment: moment.replace(fold=1)))
    def test_the_second_of_two_equal_wall_clock_times(self, moment: datetime) -> None:
        assert same(native.decode(native.encode(moment)), moment)

    def test_an_ambiguous_time_keeps_its_zone_and_equality(self) -> None:
        moment = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Prague"))
        back = native.decode(native.encode(moment))
        assert back == moment
        assert back.utcoffset() == timedelta(hours=1)
        assert str(back.tzinfo) == "Europe/Prague"

    def test_a_zone_unknown_here_becomes_its_offset(self) -> None:
        back = native.decode(sent_datetime("2024-10-27T02:30:00.000005", 1, 3_600_000_000, "Mars/Olympus_Mons"))
        assert same(back, datetime(2024, 10, 27, 2, 30, 0, 5, timezone(timedelta(hours=1)), fold=1))

    def test_a_zone_with_other_rules_here_becomes_its_offset(self) -> None:
        back = native.decode(sent_datetime("2024-07-01T00:00:00", 0, 5 * 3_600_000_000, "Europe/Prague"))
        assert back.tzinfo == timezone(timedelta(hours=5))

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(bytes(range(256)) * (128 * 1024), id="bytes"),
            pytest.param("é\ud800x\U0001f600" * (32 * MIB // 9), id="str"),
            pytest.param(list(range(-1_000_000, 3_000_000)), id="ints"),
            pytest.param([[{"k": [i / 3, str(i), {"deep": [i]}]}] for i in range(300_000)], id="nested"),
        ],
    )
    def test_large(self, value: object) -> None:
        data = native.encode_args([value], "m")
        assert len(data) > 8 * MIB
        assert native.decode_args(data) == [value]

    def test_as_deep_as_promised(self) -> None:
        value: Any = 1
        for level in range(MAX_DEPTH):
            value = [value] if level % 2 else {"k": value}
        assert native.decode(native.encode(value)) == value
        assert native.decode_args(native.encode_args([value], "m")) == [value]

    def test_an_argument_is_not_changed_by_sending_it(self) -> None:
        value = {"a": [(1, 2)], "b": {"c": {3}}}
        native.encode(value)
        assert value == {"a": [(1, 2)], "b": {"c": {3}}}


class Colour(enum.Enum):
    RED = "red"
    RAW = b"\xff"
    PAIR = (1, 2.5)
    NOTHING = NAN


class Level(enum.IntEnum):
    HIGH = 5


class Name(enum.StrEnum):
    A = "a"


class Bits(enum.Flag):
    A = 1
    B = 2


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Real(float):
    pass


class Moment(datetime):
    pass


class Mapping(dict[str, Any]):
    pass


Pair = collections.namedtuple("Pair", "a b")


class Inner(pydantic.BaseModel):
    number: int = 1
    anything: Any = None


class Model(pydantic.BaseModel):
    number: int = 2**70
    real: float = NAN
    raw: bytes = b"text"
    when: timedelta = timedelta(seconds=90)
    inner: Inner = Inner()
    by_number: dict[int, int] = {1: 2}
    loose: Any = None


@dataclasses.dataclass
class Plain:
    number: int = 1
    inner: Any = None
    _hidden: int = 3


@pydantic.dataclasses.dataclass
class Checked:
    number: int = 1
    anything: Any = None


class TestNativeSendsTheRestAs090Has:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (Colour.RED, "red"),
            (Colour.RAW, b"\xff"),
            (Colour.PAIR, [1, 2.5]),
            (Colour.NOTHING, NAN),
            (Level.HIGH, 5),
            (Name.A, "a"),
            (Bits.A | Bits.B, 3),
            (Text("t"), "t"),
            (Number(2**80), 2**80),
            (Real(-0.0), -0.0),
            (Moment(2024, 1, 2, 3, tzinfo=UTC, fold=1), datetime(2024, 1, 2, 3, tzinfo=UTC, fold=1)),
            (Mapping(a=(1,)), {"a": [1]}),
            (collections.OrderedDict(a=1), {"a": 1}),
            ({Text("t"): 1, Name.A: 2}, {"t": 1, "a": 2}),
            (bytearray(b"\xff"), b"\xff"),
            (memoryview(b"abcd")[::2], b"ac"),
            ((1, (b"\xff", UUID(int=1))), [1, [b"\xff", UUID(int=1)]]),
            (Pair(1, 2), [1, 2]),
            ({b"\xff"}, [b"\xff"]),
            (frozenset({2**70}), [2**70]),
            (collections.deque([1]), [1]),
            (pathlib.Path("/a/b"), "/a/b"),
            (decimal.Decimal("1.50"), "1.50"),
            (date(2024, 1, 2), "2024-01-02"),
            (time(1, 2, 3), "01:02:03"),
            (timedelta(seconds=90), "PT1M30S"),
            (Inner(), {"number": 1, "anything": None}),
            (Plain(inner=Inner()), {"number": 1, "inner": {"number": 1, "anything": None}, "_hidden": 3}),
            (Checked(), {"number": 1, "anything": None}),
        ],
    )
    def test_arrives_as(self, value: object, expected: object) -> None:
        assert same(native.decode(native.encode(value)), expected)
        assert same(native.decode(native.encode({"deep": [value]})), {"deep": [expected]})

    def test_iterators_arrive_as_lists(self) -> None:
        assert native.decode(native.encode([(i for i in [1, b"\xff"]), iter([2]), map(str, [3])])) == [
            [1, b"\xff"],
            [2],
            ["3"],
        ]

    def test_a_model_keeps_its_numbers(self) -> None:
        model = Model(
            inner=Inner(anything=[-INF, None]), loose={"x": INF, "e": Colour.NOTHING, "m": Inner(anything=NAN)}
        )
        assert same(
            native.decode(native.encode(model)),
            {
                "number": 2**70,
                "real": NAN,
                "raw": "text",
                "when": "PT1M30S",
                "inner": {"number": 1, "anything": [-INF, None]},
                "by_number": {"1": 2},
                "loose": {"x": INF, "e": NAN, "m": {"number": 1, "anything": NAN}},
            },
        )

    @pytest.mark.parametrize("kind", [Plain, Checked])
    def test_a_dataclass_keeps_its_numbers(self, kind: Any) -> None:
        sent = kind(2**53 + 1, *([INF] if kind is Checked else [(INF, Inner(anything=NAN))]))
        back = native.decode(native.encode(sent))
        assert same(back["number"], 2**53 + 1)
        assert same(
            back.get("inner", back.get("anything")), INF if kind is Checked else [INF, {"number": 1, "anything": NAN}]
        )


def cyclic() -> list[object]:
    cycle: list[object] = []
    cycle.append({"again": cycle})
    return cycle


REFUSED_EVERYWHERE = [
    ({1: 2}, "argument 2 of set: dictionary key 1 is int; only str keys can be sent"),
    ({"a": [0, {None: 1}]}, 'argument 2 of set, at ["a"][1]: dictionary key None is NoneType'),
    ([(({b"k": 1},),)], "argument 2 of set, at [0][0][0]: dictionary key b'k' is bytes"),
    ({UUID(int=1): 1}, "is uuid.UUID; only str keys"),
    ([object()], "argument 2 of set, at [0]: object cannot be sent"),
    ({"lock": threading.Lock()}, 'argument 2 of set, at ["lock"]: _thread.lock cannot be sent'),
    (range(3), "argument 2 of set: range cannot be sent"),
    (Plain, "argument 2 of set: type cannot be sent"),
    (Plain(inner=object()), "Plain cannot be sent: Unable to serialize unknown type: <class 'object'>"),
    ([Plain(inner=b"\xff")], "Plain cannot be sent: 'utf-8' codec can't decode byte 0xff"),
    ({"a\n\ud800": {1: 1}}, r'argument 2 of set, at ["a\n\ud800"]: dictionary key 1'),
    (cyclic(), "levels deep, or contains itself"),
    (Plain(inner=cyclic()), "Plain cannot be sent: Circular reference detected"),
]


@pytest.mark.parametrize("encode_args", [native.encode_args, compat.encode_args])
@pytest.mark.parametrize(("value", "text"), REFUSED_EVERYWHERE)
def test_refused_by_name(encode_args: Any, value: object, text: str) -> None:
    with pytest.raises(ValueNotSupported, match=re.escape(text)) as caught:
        encode_args([None, value], "set")
    str(caught.value).encode()


@pytest.mark.parametrize("encode", [native.encode, compat.encode_value])
def test_a_result_is_refused_by_its_name(encode: Any) -> None:
    with pytest.raises(ValueNotSupported, match=r"^result of read, at \[0\]: dictionary key 1 is int"):
        encode([{1: 2}], "result of read")


@pytest.mark.parametrize("encode", [native.encode, compat.encode_value])
def test_too_deep_is_a_clear_error(encode: Any) -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueNotSupported, match="nested"):
        encode(value)
    while isinstance(value, list):
        value = value.pop()


def test_too_deep_for_the_stack_left_is_a_clear_error() -> None:
    def at_depth(frames: int) -> bytes:
        return at_depth(frames - 1) if frames else native.encode(value)

    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    with pytest.raises(ValueNotSupported, match="recursion limit"):
        at_depth(700)


class TestMalformed:
    @given(st.binary(max_size=200))
    def test_any_bytes_decode_or_are_refused(self, data: bytes) -> None:
        for decode in (native.decode, native.decode_args):
            try:
                decode(data)
            except MalformedValue:
                continue

    @given(values, st.data())
    def test_a_flipped_byte(self, value: object, data: st.DataObject) -> None:
        encoded = bytearray(native.encode(value))
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
        try:
            native.decode(bytes(encoded))
        except MalformedValue:
            return

    @given(values, st.data())
    def test_truncated(self, value: object, data: st.DataObject) -> None:
        encoded = native.encode(value)
        with pytest.raises(MalformedValue):
            native.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"", "0 bytes"),
            (b"\xc1", "malformed"),
            (b"\x01\x02", "extra data"),
            (b"\x81\x01\x01", "map key"),
            (msgpack.packb(msgpack.ExtType(9, b"")), "unknown extension type 9"),
            (sent_datetime("never", 0, None, None), "malformed"),
            (sent_datetime("2024-01-01", 7, None, None), "malformed"),
            (sent_datetime("2024-01-01", 0, 10**15, None), "malformed"),
            (sent_datetime("2024-01-01", 0, 0, 5), "malformed"),
            (sent_datetime("2024-01-01"), "malformed"),
            (msgpack.packb(msgpack.ExtType(2, b"short")), "malformed"),
            (b"\x91" * 2000 + b"\x01", "malformed"),
        ],
    )
    def test_says_what_is_wrong(self, data: bytes, text: str) -> None:
        with pytest.raises(MalformedValue, match=f"(?i){text}"):
            native.decode(data)

    def test_arguments_that_are_no_list(self) -> None:
        with pytest.raises(MalformedValue, match="dict instead of a list"):
            native.decode_args(native.encode({}))

    @pytest.mark.parametrize("size", [4000, MIB, 32 * MIB])
    def test_headers_that_claim_more_than_there_is_take_no_memory(self, size: int) -> None:
        claim = b"\xdd" + struct.pack(">I", size)
        hostile = claim * min(700, size // 10)
        hostile += bytes(size - len(hostile))
        tracemalloc.start()
        try:
            with pytest.raises(MalformedValue):
                native.decode(hostile)
            assert tracemalloc.get_traced_memory()[1] < 2 * size + 64 * MIB
        finally:
            tracemalloc.stop()


# What 0.9.0 gives for each, recorded by running it.
AS_0_9_0 = [
    (None, None),
    (True, True),
    (0, 0.0),
    (1, 1.0),
    (-(2**53), -9007199254740992.0),
    (2**53, 9007199254740992.0),
    (1.5, 1.5),
    (-0.0, -0.0),
    (1e308, 1e308),
    ("a", "a"),
    ("\x00é\U0001f600", "\x00é\U0001f600"),
    (b"abc", "abc"),
    (b"\xc3\xa9", "é"),
    (bytearray(b"a"), "a"),
    ([], []),
    ({}, {}),
    ([1, [2, ["x"]]], [1.0, [2.0, ["x"]]]),
    ((1, 2), [1.0, 2.0]),
    ({1}, [1.0]),
    (frozenset({1}), [1.0]),
    (collections.deque([1]), [1.0]),
    (Pair(1, 2), [1.0, 2.0]),
    ({"a": 1, "": {"b": None}}, {"a": 1.0, "": {"b": None}}),
    (collections.OrderedDict(a=1), {"a": 1.0}),
    ({Name.A: 1, Text("t"): 2}, {"a": 1.0, "t": 2.0}),
    (Colour.RED, "red"),
    (Colour.PAIR, [1.0, 2.5]),
    (Level.HIGH, 5.0),
    (Name.A, "a"),
    (Bits.A | Bits.B, 3.0),
    (Text("s"), "s"),
    (Number(3), 3.0),
    (Real(1.5), 1.5),
    (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (datetime(2024, 1, 2, 3, 4, 5, 678), "2024-01-02T03:04:05.000678"),
    (datetime(2024, 1, 2), "2024-01-02T00:00:00"),
    (datetime(1, 1, 1), "0001-01-01T00:00:00"),
    (datetime.max, "9999-12-31T23:59:59.999999"),
    (datetime(2024, 1, 2, fold=1), "2024-01-02T00:00:00"),
    (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00Z"),
    (datetime(2024, 7, 2, tzinfo=ZoneInfo("Europe/Prague")), "2024-07-02T00:00:00+02:00"),
    (datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=23, minutes=59))), "2024-01-02T00:00:00+23:59"),
    (date(2024, 1, 2), "2024-01-02"),
    (time(1, 2, 3), "01:02:03"),
    (time(1, 2, 3, 4, tzinfo=UTC), "01:02:03.000004Z"),
    (timedelta(0), "PT0S"),
    (timedelta(days=1, seconds=2.5), "P1DT2.5S"),
    (timedelta(days=-1, seconds=2.5), "-PT23H59M57.5S"),
    (timedelta(days=400), "P1Y35D"),
    (timedelta(microseconds=1), "PT0.000001S"),
    (decimal.Decimal("1.50"), "1.50"),
    (decimal.Decimal("NaN"), "NaN"),
    (pathlib.Path("a/../b"), "a/../b"),
    (1j, "1j"),
    (fractions.Fraction(1, 2), "1/2"),
    (re.compile("a"), "a"),
    (ipaddress.ip_address("1.2.3.4"), "1.2.3.4"),
    (pydantic.SecretStr("abc"), "**********"),
    (Inner(), {"number": 1.0, "anything": None}),
    (Plain(inner=Inner()), {"number": 1.0, "inner": {"number": 1.0, "anything": None}, "_hidden": 3.0}),
    (Checked(), {"number": 1.0, "anything": None}),
]

REFUSED_TOWARDS_0_9_0 = [
    (NAN, "v: a 0.9.0 peer would read nan as None"),
    ({"a": [1, -INF]}, 'v, at ["a"][1]: a 0.9.0 peer would read -inf as None'),
    (Colour.NOTHING, "v: a 0.9.0 peer would read nan"),
    (Inner(anything=[INF]), 'v, at ["anything"][0]: a 0.9.0 peer would read inf'),
    (2**53 + 1, "v: a 0.9.0 peer takes no int beyond 2**53"),
    ([-(2**53) - 1], "v, at [0]: a 0.9.0 peer takes no int beyond 2**53"),
    (10**400, "v: a 0.9.0 peer takes no int beyond 2**53"),
    (Inner(number=2**60), 'v, at ["number"]: a 0.9.0 peer takes no int beyond 2**53'),
    (b"\xff", "v: a 0.9.0 peer takes bytes only as UTF-8 text"),
    ({"k": (b"\xff",)}, 'v, at ["k"][0]: a 0.9.0 peer takes bytes only as UTF-8 text'),
    ("\ud800", "v: a 0.9.0 peer takes no str with lone surrogates"),
    ({"\ud800": 1}, r'v, at ["\ud800"]: a 0.9.0 peer takes no str with lone surrogates'),
    (
        datetime(2024, 1, 2, tzinfo=timezone(timedelta(seconds=3601))),
        "v: a 0.9.0 peer takes no UTC offset with seconds",
    ),
]


class TestCompat:
    @pytest.mark.parametrize(("value", "expected"), AS_0_9_0)
    def test_arrives_as_0_9_0_has_it(self, value: object, expected: object) -> None:
        assert same(compat.decode_value(compat.encode_value(value)), expected)
        assert same(compat.decode_value(compat.encode_value([{"k": value}])), [{"k": expected}])

    @pytest.mark.parametrize(("value", "text"), REFUSED_TOWARDS_0_9_0)
    def test_what_would_change_in_silence_is_refused(self, value: object, text: str) -> None:
        with pytest.raises(ValueNotSupported, match="^" + re.escape(text)) as caught:
            compat.encode_value(value, "v")
        str(caught.value).encode()

    def test_arguments_are_numbered_from_one(self) -> None:
        assert [compat.decode_value(v) for v in compat.encode_args([1, "a"], "m")] == [1.0, "a"]
        with pytest.raises(ValueNotSupported, match=r"^argument 2 of m, at \[0\]: "):
            compat.encode_args([1, [NAN]], "m")

    def test_an_unset_kind_is_none(self) -> None:
        assert compat.decode_value(Value()) is None

    @given(values)
    def test_arrives_or_is_refused_by_name(self, value: object) -> None:
        try:
            message = compat.encode_value(value, "the value")
        except ValueNotSupported:
            assert not carried_by_0_9_0(value)
            return
        received = compat.decode_value(Value.FromString(message.SerializeToString()))
        assert same(received, arrives(value))

    @settings(max_examples=50)
    @given(st.lists(st.booleans(), min_size=30, max_size=60))
    def test_depth_is_refused_where_the_parser_would_stop(self, kinds: list[bool]) -> None:
        value: Any = 1
        for is_list in kinds:
            value = [value] if is_list else {"k": value}
        try:
            message = compat.encode_value(value)
        except ValueNotSupported:
            assert not parses(chain(kinds))
        else:
            assert parses(message)


def arrives(value: object) -> object:
    """What a 0.9.0 peer reads for a value that it can take."""
    if isinstance(value, bool | None | str):
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [arrives(item) for item in value]
    if isinstance(value, dict):
        return {key: arrives(item) for key, item in value.items()}
    return pydantic.TypeAdapter(Any).dump_python(value, mode="json")


def carried_by_0_9_0(value: object) -> bool:
    if isinstance(value, list):
        return all(map(carried_by_0_9_0, value))
    if isinstance(value, dict):
        return all(carried_by_0_9_0(key) and carried_by_0_9_0(item) for key, item in value.items())
    if isinstance(value, datetime):
        return not (value.utcoffset() or timedelta()) % timedelta(minutes=1)
    if isinstance(value, int):
        return abs(value) <= 2**53
    if isinstance(value, float):
        return math.isfinite(value)
    return is_text(value) if isinstance(value, str | bytes) else True


def is_text(value: str | bytes) -> bool:
    try:
        (value if isinstance(value, bytes) else value.encode()).decode()
    except UnicodeError:
        return False
    return True


def chain(kinds: list[bool]) -> Value:
    message = innermost = Value()
    for is_list in reversed(kinds):
        innermost = innermost.list_value.values.add() if is_list else innermost.struct_value.fields["k"]
    innermost.number_value = 1
    return message


def parses(message: Value) -> bool:
    try:
        data = jumpstarter_pb2.DriverCallRequest(args=[message]).SerializeToString()
        jumpstarter_pb2.DriverCallRequest.FromString(data)
    except (ValueError, DecodeError):
        return False
    return True
