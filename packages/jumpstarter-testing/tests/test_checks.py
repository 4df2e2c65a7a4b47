"""The contract checks: what keeps its contract passes, each breach is refused with a text that names it."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import pytest
from anyio import create_memory_object_stream
from anyio.abc import ObjectStream
from anyio.streams.stapled import StapledObjectStream
from jumpstarter.client import DriverClient
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter_driver_composite.driver import Composite
from jumpstarter_driver_network.driver import EchoNetwork, TcpNetwork
from jumpstarter_driver_power.driver import CommandPower, MockPower, PowerInterface, SyncMockPower
from jumpstarter_driver_serial.driver import Serial
from jumpstarter_testing.board import VirtualBoard
from jumpstarter_testing.checks import CheckFailed, check_driver, check_power, check_stream
from jumpstarter_testing.checks.exports import Kind, declared

POWER_CLIENT = "jumpstarter_driver_power.client.PowerClient"
CLIENT = "jumpstarter.client.DriverClient"


@dataclass(kw_only=True)
class Plain(Driver):
    """A driver with nothing wrong; the tests below break one thing each."""

    @classmethod
    def client(cls) -> str:
        return CLIENT


@dataclass(kw_only=True)
class Power(Plain):
    """A supply whose every answer the test decides."""

    readings: list[Any] = field(default_factory=list)
    failing: str = ""
    calls: list[str] = field(default_factory=list)

    @classmethod
    def client(cls) -> str:
        return f"{__name__}.AnyPowerClient"

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.calls[-2:] == [call, call] and self.failing == f"{call} twice":
            raise OSError("relay is stuck")
        if self.failing == f"{call} hangs":
            threading.Event().wait(1)

    @export
    def on(self) -> None:
        self._note("on")

    @export
    def off(self) -> None:
        self._note("off")

    @export
    def read(self) -> Generator[Any, None, None]:
        yield from self.readings


class Reading:
    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


class AnyPowerClient(DriverClient):
    def on(self) -> None:
        self.call("on")

    def off(self) -> None:
        self.call("off")

    def read(self) -> Generator[Reading, None, None]:
        for values in self.streamingcall("read"):
            yield Reading(values)


# check_power


@pytest.mark.parametrize("driver", [MockPower, SyncMockPower])
def test_power_mocks_pass(driver: type[Driver]) -> None:
    check_power(driver())


def test_the_board_passes_as_driver_and_as_client() -> None:
    with VirtualBoard() as board:
        check_power(CommandPower(**board.power_commands))
        with serve(CommandPower(**board.power_commands)) as client:
            check_power(client)
        assert board.state == "off"


def test_power_without_measuring_passes() -> None:
    with VirtualBoard() as board:
        commands = board.power_commands
        check_power(CommandPower(power_on=commands["power_on"], power_off=commands["power_off"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"failing": "on twice"}, r"^on\(\), repeated, failed: DriverOSError: .*relay is stuck"),
        ({"failing": "off twice"}, r"^off\(\), repeated, failed"),
        ({"failing": "on hangs"}, r"^on\(\) did not end within 0.2 s"),
        ({"readings": []}, r"read\(\) while off gave no reading: yield at least one, or raise NotImplementedError"),
        ({"readings": [{"voltage": 5.0}]}, "current must be a finite number of amps, got None"),
        ({"readings": [{"voltage": True, "current": 1.0}]}, "voltage must be a finite number of volts, got True"),
        ({"readings": [{"voltage": "5", "current": 1.0}]}, "got '5'"),
        ({"readings": [{"voltage": 5.0, "current": float("nan")}]}, "current must be a finite .* got nan"),
    ],
)
def test_power_that_breaks_its_contract(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_power(
            Power(**{"readings": [{"voltage": 5, "current": 1.0}], **options}),
            timeout=0.2 if "hangs" in str(options) else 30,
        )


def test_power_is_left_off_even_after_a_failure() -> None:
    driver = Power(failing="on twice", readings=[{"voltage": 1.0, "current": 1.0}])
    with pytest.raises(CheckFailed):
        check_power(driver)
    assert driver.calls[-1] == "off"


def test_what_is_no_power_driver_is_refused() -> None:
    with pytest.raises(CheckFailed, match=r"DriverClient is no power client: it has no on\(\), off\(\), read\(\)"):
        check_power(Plain())
    with pytest.raises(TypeError, match="expected a Driver or a DriverClient, got str"):
        check_power("power")  # type: ignore[arg-type]


# check_stream


def test_streams_pass() -> None:
    check_stream(EchoNetwork(), echo=True, half_close=True)
    check_stream(EchoNetwork())
    check_stream(Serial(url="loop://"), echo=True)


def test_the_console_of_a_board_passes() -> None:
    with VirtualBoard(countdown=-1) as board, serve(Serial(url=board.console)) as client:
        board.on()
        check_stream(client)


def test_a_tcp_echo_server_passes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo_connections, args=(server, 2), daemon=True).start()
        driver = TcpNetwork(host="127.0.0.1", port=server.getsockname()[1])
        check_stream(driver, echo=True, half_close=True)


def _echo_connections(server: socket.socket, count: int) -> None:
    for _ in range(count):
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)


@dataclass(kw_only=True)
class Stream(Plain):
    """An echo with one fault."""

    fault: str
    opened: int = field(init=False, default=0)

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ObjectStream[bytes]]:
        self.opened += 1
        if self.fault == "busy" and self.opened == 2:
            raise OSError("the port is busy")
        send, receive = create_memory_object_stream[bytes](1000)
        async with Faulty(send, receive) if self.fault == "changes" else Silent(send, receive) as stream:
            yield stream


class Faulty(StapledObjectStream[bytes]):
    async def send(self, item: bytes) -> None:
        await super().send(item.replace(b"\r", b"\n"))


class Silent(StapledObjectStream[bytes]):
    async def send(self, item: bytes) -> None:
        pass


@pytest.mark.parametrize(
    ("fault", "options", "message"),
    [
        (
            "changes",
            {"echo": True},
            r"the echo of 'connect': of 256 bytes sent, byte 13 came back changed: .*b'\\n\\x0e",
        ),
        ("silent", {"echo": True, "timeout": 0.3}, "the echo of 'connect' did not end within 0.3 s"),
        ("silent", {"half_close": True}, "after 'last words' and the end of our side came b'' before the end"),
        ("busy", {}, "opening 'connect' for the second time failed: .*the port is busy"),
        ("busy", {"method": "console"}, "opening 'console' for the first time failed: .*console not found"),
    ],
)
def test_streams_that_break_their_contract(fault: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_stream(Stream(fault=fault), **options)


# check_driver


def test_our_drivers_pass() -> None:
    check_driver(Plain(methods_description={"call": "a method of the client"}))
    check_driver(EchoNetwork())
    check_driver(Serial(url="loop://"))
    check_driver(CommandPower(power_on="true", power_off="true", power_rescue="true"))
    check_driver(Composite(children={"power": MockPower(methods_description={"cycle": "Off and on"}), "more": Power()}))


class NoClient(Plain):
    @classmethod
    def client(cls) -> str:
        return ""


class NoModule(Plain):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter_driver_nowhere.client.Client"


class NoClass(Plain):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.Client"


class NotAClient(Plain):
    @classmethod
    def client(cls) -> str:
        return f"{__name__}.Reading"


class WrongKind(PowerInterface, Plain):
    @classmethod
    def client(cls) -> str:
        return POWER_CLIENT

    @export
    def on(self) -> None: ...

    @export
    def off(self) -> None: ...

    @export
    def read(self) -> float:  # type: ignore[override]
        return 1.0


class NotExported(WrongKind):
    def on(self) -> None: ...


class Positional(Plain):
    def __init__(self, port: str) -> None:
        super().__init__()


class Unannotated(Plain):
    def __init__(self, *, port) -> None:  # type: ignore[no-untyped-def]
        super().__init__()


class AnyKeyword(Plain):
    def __init__(self, **options: Any) -> None:
        super().__init__()


class ClosesOnce(Plain):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True
        super().close()


class ResetsOnce(Plain):
    resets = 0

    def reset(self) -> None:
        self.resets += 1
        if self.resets == 2:
            raise RuntimeError("reset already")


class AsyncClose(Plain):
    async def close(self) -> None:  # type: ignore[override]
        pass


class HangsInReset(Plain):
    def reset(self) -> None:
        threading.Event().wait(1)


class OtherReport(Plain):
    def report(self, **options: Any) -> Any:
        report = super().report(**options)
        report.labels.clear()
        return report


class NoReport(Plain):
    def extra_labels(self) -> dict[str, str]:
        return {"rack": 7}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (NoClient(), r"NoClient \(root\): client\(\) must give an import path such as .* not ''"),
        (NoModule(), "is not installed: pip install jumpstarter-driver-nowhere"),
        (NoClass(), r"module jumpstarter\.client has no class Client"),
        (NotAClient(), "Reading, which is no subclass of jumpstarter.client.DriverClient"),
        (WrongKind(), "read is exported as a plain method, but PowerInterface declares it as a generator"),
        (NotExported(), "on, which PowerInterface asks for, is not exported: put @export over it"),
        (Positional("x"), "the setting port: .*str.* is not keyword-only: use @dataclass"),
        (Unannotated(port=1), "the setting port has no annotation"),
        (AnyKeyword(), r"the setting \*\*options: .*Any.* is not keyword-only"),
        (ClosesOnce(), r"ClosesOnce: close\(\) a second time failed: RuntimeError: closed already"),
        (ResetsOnce(), r"ResetsOnce: reset\(\) a second time failed: RuntimeError: reset already"),
        (AsyncClose(), r"close\(\) must be a plain method"),
        (HangsInReset(), r"HangsInReset: reset\(\) did not end within 0.5 s"),
        (OtherReport(), r"report\(\) must carry client\(\) as label jumpstarter.dev/client, not None"),
        (NoReport(), r"report\(\) is not well-formed: ConfigurationError"),
        (Plain(methods_description={"fly": "x"}), "methods_description speaks of fly, which neither"),
        (Composite(children={"bad": NoClient()}), r"NoClient \(bad\): client\(\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Driver) else "",
)
def test_drivers_that_break_their_contract(driver: Driver, message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_driver(driver, timeout=0.5 if isinstance(driver, HangsInReset) else 30)


def test_a_failed_check_is_an_assertion() -> None:
    assert issubclass(CheckFailed, AssertionError)


# What an interface declares


def _yields() -> Iterator[int]:
    yield 1


@asynccontextmanager
async def _context() -> AsyncIterator[int]:
    yield 1


def _annotated(annotation: Any) -> Any:
    def method() -> None: ...

    method.__annotations__["return"] = annotation
    return method


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (_yields, Kind.GENERATOR),
        (_context, Kind.STREAM),
        (export(_annotated(None)), Kind.CALL),
        (exportstream(_annotated(int)), Kind.STREAM),
        (_annotated(None), Kind.CALL),
        (_annotated("str"), Kind.CALL),
        (_annotated("Generator[int, None, None]"), Kind.GENERATOR),
        (_annotated("Generator[int, None, None] | AsyncGenerator[int, None]"), Kind.GENERATOR),
        (_annotated("collections.abc.AsyncIterator[int]"), Kind.GENERATOR),
        (_annotated(AsyncGenerator[int, None]), Kind.GENERATOR),
        (_annotated(Union[Generator[int, None, None], AsyncGenerator[int, None]]), Kind.GENERATOR),  # noqa: UP007
        (_annotated(Optional[Iterator[int]]), Kind.GENERATOR),  # noqa: UP045
        (_annotated("dict[str, Iterator[int]]"), Kind.CALL),
        (_annotated("AbstractAsyncContextManager[ObjectStream[bytes]]"), Kind.STREAM),
        (_annotated(AbstractAsyncContextManager[ObjectStream[bytes]]), Kind.STREAM),
        (_annotated("AsyncIterator[ObjectStream[bytes]]"), Kind.STREAM),
        (lambda self: None, None),
    ],
)
def test_what_an_interface_declares(function: Any, kind: Kind | None) -> None:
    assert declared(function) == kind
