"""What a client sees when a driver fails: our own in full, a 0.9.0 one as a status that fits into the trailers."""

from __future__ import annotations

import asyncio
import builtins
import errno
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import anyio
import grpc
import pydantic
import pytest
from anyio.abc import ObjectStream
from google.protobuf.struct_pb2 import Value
from jumpstarter.client import DriverClient
from jumpstarter.client.core import (
    DriverConnectionError,
    DriverError,
    DriverInvalidArgument,
    DriverMethodNotImplemented,
    DriverOSError,
    DriverTimeout,
    ExporterNotReady,
    MessageTooLarge,
)
from jumpstarter.common import exceptions
from jumpstarter.common.exceptions import ConfigurationError, JumpstarterException
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.rpc.errors import STATUS_ONLY, TABLE
from jumpstarter.values.plain import ValueNotSupported
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import DriverCallRequest, StreamingDriverCallRequest

TRAILER_BYTES = 6 * 1024
# What gRPC leaves as it is in the text of a status.
PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class Nested:
    class OwnError(Exception):
        """Of a driver package that the client does not have."""


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class Model(pydantic.BaseModel):
    x: int


def validation_error() -> Exception:
    try:
        Model(x="?")  # type: ignore[arg-type]
    except pydantic.ValidationError as error:
        return error
    raise AssertionError


def caused_by_itself(error: Exception) -> Exception:
    error.__cause__ = error
    return error


def with_errno(error: Exception, number: Any) -> Exception:
    error.errno = number  # type: ignore[attr-defined]
    return error


FAILURES: dict[str, Callable[[], BaseException]] = {
    "NotImplementedError": lambda: NotImplementedError("not this one"),
    "ValueError": lambda: ValueError("bad voltage"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"),
    "ValidationError": validation_error,
    "TimeoutError": lambda: TimeoutError("no prompt"),
    "ETIMEDOUT": lambda: OSError(errno.ETIMEDOUT, "no answer"),
    "ConnectionError": lambda: ConnectionError("unplugged"),
    "ConnectionRefusedError": lambda: ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    "BrokenPipeError": lambda: BrokenPipeError(errno.EPIPE, "pipe"),
    "OSError": lambda: OSError("no space"),
    "FileNotFoundError": lambda: FileNotFoundError(errno.ENOENT, "No such file", "/dev/ttyUSB7"),
    "PermissionError": lambda: PermissionError(errno.EACCES, "denied"),
    "CalledProcessError": lambda: subprocess.CalledProcessError(3, ["relay", "on"]),
    "RuntimeError": lambda: RuntimeError("broken"),
    "KeyError": lambda: KeyError("channel"),
    "OwnError": lambda: Nested.OwnError("special"),
    "AssertionError": lambda: AssertionError(),
    "Unspeakable": Unspeakable,
    "ConfigurationError": lambda: ConfigurationError("set a port"),
    "JumpstarterException": lambda: caused_by_itself(JumpstarterException("in a circle")),
    "ExporterNotReady": lambda: ExporterNotReady("of another exporter"),
    "DriverTimeout": lambda: DriverTimeout("of another exporter"),
    "ExceptionGroup": lambda: ExceptionGroup("two", [ValueError("first"), OSError("second")]),
    "circle": lambda: caused_by_itself(RuntimeError()),
    "large errno": lambda: with_errno(OSError("windows"), 0x80070005),
    "odd errno": lambda: with_errno(RuntimeError("odd"), "many"),
    "surrogates": lambda: ValueError("\udcff \0 \N{SNOWMAN}"),
    "StopIteration": lambda: StopIteration("early"),
    "StopAsyncIteration": lambda: StopAsyncIteration("early"),
    "GeneratorExit": lambda: GeneratorExit("out"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("out"),
    "CancelledError": lambda: asyncio.CancelledError("out"),
}


class Failing(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def echo(self, value: Any) -> Any:
        return value

    @export
    def sync(self, name: str) -> None:
        raise FAILURES[name]()

    @export
    async def coroutine(self, name: str) -> None:
        await anyio.lowlevel.checkpoint()
        raise FAILURES[name]()

    @export
    def generator(self, name: str) -> Generator[int]:
        yield 1
        yield 2
        raise FAILURES[name]()

    @export
    async def async_generator(self, name: str) -> AsyncGenerator[int]:
        yield 1
        yield 2
        raise FAILURES[name]()

    @export
    def long(self, text: str, times: int) -> None:
        raise ValueError(text * times)

    @export
    def long_generator(self, text: str, times: int) -> Generator[int]:
        yield 1
        raise ValueError(text * times)

    @export
    def chained(self) -> None:
        try:
            raise OSError(errno.EIO, "secret-file")
        except OSError as error:
            raise RuntimeError("outer") from error

    @export
    def silent(self) -> None:
        try:
            raise OSError(errno.EIO, "the reason")
        except OSError as error:
            raise RuntimeError from error

    @export
    def unsendable(self) -> Any:
        return {"deep": [1, object()]}

    @export
    def unsendable_items(self) -> Iterator[Any]:
        yield 1
        yield {1: 2}

    @export
    def choose(self, name: str) -> None:
        self.choice = name

    @exportstream
    @asynccontextmanager
    async def chosen(self) -> AsyncGenerator[ObjectStream[bytes]]:
        raise FAILURES[self.choice]()
        yield

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        raise FileNotFoundError(errno.ENOENT, "no port")
        yield


@pytest.fixture(scope="module")
def client() -> Generator[DriverClient]:
    with serve(Failing()) as client:
        yield client


def by_call(client: DriverClient, method: str, *args: Any) -> None:
    client.call(method, *args)


def by_streamingcall(client: DriverClient, method: str, *args: Any) -> None:
    list(client.streamingcall(method, *args))


WAYS = [
    (by_call, "sync"),
    (by_call, "coroutine"),
    (by_streamingcall, "sync"),
    (by_streamingcall, "coroutine"),
    (by_streamingcall, "generator"),
    (by_streamingcall, "async_generator"),
]
Way = Callable[..., None]

EXPECTED = [
    ("NotImplementedError", DriverMethodNotImplemented, NotImplementedError, "NotImplementedError: not this one"),
    ("ValueError", DriverInvalidArgument, ValueError, "ValueError: bad voltage"),
    ("UnicodeDecodeError", DriverInvalidArgument, ValueError, "can't decode byte 0xff"),
    ("ValidationError", DriverInvalidArgument, ValueError, "1 validation error for Model"),
    ("TimeoutError", DriverTimeout, TimeoutError, "TimeoutError: no prompt"),
    ("ETIMEDOUT", DriverTimeout, TimeoutError, "no answer"),
    ("ConnectionError", DriverConnectionError, ConnectionError, "ConnectionError: unplugged"),
    ("ConnectionRefusedError", DriverConnectionError, ConnectionError, "ConnectionRefusedError: [Errno 111] refused"),
    ("BrokenPipeError", DriverConnectionError, ConnectionError, "BrokenPipeError: [Errno 32] pipe"),
    ("OSError", DriverOSError, OSError, "OSError: no space"),
    ("FileNotFoundError", DriverOSError, OSError, "FileNotFoundError: [Errno 2] No such file: '/dev/ttyUSB7'"),
    ("PermissionError", DriverOSError, OSError, "PermissionError: [Errno 13] denied"),
    ("CalledProcessError", DriverError, Exception, "returned non-zero exit status 3"),
    ("RuntimeError", DriverError, Exception, "RuntimeError: broken"),
    ("KeyError", DriverError, Exception, "KeyError: 'channel'"),
    ("OwnError", DriverError, Exception, "OwnError: special"),
    ("AssertionError", DriverError, Exception, "AssertionError"),
    ("Unspeakable", DriverError, Exception, "Unspeakable"),
    ("ConfigurationError", DriverError, Exception, "ConfigurationError: set a port"),
    ("JumpstarterException", DriverError, Exception, "in a circle"),
    ("ExporterNotReady", DriverError, Exception, "of another exporter"),
    ("DriverTimeout", DriverTimeout, TimeoutError, "of another exporter"),
    ("ExceptionGroup", DriverError, Exception, "first; second"),
    ("circle", DriverError, Exception, "RuntimeError"),
    ("large errno", DriverOSError, OSError, "windows"),
    ("odd errno", DriverError, Exception, "odd"),
    ("surrogates", DriverInvalidArgument, ValueError, "\\udcff \0 \N{SNOWMAN}"),
    ("StopIteration", DriverError, Exception, "StopIteration"),
    ("StopAsyncIteration", DriverError, Exception, "StopAsyncIteration"),
    ("GeneratorExit", DriverError, Exception, "GeneratorExit"),
    ("SystemExit", DriverError, Exception, "SystemExit"),
    ("KeyboardInterrupt", DriverError, Exception, "KeyboardInterrupt"),
    ("CancelledError", DriverError, Exception, "CancelledError"),
]


def test_the_tables_here_know_each_other() -> None:
    assert [name for name, *_ in EXPECTED] == list(FAILURES)


class TestOurClient:
    @pytest.mark.parametrize(("way", "method"), WAYS)
    @pytest.mark.parametrize(("name", "error", "builtin", "text"), EXPECTED)
    def test_class_and_text(
        self,
        client: DriverClient,
        way: Way,
        method: str,
        name: str,
        error: type[DriverError],
        builtin: type[Exception],
        text: str,
    ) -> None:
        with pytest.raises(builtin) as caught:
            way(client, method, name)
        assert type(caught.value) is error
        assert text in str(caught.value)
        assert str(caught.value).startswith(f"{method}: ")
        assert "Traceback" not in str(caught.value)
        assert client.call("echo", name) == name

    def test_the_type_on_the_other_side_is_named(self, client: DriverClient) -> None:
        for name, remote in [
            ("FileNotFoundError", "FileNotFoundError"),
            ("OwnError", f"{__name__}.Nested.OwnError"),
            ("DriverTimeout", "jumpstarter.common.exceptions.DriverTimeout"),
        ]:
            with pytest.raises(DriverError) as caught:
                client.call("sync", name)
            assert caught.value.remote_type == remote

    @pytest.mark.parametrize("way", [by_call, by_streamingcall])
    def test_errno_arrives(self, client: DriverClient, way: Way) -> None:
        with pytest.raises(OSError, match="No such file") as caught:
            way(client, "sync", "FileNotFoundError")
        assert caught.value.errno == errno.ENOENT

    @pytest.mark.parametrize("method", ["generator", "async_generator"])
    def test_the_items_before_the_failure_arrive(self, client: DriverClient, method: str) -> None:
        items = client.streamingcall(method, "TimeoutError")
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(DriverTimeout):
            next(items)

    def test_a_failure_without_a_text_tells_its_cause(self, client: DriverClient) -> None:
        with pytest.raises(DriverError, match=r"^silent: RuntimeError: .*the reason"):
            client.call("silent")

    @pytest.mark.parametrize(("method", "way"), [("long", by_call), ("long_generator", by_streamingcall)])
    @pytest.mark.parametrize("text", ["x", "ü", "\N{SNOWMAN}", "%", "\U0001f600"])
    def test_long_texts_arrive_whole(self, client: DriverClient, way: Way, method: str, text: str) -> None:
        with pytest.raises(DriverInvalidArgument) as caught:
            way(client, method, text, 100_000)
        assert str(caught.value) == f"{method}: ValueError: {text * 100_000}"

    def test_the_longest_texts_are_cut_with_a_mark(self, client: DriverClient) -> None:
        with pytest.raises(DriverInvalidArgument) as caught:
            client.call("long", "x", 20_000_000)
        assert len(str(caught.value)) < 2_000_000
        assert str(caught.value).endswith("more characters)")

    def test_a_stream_that_cannot_be_opened(self, client: DriverClient) -> None:
        with pytest.raises(DriverOSError, match=r"connect.*FileNotFoundError: \[Errno 2\] no port") as caught:
            with client.stream():
                pass
        assert caught.value.errno == errno.ENOENT

    @pytest.mark.parametrize(
        ("name", "error", "builtin", "text"), [row for row in EXPECTED if row[0] != "ExceptionGroup"]
    )
    def test_streams_fail_alike(
        self, client: DriverClient, name: str, error: type[DriverError], builtin: type[Exception], text: str
    ) -> None:
        client.call("choose", name)
        with pytest.raises(builtin) as caught:
            client.open_stream("chosen")
        assert type(caught.value) is error
        assert text in str(caught.value)
        assert str(caught.value).startswith("stream chosen: ")
        assert client.call("echo", name) == name


class TestValuesThatCannotBeSent:
    def test_a_result(self, client: DriverClient) -> None:
        with pytest.raises(DriverError, match=r"unsendable.*result of unsendable.*object"):
            client.call("unsendable")

    def test_an_item(self, client: DriverClient) -> None:
        items = client.streamingcall("unsendable_items")
        assert next(items) == 1
        with pytest.raises(DriverError, match=r"result of unsendable_items.*dictionary key 1 is int"):
            next(items)

    @pytest.mark.parametrize("way", [by_call, by_streamingcall])
    def test_an_argument(self, client: DriverClient, way: Way) -> None:
        with pytest.raises(ValueNotSupported, match="argument 1 of echo"):
            way(client, "echo", object())
        assert client.call("echo", 1) == 1


class TestTracebacks:
    def test_local_serving_has_them(self, client: DriverClient) -> None:
        with pytest.raises(DriverError) as caught:
            client.call("chained")
        remote = caught.value.remote_traceback
        assert remote is not None
        assert "in chained" in remote
        assert "secret-file" in remote
        assert "direct cause" in remote
        assert any(remote.rstrip() in note for note in caught.value.__notes__)

    def test_a_refusal_has_none(self, client: DriverClient) -> None:
        with pytest.raises(DriverMethodNotImplemented) as caught:
            client.call("nothing")
        assert caught.value.remote_traceback is None
        assert caught.value.remote_type is None

    @pytest.mark.anyio
    @pytest.mark.parametrize("method", ["chained", "unsendable"])
    async def test_an_exporter_keeps_them_to_itself(self, exporting: Any, method: str) -> None:
        async with exporting(Failing()) as exporter:
            with pytest.raises(DriverError) as caught:
                await exporter.client.call_async(method)
            assert caught.value.remote_traceback is None
            assert not hasattr(caught.value, "__notes__")
            assert "secret-file" not in str(caught.value)
            response = await exporter.client.stub.DriverCall(
                DriverCallRequest(uuid=str(exporter.client.uuid), method="chained", encoded_args=b"\x90")
            )
            assert "secret-file" not in str(response)
            assert __file__ not in str(response)

    @pytest.mark.anyio
    async def test_unless_its_owner_wants_them(self, exporting: Any) -> None:
        async with exporting(Failing(), show_tracebacks=True) as exporter:
            with pytest.raises(DriverError) as caught:
                await exporter.client.call_async("chained")
            assert "secret-file" in (caught.value.remote_traceback or "")


async def plain_call(client: Any, method: str, *args: Any) -> Any:
    """As 0.9.0 calls: `args` in place of `encoded_args`."""
    request = DriverCallRequest(uuid=str(client.uuid), method=method, args=map(as_value, args))
    return await client.stub.DriverCall(request)


async def plain_streamingcall(client: Any, method: str, *args: Any) -> Any:
    request = StreamingDriverCallRequest(uuid=str(client.uuid), method=method, args=map(as_value, args))
    return [response async for response in client.stub.StreamingDriverCall(request)]


def as_value(value: Any) -> Value:
    return Value(string_value=value) if isinstance(value, str) else Value(number_value=value)


PLAIN_WAYS = [
    (plain_call, "sync"),
    (plain_call, "coroutine"),
    (plain_streamingcall, "generator"),
    (plain_streamingcall, "async_generator"),
]
PlainWay = Callable[..., Awaitable[Any]]

STATUSES = {
    "NotImplementedError": grpc.StatusCode.UNIMPLEMENTED,
    "ValueError": grpc.StatusCode.INVALID_ARGUMENT,
    "TimeoutError": grpc.StatusCode.DEADLINE_EXCEEDED,
    "FileNotFoundError": grpc.StatusCode.UNKNOWN,
    "ConnectionError": grpc.StatusCode.UNKNOWN,
    "RuntimeError": grpc.StatusCode.UNKNOWN,
    "KeyError": grpc.StatusCode.UNKNOWN,
    "OwnError": grpc.StatusCode.UNKNOWN,
}


@pytest.mark.anyio
class TestPlainClient:
    @pytest.mark.parametrize(("way", "method"), PLAIN_WAYS)
    async def test_status_and_text(self, exporting: Any, way: PlainWay, method: str) -> None:
        async with exporting(Failing(), show_tracebacks=True) as exporter:
            for name, code in STATUSES.items():
                with pytest.raises(grpc.RpcError) as caught:
                    await way(exporter.client, method, name)
                assert caught.value.code() is code, name
                assert caught.value.details() == str(FAILURES[name]())

    @pytest.mark.parametrize(("way", "method"), PLAIN_WAYS)
    async def test_odd_ones(self, exporting: Any, way: PlainWay, method: str) -> None:
        async with exporting(Failing()) as exporter:
            for name in FAILURES:
                with pytest.raises(grpc.RpcError) as caught:
                    await way(exporter.client, method, name)
                assert caught.value.details(), name

    @pytest.mark.parametrize(("way", "method"), [(plain_call, "long"), (plain_streamingcall, "long_generator")])
    @pytest.mark.parametrize("text", ["x", "ü", "\N{SNOWMAN}", "%", "\U0001f600", "\n"])
    @pytest.mark.parametrize("times", [6_000, 100_000])
    async def test_long_texts_are_cut_with_a_mark(
        self, exporting: Any, way: PlainWay, method: str, text: str, times: int
    ) -> None:
        async with exporting(Failing()) as exporter:
            with pytest.raises(grpc.RpcError) as caught:
                await way(exporter.client, method, text, times)
            details = caught.value.details()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            encoded = len(quote(details, safe=PRINTABLE))
            assert encoded <= TRAILER_BYTES
            kept = len(details) - len(details.lstrip(text))
            if details != text * times:
                assert encoded > TRAILER_BYTES - 128, "cut more than it has to"
                assert details == f"{text * kept} ... ({times - kept} more characters)"

    async def test_a_value_it_would_change_is_refused_by_name(self, exporting: Any) -> None:
        class Large(Failing):
            @export
            def large(self) -> int:
                return 2**60

        async with exporting(Large()) as exporter:
            with pytest.raises(grpc.RpcError) as caught:
                await plain_call(exporter.client, "large")
            assert "result of large" in caught.value.details()

    @pytest.mark.parametrize("uuid", ["", "x", "00000000-0000-0000-0000-000000000000"])
    async def test_a_driver_that_is_not_there(self, exporting: Any, uuid: str) -> None:
        async with exporting(Failing()) as exporter:
            request = DriverCallRequest(uuid=uuid, method="echo")
            with pytest.raises(grpc.RpcError) as caught:
                await exporter.client.stub.DriverCall(request)
            assert caught.value.code() is grpc.StatusCode.UNKNOWN
            assert "uuid" in caught.value.details()

    @pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93", b"\x01", b"\xa1x", b"\xff" * 5000])
    async def test_arguments_that_are_no_values(self, exporting: Any, data: bytes) -> None:
        async with exporting(Failing()) as exporter:
            request = DriverCallRequest(uuid=str(exporter.client.uuid), method="echo", encoded_args=data)
            response = await exporter.client.stub.DriverCall(request)
            assert response.error.builtin == "ValueError"
            assert "malformed" in response.error.message


class Aborting(grpc.aio.ServerInterceptor):
    """An exporter that fails every driver call with a status of its choice."""

    code = grpc.StatusCode.UNKNOWN

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        if not details.method.endswith("DriverCall"):
            return await continuation(details)

        async def abort(request: Any, context: Any) -> None:
            await context.abort(self.code, "as the server has it")

        if details.method.endswith("StreamingDriverCall"):
            return grpc.unary_stream_rpc_method_handler(abort)
        return grpc.unary_unary_rpc_method_handler(abort)


STATUS_CLASSES = {
    grpc.StatusCode.CANCELLED: DriverConnectionError,
    grpc.StatusCode.INVALID_ARGUMENT: DriverInvalidArgument,
    grpc.StatusCode.DEADLINE_EXCEEDED: DriverTimeout,
    grpc.StatusCode.NOT_FOUND: DriverMethodNotImplemented,
    grpc.StatusCode.RESOURCE_EXHAUSTED: MessageTooLarge,
    grpc.StatusCode.FAILED_PRECONDITION: ExporterNotReady,
    grpc.StatusCode.UNIMPLEMENTED: DriverMethodNotImplemented,
    grpc.StatusCode.UNAVAILABLE: DriverConnectionError,
}


class TestTheTable:
    """No row may be missing: what goes out has a way back in, and every class of ours can be met."""

    def test_every_builtin_of_a_row_comes_back_as_that_rows_class(self, client: DriverClient) -> None:
        for row in TABLE:
            FAILURES["row"] = lambda row=row: row.builtin("of the row")  # type: ignore[misc]
            try:
                with pytest.raises(row.builtin) as caught:
                    client.call("sync", "row")
                assert type(caught.value) is row.error
            finally:
                del FAILURES["row"]

    def test_every_class_of_ours_has_a_row(self) -> None:
        ours = {c for c in vars(exceptions).values() if isinstance(c, type) and issubclass(c, DriverError)}
        assert ours == {row.error for row in TABLE} | set(STATUS_ONLY.values())

    def test_every_class_that_is_a_builtin_too_stands_for_it(self) -> None:
        for row in TABLE:
            assert issubclass(row.error, row.builtin)

    def test_no_row_hides_a_later_one(self) -> None:
        for number, row in enumerate(TABLE):
            assert not any(issubclass(row.builtin, earlier.builtin) for earlier in TABLE[:number])
        assert TABLE[-1].builtin is builtins.Exception

    @pytest.mark.anyio
    @pytest.mark.parametrize("encoded", [True, False])
    async def test_every_status_comes_back_as_a_driver_error(self, exporting: Any, encoded: bool) -> None:
        aborting = Aborting()
        async with exporting(Failing(), interceptors=[aborting]) as exporter:
            client = exporter.client
            if not encoded:
                client.stub.announce(())
            for code in grpc.StatusCode:
                if code is grpc.StatusCode.OK:
                    continue
                aborting.code = code
                expected = STATUS_CLASSES.get(code, DriverError)
                with pytest.raises(DriverError, match="as the server has it") as caught:
                    await client.call_async("echo", 1)
                assert type(caught.value) is expected, code
                assert code.name in str(caught.value)
                with pytest.raises(DriverError, match="as the server has it") as caught:
                    await anext(client.streamingcall_async("echo", 1))
                assert type(caught.value) is expected, code

    @pytest.mark.anyio
    async def test_our_client_of_a_plain_exporter(self, exporting: Any) -> None:
        """Without the exporter's features our client gets statuses only."""
        async with exporting(Failing()) as exporter:
            client = exporter.client
            client.stub.announce(())
            for name, error in [
                ("NotImplementedError", DriverMethodNotImplemented),
                ("ValueError", DriverInvalidArgument),
                ("TimeoutError", DriverTimeout),
                ("OSError", DriverError),
                ("RuntimeError", DriverError),
            ]:
                for method in ("sync", "coroutine"):
                    with pytest.raises(DriverError, match=str(FAILURES[name]())) as caught:
                        await client.call_async(method, name)
                    assert type(caught.value) is error
                items = client.streamingcall_async("generator", name)
                assert [await anext(items), await anext(items)] == [1, 2]
                with pytest.raises(error):
                    await anext(items)
