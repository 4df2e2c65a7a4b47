"""Arguments are held against the method's annotations, and a refusal names method, parameter, expected and got."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import uuid
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import pydantic
import pytest
from google.protobuf.struct_pb2 import Value
from jumpstarter.client import DriverClient
from jumpstarter.client.core import DriverInvalidArgument
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import DriverCallRequest
from pydantic import validate_call
from typing_extensions import TypedDict  # pydantic takes the one of typing from 3.12 on

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

T = TypeVar("T")
NAMED = uuid.UUID(int=7)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int


@dataclasses.dataclass
class HalfKnown:
    x: int
    other: Unknown


class Model(pydantic.BaseModel):
    x: int


class Typed(TypedDict):
    x: int


class Opaque:
    pass


def told(value: Any) -> list[str]:
    """What a method got: type and text."""
    return [type(value).__name__, str(value)]


class Checked(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def none(self) -> None:
        pass

    @export
    def free(self, value) -> Any:  # type: ignore[no-untyped-def]
        return value

    @export
    def any(self, value: Any, thing: object) -> Any:
        return [value, thing]

    @export
    def an_int(self, value: int) -> list[str]:
        return told(value)

    @export
    def a_bool(self, value: bool) -> list[str]:
        return told(value)

    @export
    def a_float(self, value: float) -> list[str]:
        return told(value)

    @export
    def a_str(self, value: str) -> list[str]:
        return told(value)

    @export
    def some_bytes(self, value: bytes) -> list[str]:
        return told(value)

    @export
    def a_uuid(self, value: uuid.UUID) -> list[str]:
        return told(value)

    @export
    def a_path(self, value: Path) -> list[str]:
        return told(value)

    @export
    def a_moment(self, value: datetime) -> list[str]:
        return told(value)

    @export
    def a_duration(self, value: timedelta) -> list[str]:
        return told(value)

    @export
    def an_address(self, value: ipaddress.IPv4Address) -> list[str]:
        return told(value)

    @export
    def a_colour(self, value: Colour) -> list[str]:
        return told(value)

    @export
    def a_word(self, value: Literal["on", "off"]) -> list[str]:
        return told(value)

    @export
    def an_optional(self, value: int | None) -> list[str]:
        return told(value)

    @export
    def a_list(self, value: list[int]) -> list[str]:
        return told(value)

    @export
    def a_tuple(self, value: tuple[int, str]) -> list[str]:
        return told(value)

    @export
    def a_sequence(self, value: Sequence[int]) -> list[str]:
        return told(value)

    @export
    def an_iterable(self, value: Iterable[int]) -> list[str]:
        return told(list(value) + list(value))

    @export
    def a_dict(self, value: dict[str, int]) -> list[str]:
        return told(value)

    @export
    def a_point(self, value: Point) -> list[str]:
        return told(value)

    @export
    def a_half_known(self, value: HalfKnown) -> list[str]:
        return told(value)

    @export
    def a_model(self, value: Model) -> list[str]:
        return told(value)

    @export
    def a_typed(self, value: Typed) -> list[str]:
        return told(value)

    @export
    def a_percentage(self, value: Annotated[int, pydantic.Field(ge=0, le=100)]) -> list[str]:
        return told(value)

    @export
    def opaque(self, value: Opaque, other: int) -> list[str]:
        return told(value)

    @export
    def generic(self, value: T) -> list[str]:
        return told(value)

    @export
    def unknown(self, value: Unknown, listed: list[Unknown], other: int) -> list[list[str]]:
        return [told(value), told(listed), told(other)]

    @export
    def prose(self, value: "the baud rate", other: int) -> list[list[str]]:  # type: ignore[valid-type]  # noqa: F722
        return [told(value), told(other)]

    @export
    def defaults(self, first: int, second: str = "two", third: int = None) -> list[Any]:  # type: ignore[assignment]  # noqa: RUF013
        return [first, second, third]

    @export
    def rest(self, first: str, *numbers: int) -> list[Any]:
        return [first, list(numbers)]

    @export
    def free_rest(self, *everything) -> list[Any]:  # type: ignore[no-untyped-def]
        return list(everything)

    @export
    def positional_only(self, value: int, /, other: int = 1) -> list[Any]:
        return [value, other]

    @export
    def keyword_only(self, value: int, *, unit: str = "V", **more: Any) -> list[Any]:
        return [value, unit, more]

    @export
    def keyword_needed(self, value: int, *, unit: str) -> list[Any]:
        return [value, unit]

    @export
    async def coroutine(self, value: int) -> list[str]:
        return told(value)

    @export
    def generator(self, value: int) -> Generator[list[str]]:
        yield told(value)

    @export
    async def async_generator(self, value: int) -> AsyncGenerator[list[str]]:
        yield told(value)

    @export
    @staticmethod
    def static(value: int) -> list[str]:
        return told(value)

    @classmethod
    @export
    def of_class(cls, value: int) -> list[str]:
        return told(value)

    @export
    @validate_call
    def guarded(self, value: int, other: str = "") -> list[str]:
        return told(value)


@pytest.fixture(scope="module")
def client() -> Generator[DriverClient]:
    with serve(Checked()) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "sent", "got"),
    [
        ("an_int", 7.0, ["int", "7"]),
        ("an_int", "7", ["int", "7"]),
        ("an_int", True, ["int", "1"]),
        ("an_int", 2**200, ["int", str(2**200)]),
        ("a_bool", 1, ["bool", "True"]),
        ("a_bool", 0.0, ["bool", "False"]),
        ("a_bool", "off", ["bool", "False"]),
        ("a_float", 7, ["float", "7.0"]),
        ("a_float", "1e3", ["float", "1000.0"]),
        ("a_float", float("inf"), ["float", "inf"]),
        ("a_str", b"text", ["str", "text"]),
        ("some_bytes", b"\xff\x00", ["bytes", str(b"\xff\x00")]),
        ("some_bytes", "text", ["bytes", str(b"text")]),
        ("a_uuid", NAMED, ["UUID", str(NAMED)]),
        ("a_uuid", str(NAMED), ["UUID", str(NAMED)]),
        ("a_path", Path("/a/b"), [type(Path()).__name__, "/a/b"]),
        ("a_moment", "2024-01-02T03:04:05", ["datetime", "2024-01-02 03:04:05"]),
        ("a_duration", 90, ["timedelta", "0:01:30"]),
        ("an_address", ipaddress.IPv4Address("10.0.0.1"), ["IPv4Address", "10.0.0.1"]),
        ("a_colour", Colour.RED, ["Colour", "Colour.RED"]),
        ("a_colour", "red", ["Colour", "Colour.RED"]),
        ("a_word", "on", ["str", "on"]),
        ("an_optional", None, ["NoneType", "None"]),
        ("an_optional", "3", ["int", "3"]),
        ("a_list", [1.0, "2"], ["list", "[1, 2]"]),
        ("a_tuple", [1.0, "b"], ["tuple", "(1, 'b')"]),
        ("a_sequence", [1.0, 2], ["list", "[1, 2]"]),
        ("an_iterable", [1, 2], ["list", "[1, 2, 1, 2]"]),
        ("a_dict", {"a": 1.0}, ["dict", "{'a': 1}"]),
        ("a_point", Point(1, 2), ["Point", "Point(x=1, y=2)"]),
        ("a_point", {"x": 1.0, "y": "2"}, ["Point", "Point(x=1, y=2)"]),
        ("a_half_known", {"x": 1, "other": 2}, ["dict", "{'x': 1, 'other': 2}"]),
        ("a_model", Model(x=3), ["Model", "x=3"]),
        ("a_typed", {"x": "3"}, ["dict", "{'x': 3}"]),
        ("a_percentage", 100, ["int", "100"]),
        ("generic", [1], ["list", "[1]"]),
        ("coroutine", 7.0, ["int", "7"]),
        ("generator", 7.0, ["int", "7"]),
        ("async_generator", 7.0, ["int", "7"]),
        ("static", 7.0, ["int", "7"]),
        ("of_class", 7.0, ["int", "7"]),
        ("guarded", 7.0, ["int", "7"]),
    ],
)
def test_what_fits_is_converted(client: DriverClient, method: str, sent: Any, got: list[str]) -> None:
    assert list(client.streamingcall(method, sent)) == [got]


@pytest.mark.parametrize(
    ("method", "sent", "expected", "got"),
    [
        ("an_int", 7.5, "int", "float 7.5"),
        ("an_int", "seven", "int", "str 'seven'"),
        ("an_int", None, "int", "NoneType None"),
        ("an_int", [7], "int", "list [7]"),
        ("an_int", float("nan"), "int", "float nan"),
        ("an_int", float("inf"), "int", "float inf"),
        ("a_bool", 2, "bool", "int 2"),
        ("a_float", "fast", "float", "str 'fast'"),
        ("a_str", 7, "str", "int 7"),
        ("a_str", b"\xff", "str", r"bytes b'\xff'"),
        ("a_uuid", "7", "UUID", "str '7'"),
        ("a_moment", "noon", "datetime", "str 'noon'"),
        ("a_colour", "blue", "Colour", "str 'blue'"),
        ("a_word", "ON", "Literal['on', 'off']", "str 'ON'"),
        ("an_optional", "x", "int | None", "str 'x'"),
        ("a_list", 3, "list[int]", "int 3"),
        ("a_list", "12", "list[int]", "str '12'"),
        ("a_tuple", [1], "tuple[int, str]", "list [1] at 1"),
        ("a_dict", [], "dict[str, int]", "list []"),
        ("a_point", {"x": 1}, "Point", "dict {'x': 1} at y"),
        ("a_point", {"x": 1, "y": "?"}, "Point", "dict {'x': 1, 'y': '?'} at y"),
        ("a_model", {"x": "?"}, "Model", "dict {'x': '?'} at x"),
        ("coroutine", "x", "int", "str 'x'"),
        ("generator", "x", "int", "str 'x'"),
        ("async_generator", "x", "int", "str 'x'"),
        ("static", "x", "int", "str 'x'"),
        ("of_class", "x", "int", "str 'x'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    client: DriverClient, method: str, sent: Any, expected: str, got: str
) -> None:
    with pytest.raises(DriverInvalidArgument) as caught:
        list(client.streamingcall(method, sent))
    assert f"{method}(): argument 'value': expected {expected}, got {got} (" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_nested_place_is_named(client: DriverClient) -> None:
    with pytest.raises(DriverInvalidArgument, match=r"expected list\[int\], got list \[1, 2, 'x'\] at 2 \(.*integer"):
        client.call("a_list", [1, 2, "x"])


def test_a_constraint_is_told(client: DriverClient) -> None:
    with pytest.raises(DriverInvalidArgument, match=r"expected int, got int 101 \(.*less than or equal to 100"):
        client.call("a_percentage", 101)


def test_a_long_value_is_shown_in_part(client: DriverClient) -> None:
    with pytest.raises(DriverInvalidArgument) as caught:
        client.call("an_int", "x" * 100_000)
    assert len(str(caught.value)) < 500


def test_without_annotations_anything_passes(client: DriverClient) -> None:
    for value in (None, 1, 1.5, "x", b"\xff", [1, {"a": None}], {"kind": "x"}):
        assert client.call("free", value) == value
        assert client.call("any", value, value) == [value, value]


class TestAnnotationsThatCannotBeUsed:
    """They are left alone, and take no other parameter's check with them."""

    def test_a_name_for_type_checkers_only(self, client: DriverClient) -> None:
        assert client.call("unknown", "u", ["l"], "3") == [["str", "u"], ["list", "['l']"], ["int", "3"]]
        with pytest.raises(DriverInvalidArgument, match="argument 'other': expected int, got str 'x'"):
            client.call("unknown", "u", ["l"], "x")

    def test_prose(self, client: DriverClient) -> None:
        assert client.call("prose", "fast", "3") == [["str", "fast"], ["int", "3"]]
        with pytest.raises(DriverInvalidArgument, match="argument 'other'"):
            client.call("prose", "fast", "x")

    def test_a_type_that_pydantic_cannot_check(self, client: DriverClient) -> None:
        assert client.call("opaque", "anything", 1) == ["str", "anything"]
        with pytest.raises(DriverInvalidArgument, match="argument 'other'"):
            client.call("opaque", "anything", "x")


class TestHowMany:
    def test_defaults(self, client: DriverClient) -> None:
        assert client.call("defaults", 1) == [1, "two", None]
        assert client.call("defaults", 1, "b") == [1, "b", None]
        assert client.call("defaults", 1, "b", 3.0) == [1, "b", 3]

    def test_none_for_a_parameter_that_has_it_as_default(self, client: DriverClient) -> None:
        assert client.call("defaults", 1, "b", None) == [1, "b", None]
        with pytest.raises(DriverInvalidArgument, match="argument 'second': expected str, got NoneType"):
            client.call("defaults", 1, None)

    @pytest.mark.parametrize(
        ("method", "args", "text"),
        [
            ("none", [1], "none(): takes no arguments; got 1"),
            ("an_int", [], "an_int(value): missing value; got 0"),
            ("an_int", [1, 2], "an_int(value): takes at most 1 argument; got 2"),
            ("defaults", [], "defaults(first, second=..., third=...): missing first; got 0"),
            ("defaults", [1, "b", 3, 4], "takes at most 3 arguments; got 4"),
            ("unknown", [1], "unknown(value, listed, other): missing listed, other; got 1"),
            ("rest", [], "rest(first, *numbers): missing first; got 0"),
            ("positional_only", [1, 2, 3], "takes at most 2 arguments; got 3"),
            ("keyword_only", [1, "A"], "takes at most 1 argument; got 2"),
            ("coroutine", [], "coroutine(value): missing value; got 0"),
            ("generator", [], "generator(value): missing value; got 0"),
            ("static", [], "static(value): missing value; got 0"),
            ("of_class", [1, 2], "of_class(value): takes at most 1 argument; got 2"),
            ("guarded", [], "guarded(value, other=...): missing value; got 0"),
        ],
    )
    def test_wrong_number(self, client: DriverClient, method: str, args: list[Any], text: str) -> None:
        with pytest.raises(DriverInvalidArgument) as caught:
            list(client.streamingcall(method, *args))
        assert text in str(caught.value)

    def test_the_rest_is_checked_each(self, client: DriverClient) -> None:
        assert client.call("rest", "x") == ["x", []]
        assert client.call("rest", "x", 1.0, "2", 3) == ["x", [1, 2, 3]]
        with pytest.raises(DriverInvalidArgument, match="argument 'numbers': expected int, got str 'y'"):
            client.call("rest", "x", 1, "y")
        assert client.call("free_rest", 1, "a", None) == [1, "a", None]

    def test_keyword_only_parameters_keep_their_defaults(self, client: DriverClient) -> None:
        assert client.call("keyword_only", 1) == [1, "V", {}]

    def test_a_keyword_only_parameter_without_default_is_named(self, client: DriverClient) -> None:
        with pytest.raises(Exception, match="unit"):
            client.call("keyword_needed", 1)


class TestValidateCall:
    def test_its_refusal_names_method_and_parameter(self, client: DriverClient) -> None:
        with pytest.raises(DriverInvalidArgument, match=r"guarded\(\): argument 'value': .*, got str 'x'"):
            client.call("guarded", "x")
        with pytest.raises(DriverInvalidArgument, match=r"guarded\(\): argument 'other': .*, got int 2"):
            client.call("guarded", 1, 2)


@pytest.mark.parametrize("kind", ["client_stream", "presigned_request"])
def test_a_resource_handle_passes_any_annotation(client: DriverClient, kind: str) -> None:
    handle = {"kind": kind, "uuid": str(NAMED)}
    for method in ("an_int", "a_path", "a_str", "a_colour", "a_model"):
        assert client.call(method, handle)[0] == "dict"
    assert client.call("rest", handle, handle) == [handle, [handle]]
    with pytest.raises(DriverInvalidArgument):
        client.call("an_int", {"kind": "something else"})


@pytest.mark.parametrize("kind", [["client_stream"], {"client_stream": 1}, None, 7])
def test_a_dict_whose_kind_is_no_text_is_a_dict(client: DriverClient, kind: Any) -> None:
    with pytest.raises(DriverInvalidArgument, match=r"an_int\(\): argument 'value': expected int, got dict"):
        client.call("an_int", {"kind": kind})


def test_nothing_runs_before_the_check() -> None:
    ran = []

    class Once(Checked):
        @export
        def effect(self, value: int) -> None:
            ran.append(value)

        @export
        def effects(self, value: int) -> Generator[int]:
            ran.append(value)
            yield value

    with serve(Once()) as client:
        for method in ("effect", "effects"):
            with pytest.raises(DriverInvalidArgument):
                list(client.streamingcall(method, "x"))
            with pytest.raises(DriverInvalidArgument):
                list(client.streamingcall(method))
    assert ran == []


@pytest.mark.anyio
async def test_a_client_that_sends_doubles_only_is_converted_too(exporting: Any) -> None:
    async with exporting(Checked()) as exporter:
        request = DriverCallRequest(uuid=str(exporter.client.uuid), method="an_int", args=[Value(number_value=7.0)])
        response = await exporter.client.stub.DriverCall(request)
        assert [item.string_value for item in response.result.list_value.values] == ["int", "7"]
