"""Where an exporter can be reached: Unix sockets, TCP, TLS, behind a passphrase; and what a client says where not."""

from __future__ import annotations

import asyncio
import base64
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from anyio.abc import ObjectStream
from anyio.from_thread import BlockingPortal, start_blocking_portal
from google.protobuf.empty_pb2 import Empty
from jumpstarter.client.client import client_from_path
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.common.exceptions import ConfigurationError, ConnectionError
from jumpstarter.common.utils import env
from jumpstarter.config.tls import TLSConfigV1Alpha1
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.exporter import Session
from jumpstarter.exporter.auth import PassphraseInterceptor
from jumpstarter.rpc.stub import ExporterStub
from jumpstarter.streams.common import create_memory_stream
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import (
    DriverCallRequest,
    EndSessionRequest,
    GetStatusRequest,
    ResetRequest,
    StreamingDriverCallRequest,
)

# A client that cannot get through says so within this many seconds.
SOON = 10


class Echo(Driver):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.calls = 0

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def echo(self, value: Any) -> Any:
        self.calls += 1
        return value

    @export
    def items(self, count: int) -> Generator[int]:
        self.calls += 1
        yield from range(count)

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        self.calls += 1
        near, far = create_memory_stream()
        async with near, far:
            await far.send(b"hello")
            yield near


@asynccontextmanager
async def serving(
    driver: Driver,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    status: ExporterStatus = ExporterStatus.LEASE_READY,
    **options: Any,
) -> AsyncGenerator[int]:
    async with Session(root_device=driver) as session, session.serve_tcp_async(host, port, **options) as bound:
        session.update_status(status)
        yield bound


@asynccontextmanager
async def connected(path: str, **options: Any) -> AsyncGenerator[Any]:
    with ExitStack() as stack:
        # A portal that is not entered: no blocking call is made here.
        async with client_from_path(path, BlockingPortal(), stack, [], unsafe=True, **options) as client:
            yield client


async def works(path: str, **options: Any) -> None:
    """Everything a client does goes through."""
    async with connected(path, **options) as client:
        assert await client.call_async("echo", "x") == "x"
        assert [item async for item in client.streamingcall_async("items", 3)] == [0, 1, 2]
        async with client.stream_async() as stream:
            assert await stream.receive() == b"hello"
        async with client.log_stream_async():
            assert await client.get_status_async() is ExporterStatus.LEASE_READY


async def fails(path: str, **options: Any) -> str:
    """No client comes of it; what it says."""
    with pytest.raises(ConnectionError) as caught:
        async with asyncio.timeout(SOON), connected(path, **options):
            pass
    assert path in str(caught.value)
    return str(caught.value)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.anyio
class TestTcp:
    async def test_on_any_free_port(self) -> None:
        async with serving(Echo()) as port:
            assert port > 0
            await works(f"127.0.0.1:{port}", insecure=True)

    async def test_on_a_port_of_choice(self) -> None:
        port = free_port()
        async with serving(Echo(), port=port) as bound:
            assert bound == port
            await works(f"localhost:{port}", insecure=True)

    async def test_on_ipv6(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 on this machine")
        async with serving(Echo(), "::1") as port:
            await works(f"[::1]:{port}", insecure=True)

    async def test_a_port_that_is_taken(self) -> None:
        async with serving(Echo()) as port:
            with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"):
                async with serving(Echo(), port=port):
                    pass
            await works(f"127.0.0.1:{port}", insecure=True)

    async def test_an_address_that_is_not_ours(self) -> None:
        with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1:"):
            async with serving(Echo(), "192.0.2.1"):
                pass

    async def test_is_over_at_the_end(self) -> None:
        async with serving(Echo()) as port:
            pass
        assert "no exporter listens" in await fails(f"127.0.0.1:{port}", insecure=True)


@pytest.mark.anyio
class TestNobodyThere:
    async def test_a_closed_port(self) -> None:
        assert "no exporter listens" in await fails(f"127.0.0.1:{free_port()}", insecure=True)

    async def test_a_host_that_does_not_exist(self) -> None:
        await fails("no-such-host.invalid:1234", insecure=True)

    @pytest.mark.parametrize("name", ["nothing", "directory", "file", "n" * 300])
    async def test_a_path_without_a_socket(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "directory").mkdir()
        (tmp_path / "file").touch()
        await fails(str(tmp_path / name))

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.7\r\n"])
    async def test_a_server_of_another_kind(self, answer: bytes) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await fails(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", insecure=True)


@dataclass
class Certificates:
    """A server's certificate for `localhost`, and one that signed another."""

    key: bytes
    certificate: bytes
    other: bytes

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials([(self.key, self.certificate)])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    openssl = shutil.which("openssl")
    assert openssl is not None
    directory = tmp_path_factory.mktemp("certificates")

    def make(name: str, subject: str) -> bytes:
        command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={subject}"]
        command += ["-addext", f"subjectAltName=DNS:{subject}"]
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
        return (directory / f"{name}.pem").read_bytes()

    certificate = make("server", "localhost")
    return Certificates((directory / "server.key").read_bytes(), certificate, make("other", "localhost"))


def trusting(certificate: bytes) -> TLSConfigV1Alpha1:
    return TLSConfigV1Alpha1(ca=base64.b64encode(certificate).decode())


@pytest.mark.peer("openssl")
@pytest.mark.anyio
class TestTls:
    async def test_the_right_authority(self, certificates: Certificates) -> None:
        async with serving(Echo(), tls_credentials=certificates.credentials()) as port:
            await works(f"localhost:{port}", tls_config=trusting(certificates.certificate))

    async def test_the_wrong_authority(self, certificates: Certificates) -> None:
        driver = Echo()
        async with serving(driver, tls_credentials=certificates.credentials()) as port:
            text = await fails(f"localhost:{port}", tls_config=trusting(certificates.other))
            assert "is not signed by the authority" in text
            assert driver.calls == 0

    async def test_no_authority(self, certificates: Certificates) -> None:
        async with serving(Echo(), tls_credentials=certificates.credentials()) as port:
            await fails(f"localhost:{port}")
            await fails(f"localhost:{port}", tls_config=TLSConfigV1Alpha1())

    async def test_another_name_than_in_the_certificate(self, certificates: Certificates) -> None:
        async with serving(Echo(), tls_credentials=certificates.credentials()) as port:
            await fails(f"127.0.0.1:{port}", tls_config=trusting(certificates.certificate))

    async def test_trusting_whoever_answers(self, certificates: Certificates) -> None:
        async with serving(Echo(), tls_credentials=certificates.credentials()) as port:
            await works(f"localhost:{port}", tls_config=TLSConfigV1Alpha1(insecure=True))

    async def test_a_plain_client_of_a_tls_server(self, certificates: Certificates) -> None:
        async with serving(Echo(), tls_credentials=certificates.credentials()) as port:
            await fails(f"localhost:{port}", insecure=True)

    async def test_a_tls_client_of_a_plain_server(self, certificates: Certificates) -> None:
        async with serving(Echo()) as port:
            await fails(f"localhost:{port}", tls_config=trusting(certificates.certificate))
            text = await fails(f"localhost:{port}", tls_config=TLSConfigV1Alpha1(insecure=True))
            assert "serves without TLS" in text

    async def test_trusting_whoever_answers_where_nobody_does(self) -> None:
        await fails(f"localhost:{free_port()}", tls_config=TLSConfigV1Alpha1(insecure=True))

    async def test_with_a_passphrase(self, certificates: Certificates) -> None:
        guard = PassphraseInterceptor("sesame")
        credentials = certificates.credentials()
        async with serving(Echo(), tls_credentials=credentials, interceptors=[guard]) as port:
            tls = trusting(certificates.certificate)
            await works(f"localhost:{port}", tls_config=tls, passphrase="sesame")
            assert "passphrase" in await fails(f"localhost:{port}", tls_config=tls, passphrase="open")


async def read_stream(stub: Any, uuid: str) -> Any:
    call = stub.Stream(metadata=(("request", f'{{"kind": "driver", "uuid": "{uuid}", "method": "connect"}}'),))
    try:
        return await call.read()
    finally:
        call.cancel()


async def first(call: Any) -> Any:
    return await anext(aiter(call))


CALLS: dict[str, Callable[[Any, str], Any]] = {
    "GetReport": lambda stub, uuid: stub.GetReport(Empty()),
    "DriverCall": lambda stub, uuid: stub.DriverCall(DriverCallRequest(uuid=uuid, method="items")),
    "StreamingDriverCall": lambda stub, uuid: first(
        stub.StreamingDriverCall(StreamingDriverCallRequest(uuid=uuid, method="items"))
    ),
    "Stream": read_stream,
    "LogStream": lambda stub, uuid: first(stub.LogStream(Empty())),
    "GetStatus": lambda stub, uuid: stub.GetStatus(GetStatusRequest()),
    "EndSession": lambda stub, uuid: stub.EndSession(EndSessionRequest()),
    "Reset": lambda stub, uuid: stub.Reset(ResetRequest()),
}


@pytest.mark.anyio
class TestAPassphrase:
    @pytest.mark.parametrize("passphrase", ["sesame", " with spaces ", "a" * 1000, "=,;\"'"])
    async def test_the_right_one(self, passphrase: str) -> None:
        async with serving(Echo(), interceptors=[PassphraseInterceptor(passphrase)]) as port:
            await works(f"127.0.0.1:{port}", insecure=True, passphrase=passphrase)

    @pytest.mark.parametrize("given", [None, "", "sesam", "sesame!", "Sesame", "x" * 1000])
    async def test_a_wrong_or_missing_one(self, given: str | None) -> None:
        driver = Echo()
        async with serving(driver, interceptors=[PassphraseInterceptor("sesame")]) as port:
            text = await fails(f"127.0.0.1:{port}", insecure=True, passphrase=given)
            assert ("refuses the passphrase: invalid or missing" if given else "wants a passphrase") in text
            assert driver.calls == 0

    @pytest.mark.parametrize("passphrase", ["zaubersprüche", "open\nsesame", "\N{SNOWMAN}"])
    async def test_one_that_cannot_be_sent_is_refused_on_both_sides(self, passphrase: str) -> None:
        with pytest.raises(ConfigurationError, match="passphrase"):
            PassphraseInterceptor(passphrase)
        async with serving(Echo()) as port:
            with pytest.raises(ConfigurationError, match="passphrase"):
                async with connected(f"127.0.0.1:{port}", insecure=True, passphrase=passphrase):
                    pass

    @pytest.mark.parametrize("name", CALLS)
    @pytest.mark.parametrize("given", [None, "open"])
    async def test_guards_every_call(self, name: str, given: str | None) -> None:
        driver = Echo()
        async with serving(driver, interceptors=[PassphraseInterceptor("sesame")]) as port:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = ExporterStub(channel, passphrase=given)
                with pytest.raises(grpc.RpcError) as caught:
                    async with asyncio.timeout(SOON):
                        await CALLS[name](stub, str(driver.uuid))
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
                assert caught.value.details() == "invalid or missing passphrase"
        assert driver.calls == 0

    async def test_a_method_that_does_not_exist(self) -> None:
        async with serving(Echo(), interceptors=[PassphraseInterceptor("sesame")]) as port:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                with pytest.raises(grpc.RpcError) as caught:
                    await channel.unary_unary("/jumpstarter.v1.ExporterService/Nothing")(b"")
                assert caught.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED)


class TestTheEnvironment:
    @pytest.fixture
    def port(self) -> Generator[int]:
        with start_blocking_portal() as portal:
            opened = serving(Echo(), interceptors=[PassphraseInterceptor("sesame")])
            with portal.wrap_async_context_manager(opened) as port:
                yield port

    @pytest.mark.parametrize("name", ["JMP_GRPC_INSECURE", "JUMPSTARTER_GRPC_INSECURE"])
    def test_plain_tcp_with_a_passphrase(self, monkeypatch: pytest.MonkeyPatch, port: int, name: str) -> None:
        monkeypatch.setenv("JUMPSTARTER_HOST", f"127.0.0.1:{port}")
        monkeypatch.setenv("JMP_DRIVERS_ALLOW", "UNSAFE")
        monkeypatch.setenv("JMP_GRPC_PASSPHRASE", "sesame")
        monkeypatch.setenv(name, "1")
        with env() as client:
            assert client.call("echo", 1) == 1
            assert list(client.streamingcall("items", 2)) == [0, 1]
            with client.stream() as stream:
                assert stream.receive() == b"hello"

    @pytest.mark.parametrize(
        ("variables", "text"),
        [
            ({"JMP_GRPC_INSECURE": "1"}, "passphrase"),
            ({"JMP_GRPC_INSECURE": "1", "JMP_GRPC_PASSPHRASE": "open"}, "passphrase"),
            ({"JMP_GRPC_PASSPHRASE": "sesame"}, "serves without TLS"),
        ],
    )
    def test_what_does_not_fit(
        self, monkeypatch: pytest.MonkeyPatch, port: int, variables: dict[str, str], text: str
    ) -> None:
        monkeypatch.setenv("JUMPSTARTER_HOST", f"127.0.0.1:{port}")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConnectionError, match=text), env():
            pass
