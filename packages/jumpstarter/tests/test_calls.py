"""What an exported method gives, whatever its kind and however its driver is written; what is refused, and how."""

from __future__ import annotations

import dataclasses
import math
import struct
from abc import ABCMeta, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from datetime import UTC
from functools import cached_property
from typing import Any

import anyio
import pydantic
import pytest
from anyio.abc import ObjectStream
from hypothesis import given
from hypothesis import strategies as st
from jumpstarter.client import DriverClient
from jumpstarter.client.core import DriverError, DriverMethodNotImplemented
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.streams.common import create_memory_stream
from jumpstarter.values.plain import ValueNotSupported
from pydantic import validate_call

MIB = 1024 * 1024


class Base(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"


class Kinds(Base):
    """Every kind of export under one roof."""

    looked_at = 0

    @export
    def sync(self, value: Any) -> Any:
        return ["sync", value]

    @export
    async def coroutine(self, value: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        return ["coroutine", value]

    @export
    def generator(self, count: int) -> Generator[int]:
        yield from range(count)

    @export
    async def async_generator(self, count: int) -> AsyncGenerator[int]:
        for number in range(count):
            await anyio.lowlevel.checkpoint()
            yield number

    @export
    @validate_call
    def validated(self, value: int) -> list[Any]:
        return ["validated", value]

    @validate_call
    @export
    def validated_outside(self, value: int) -> list[Any]:
        return ["validated outside", value]

    @export
    @validate_call
    async def validated_coroutine(self, value: int) -> list[Any]:
        return ["validated coroutine", value]

    @export
    @validate_call
    def validated_generator(self, count: int) -> Generator[int]:
        yield from range(count)

    @validate_call
    @export
    def validated_generator_outside(self, count: int) -> Generator[int]:
        yield from range(count)

    @export
    @validate_call
    async def validated_async_generator(self, count: int) -> AsyncGenerator[int]:
        for number in range(count):
            yield number

    @export
    @staticmethod
    def static(value: int) -> list[Any]:
        return ["static", value]

    @classmethod
    @export
    def of_class(cls, value: int) -> list[Any]:
        return [cls.__name__, value]

    @export
    def returns_coroutine(self, value: int) -> Any:
        return self.coroutine(value)

    @export
    def _recv_internal(self, value: int) -> list[Any]:
        return ["underscore", value]

    @export
    def status(self) -> str:
        return "of the driver"

    @export
    def name_of(self) -> str:
        return self.name

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        near, far = create_memory_stream()
        async with near, far:
            yield near

    def hidden(self) -> str:
        return "not for clients"

    @property
    def voltage(self) -> float:
        type(self).looked_at += 1
        raise OSError("a property that reads the hardware")

    @cached_property
    def serial_number(self) -> str:
        type(self).looked_at += 1
        return "1"


@pytest.fixture(scope="module")
def client() -> Generator[DriverClient]:
    with serve(Kinds()) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("sync", ["sync", 7]),
        ("coroutine", ["coroutine", 7]),
        ("validated", ["validated", 7]),
        ("validated_outside", ["validated outside", 7]),
        ("validated_coroutine", ["validated coroutine", 7]),
        ("static", ["static", 7]),
        ("of_class", ["Kinds", 7]),
        ("returns_coroutine", ["coroutine", 7]),
        ("_recv_internal", ["underscore", 7]),
    ],
)
class TestUnaryKinds:
    def test_call(self, client: DriverClient, method: str, result: Any) -> None:
        assert client.call(method, 7) == result

    def test_streaming_call_gives_the_one_value(self, client: DriverClient, method: str, result: Any) -> None:
        assert list(client.streamingcall(method, 7)) == [result]


@pytest.mark.parametrize(
    "method",
    [
        "generator",
        "async_generator",
        "validated_generator",
        "validated_generator_outside",
        "validated_async_generator",
    ],
)
class TestStreamingKinds:
    def test_streaming_call(self, client: DriverClient, method: str) -> None:
        assert list(client.streamingcall(method, 3)) == [0, 1, 2]

    def test_no_item_at_all(self, client: DriverClient, method: str) -> None:
        assert list(client.streamingcall(method, 0)) == []

    def test_call_says_what_to_use(self, client: DriverClient, method: str) -> None:
        if method == "validated_generator":
            # 0.9.0 knows it as a method that returns a list, and its clients call it so.
            assert client.call(method, 3) == [0, 1, 2]
            return
        with pytest.raises(DriverMethodNotImplemented) as caught:
            client.call(method, 3)
        assert str(caught.value) == f"{method}: {method} of Kinds is a streaming export: use streamingcall({method!r})"


def test_a_call_and_the_client_property_of_the_same_name(client: DriverClient) -> None:
    assert client.call("status") == "of the driver"
    assert str(client.status) == "LEASE_READY"


def test_an_export_named_close_is_a_call_too() -> None:
    closed = []

    class Door(Base):
        @export
        def close(self) -> str:
            closed.append(len(closed) + 1)
            super().close()
            return "closed"

    with serve(Door()) as client:
        assert client.call("close") == "closed"
        assert closed == [1]
    assert closed == [1, 2]


def test_a_method_made_at_run_time() -> None:
    class Late(Base):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.added = export(lambda value: ["added", value])

    with serve(Late()) as client:
        assert client.call("added", 1) == ["added", 1]


def test_overriding_without_export_takes_it_back() -> None:
    class Narrow(Kinds):
        def sync(self, value: Any) -> Any:
            return super().sync(value)

    with serve(Narrow()) as client, pytest.raises(DriverMethodNotImplemented, match=r"Narrow\.sync is not exported"):
        client.call("sync", 1)


Way = Callable[[DriverClient, str], Any]


def by_call(client: DriverClient, method: str) -> None:
    client.call(method)


def by_streamingcall(client: DriverClient, method: str) -> None:
    next(client.streamingcall(method))


def by_stream(client: DriverClient, method: str) -> None:
    with client.stream(method):
        raise AssertionError(f"{method} opened as a stream")


def by_open_stream(client: DriverClient, method: str) -> None:
    client.open_stream(method).close()
    raise AssertionError(f"{method} opened as a stream")


@pytest.mark.parametrize("way", [by_call, by_streamingcall, by_stream, by_open_stream])
class TestRefused:
    @pytest.mark.parametrize("name", ["nothing", "", "connect.__wrapped__", "children.power", "\N{SNOWMAN}"])
    def test_a_name_that_is_not_there(self, client: DriverClient, way: Way, name: str) -> None:
        with pytest.raises(DriverMethodNotImplemented) as caught:
            way(client, name)
        assert f"method {name} not found on driver Kinds" in str(caught.value)

    @pytest.mark.parametrize(
        "name", ["hidden", "logger", "children", "__class__", "__init__", "__dict__", "uuid", "log_level", "reset"]
    )
    def test_what_is_not_exported(self, client: DriverClient, way: Way, name: str) -> None:
        with pytest.raises(DriverMethodNotImplemented) as caught:
            way(client, name)
        assert "missing marker" in str(caught.value)
        assert f"Kinds.{name} is not exported" in str(caught.value)

    @pytest.mark.parametrize("name", ["voltage", "serial_number"])
    def test_a_property_is_not_even_looked_at(self, client: DriverClient, way: Way, name: str) -> None:
        with pytest.raises(DriverMethodNotImplemented, match=f"{name} is not exported"):
            way(client, name)
        assert Kinds.looked_at == 0


@pytest.mark.parametrize("way", [by_call, by_streamingcall])
def test_a_stream_constructor_called(client: DriverClient, way: Way) -> None:
    with pytest.raises(DriverMethodNotImplemented, match=r"is a stream constructor: use stream\('connect'\)"):
        way(client, "connect")


@pytest.mark.parametrize("way", [by_stream, by_open_stream])
def test_a_call_opened_as_a_stream(client: DriverClient, way: Way) -> None:
    with pytest.raises(DriverMethodNotImplemented, match=r"sync of Kinds is an exported method: use call\('sync'\)"):
        way(client, "sync")
    with pytest.raises(DriverMethodNotImplemented, match=r"use streamingcall\('generator'\)"):
        way(client, "generator")


def test_an_error_names_the_child_it_came_from() -> None:
    with serve(Base(children={"console": Kinds()})) as client:
        with pytest.raises(DriverError, match=r"^console\.nothing: "):
            client.children["console"].call("nothing")


any_text = st.text(st.characters(exclude_categories=()))
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | any_text | st.binary() | st.uuids()
) | st.datetimes(timezones=st.none() | st.just(UTC))
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(any_text, inner), max_leaves=20)


def same(one: Any, other: Any) -> bool:
    """Equal in value and in exact type, at every depth."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other and str(one) == str(other)


class TestValues:
    """As argument and as result, whatever kind of method they pass through."""

    @given(value=values)
    def test_keep_value_and_type(self, client: DriverClient, value: Any) -> None:
        for method in ("sync", "coroutine"):
            result = client.call(method, value)
            assert same(result, [method, value])
            assert same(list(client.streamingcall(method, value)), [result])

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0])
    def test_floats_of_their_own_kind(self, client: DriverClient, value: float) -> None:
        (_, result) = client.call("sync", value)
        assert struct.pack("d", result) == struct.pack("d", value)

    @pytest.mark.parametrize(
        "value", [b"\xff" * (32 * MIB), "\N{SNOWMAN}" * (10 * MIB), [1.5] * (3 * MIB)], ids=["bytes", "str", "list"]
    )
    def test_32_megabytes(self, client: DriverClient, value: Any) -> None:
        assert client.call("coroutine", value)[1] == value

    def test_dict_keys_that_are_no_str_are_refused_by_name(self, client: DriverClient) -> None:
        with pytest.raises(ValueNotSupported, match=r"argument 1 of sync.*dictionary key 1 is int"):
            client.call("sync", {"deep": [{1: 2}]})


class TestDecorators:
    @pytest.mark.parametrize("thing", [property(lambda self: 1), 3, "sync", None])
    def test_export_refuses_what_is_no_function(self, thing: Any) -> None:
        with pytest.raises(ValueError, match="@export goes over a function, not over"):
            export(thing)

    def test_exportstream_refuses_what_cannot_be_called(self) -> None:
        with pytest.raises(ValueError, match="@exportstream goes over a function, not over int"):
            exportstream(3)  # type: ignore[type-var]

    def test_a_driver_has_to_name_its_client(self) -> None:
        class Nameless(Driver):
            pass

        with pytest.raises(TypeError, match="client"):
            Nameless()  # type: ignore[abstract]


class Opaque:
    """A class that pydantic knows nothing of."""

    def __init__(self, word: str) -> None:
        self.word = word


class Settings:
    """What each driver below tells of its configuration."""

    port: Any
    seen: Any

    @export
    def settings(self) -> list[Any]:
        return [self.port, self.seen.word]


@dataclasses.dataclass(kw_only=True)
class Standard(Settings, Base):
    port: int
    seen: Opaque = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.seen = Opaque("standard")


@pydantic.dataclasses.dataclass(kw_only=True)
class Pydantic(Settings, Base):
    port: int
    given: Opaque = dataclasses.field(default_factory=lambda: Opaque("pydantic"))
    _private: list[int] = dataclasses.field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        if hasattr(super(), "__post_init__"):
            super().__post_init__()
        self._private.append(self.port)
        self.seen = self.given

    @export
    def private(self) -> list[int]:
        return self._private


class Undecorated(Base):
    port = 4

    @property
    def seen(self) -> Opaque:
        return Opaque("undecorated")

    @export
    def settings(self) -> list[Any]:
        return [self.port, self.seen.word]


@dataclasses.dataclass(kw_only=True)
class StandardOverPydantic(Pydantic):
    baud: int = 9600

    @export
    def rate(self) -> int:
        return self.baud


class UndecoratedOverPydantic(Pydantic):
    pass


class Interface(metaclass=ABCMeta):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @abstractmethod
    def settings(self) -> list[Any]: ...


class MixedIn(Interface, Driver):
    @export
    def settings(self) -> list[Any]:
        return [4, "mixed in"]


@pydantic.dataclasses.dataclass(kw_only=True)
class PydanticMixedIn(Interface, Driver):
    port: int

    @export
    def settings(self) -> list[Any]:
        return [self.port, "pydantic mixed in"]


@pytest.mark.parametrize(
    ("driver", "settings"),
    [
        (lambda: Standard(port=4), [4, "standard"]),
        (lambda: Pydantic(port="4"), [4, "pydantic"]),
        (lambda: Pydantic(port=4, given=Opaque("given")), [4, "given"]),
        (Undecorated, [4, "undecorated"]),
        (lambda: StandardOverPydantic(port=4, baud=1), [4, "pydantic"]),
        (lambda: UndecoratedOverPydantic(port=4), [4, "pydantic"]),
        (MixedIn, [4, "mixed in"]),
        (lambda: PydanticMixedIn(port=4), [4, "pydantic mixed in"]),
    ],
)
class TestWaysToWriteADriver:
    def test_served_and_called(self, driver: Callable[[], Driver], settings: list[Any]) -> None:
        with serve(driver()) as client:
            assert client.call("settings") == settings

    def test_as_a_child(self, driver: Callable[[], Driver], settings: list[Any]) -> None:
        with serve(Pydantic(port=1, children={"it": driver()})) as client:
            assert client.children["it"].call("settings") == settings

    def test_instances_share_nothing(self, driver: Callable[[], Driver], settings: list[Any]) -> None:
        one, other = driver(), driver()
        assert one.uuid != other.uuid
        for name in ("children", "labels", "methods_description", "resources"):
            assert getattr(one, name) is not getattr(other, name)


class TestDriversAsDataclasses:
    def test_pydantic_refuses_a_bad_field(self) -> None:
        with pytest.raises(pydantic.ValidationError, match="port"):
            Pydantic(port="no port")

    def test_private_fields_and_fields_of_a_subclass(self) -> None:
        with serve(StandardOverPydantic(port=4, baud=115200)) as client:
            assert client.call("private") == [4]
            assert client.call("rate") == 115200

    def test_fields_are_keyword_only(self) -> None:
        with pytest.raises(TypeError, match="positional"):
            Standard(4)  # type: ignore[misc]

    def test_children_stay_the_same_objects(self) -> None:
        child = Standard(port=1)
        assert Pydantic(port=1, children={"it": child}).children["it"] is child

    @pytest.mark.parametrize("make", [Standard, Pydantic])
    def test_children_added_in_post_init(self, make: Any) -> None:
        class Board(make):  # type: ignore[misc]
            def __post_init__(self) -> None:
                super().__post_init__()
                self.children["late"] = Standard(port=8)

        with serve(Board(port=1, children={"early": Standard(port=7)})) as client:
            assert [child.call("settings")[0] for child in client.children.values()] == [7, 8]


class TestReport:
    def test_labels_and_descriptions_arrive(self) -> None:
        class Labelled(Base):
            def extra_labels(self) -> dict[str, str]:
                return {"firmware": "2.1"}

        child = Labelled(
            labels={"rack": "7"}, description="a relay \N{SNOWMAN}", methods_description={"on": "switch it on"}
        )
        with serve(Base(children={"relay": child}, labels={"site": "lab"})) as client:
            relay = client.children["relay"]
            assert relay.uuid == child.uuid
            assert relay.name == "relay"
            assert relay.description == "a relay \N{SNOWMAN}"
            assert relay.methods_description == {"on": "switch it on"}
            assert relay.labels == {
                "rack": "7",
                "firmware": "2.1",
                "jumpstarter.dev/name": "relay",
                "jumpstarter.dev/client": "jumpstarter.client.DriverClient",
            }
            assert client.labels == {"site": "lab", "jumpstarter.dev/client": "jumpstarter.client.DriverClient"}
            assert client.description is None
            assert client.methods_description == {}

    def test_a_deep_tree_keeps_its_order(self) -> None:
        def branch(depth: int) -> Driver:
            children = {name: branch(depth - 1) for name in ("z", "a", "m")} if depth else {}
            return Kinds(children=children)

        def names(client: DriverClient) -> list[Any]:
            return [[name, *names(child)] for name, child in client.children.items()]

        with serve(branch(3)) as client:
            level3 = [["z"], ["a"], ["m"]]
            level2 = [[name, *level3] for name in ("z", "a", "m")]
            assert names(client) == [[name, *level2] for name in ("z", "a", "m")]
            deepest = client.children["m"].children["a"].children["z"]
            assert deepest.call("name_of") == "unknown"
            assert deepest.call("sync", 1) == ["sync", 1]

    def test_one_driver_in_two_places(self) -> None:
        leaf = Standard(port=1)
        shared = Standard(port=5, children={"leaf": leaf})
        tree = Base(children={"a": Base(children={"it": shared}), "b": Base(children={"it": shared})})
        with serve(tree) as client:
            first, second = (client.children[name].children["it"] for name in "ab")
            assert first.uuid == second.uuid == shared.uuid
            assert first.call("settings") == second.call("settings") == [5, "standard"]
            assert first.children["leaf"].uuid == second.children["leaf"].uuid == leaf.uuid

    def test_a_driver_below_itself_is_refused(self) -> None:
        inner = Kinds()
        outer = Base(children={"inner": inner})
        inner.children["outer"] = outer
        with pytest.raises(ConfigurationError, match="Base -> Kinds -> Base"), serve(outer):
            pass
