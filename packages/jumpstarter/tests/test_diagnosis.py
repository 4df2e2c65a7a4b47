"""What a client says when it cannot connect: each cause has its own message, and none takes long."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from anyio.from_thread import BlockingPortal
from jumpstarter.client.client import client_from_path, open_stub
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.common.exceptions import ConnectionError
from jumpstarter.driver import Driver
from jumpstarter.exporter import Session
from jumpstarter.exporter.auth import PassphraseInterceptor
from jumpstarter.rpc.tls import ClientTls, server_credentials
from jumpstarter_testing.certificates import Authority, Pair

# Whoever is refused is told so within a second.
SOON = 1.0


class Nothing(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"


@asynccontextmanager
async def serving(credentials: Any = None, passphrase: str | None = None) -> AsyncGenerator[int]:
    guards = [] if passphrase is None else [PassphraseInterceptor(passphrase)]
    async with Session(root_device=Nothing()) as session:
        door = session.serve_tcp_async("127.0.0.1", 0, tls_credentials=credentials, interceptors=guards)
        async with door as port:
            session.update_status(ExporterStatus.LEASE_READY)
            yield port


async def refusal(address: str, *, seconds: float = SOON, **options: Any) -> str:
    """What a client says that does not get to `address`, which takes it less than `seconds`."""
    start = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        async with open_stub(address, **options):
            pass
    assert time.monotonic() - start < seconds
    assert address in str(caught.value)
    return str(caught.value)


@asynccontextmanager
async def answering(data: bytes, *, context: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    """A server of another kind: it says `data` to everyone."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextmanager
def taken_port() -> Generator[int]:
    """A port that is neither free nor listened on."""
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        yield owner.getsockname()[1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue()


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> ClientTls:
    return ClientTls.from_files(authority.certificate)


@pytest.fixture(scope="module")
def secure(server: Pair) -> Any:
    return server_credentials(server.certificate, server.key)


@pytest.fixture(scope="module")
def mutual(server: Pair, authority: Authority) -> Any:
    return server_credentials(server.certificate, server.key, authority.certificate)


def unchecked(pair: Pair) -> Any:
    """Credentials that `server_credentials` would refuse to make."""
    return grpc.ssl_server_credentials([(pair.key.read_bytes(), pair.certificate.read_bytes())])


@pytest.mark.anyio
class TestAPassphrase:
    async def test_that_is_missing(self) -> None:
        async with serving(passphrase="sesame") as port:
            for given in (None, ""):
                text = await refusal(f"127.0.0.1:{port}", insecure=True, passphrase=given)
                assert "wants a passphrase: give --passphrase-file or JMP_GRPC_PASSPHRASE" in text

    async def test_that_is_wrong(self) -> None:
        async with serving(passphrase="sesame") as port:
            text = await refusal(f"127.0.0.1:{port}", insecure=True, passphrase="tahini")
            assert "refuses the passphrase" in text
            assert "tahini" not in text
            assert "sesame" not in text

    async def test_that_is_wrong_over_tls(self, secure: Any, trusting: ClientTls) -> None:
        async with serving(secure, passphrase="sesame") as port:
            text = await refusal(f"localhost:{port}", tls=trusting, passphrase="tahini")
            assert "refuses the passphrase" in text

    async def test_that_everybody_on_the_way_could_read(self, caplog: pytest.LogCaptureFixture) -> None:
        async def connect(address: str, **options: Any) -> None:
            with ExitStack() as stack, pytest.raises(ConnectionError):
                async with client_from_path(address, BlockingPortal(), stack, [], unsafe=True, **options):
                    pass

        warning = "the passphrase goes to no-such-host.invalid:1234 in plain text"
        with taken_port() as port, caplog.at_level(logging.WARNING):
            await connect(f"localhost:{port}", insecure=True, passphrase="sesame")
            await connect(f"127.0.0.1:{port}", insecure=True, passphrase="sesame")
            await connect("no-such-host.invalid:1234", insecure=True)
            await connect("no-such-host.invalid:1234", passphrase="sesame")
            assert "plain text" not in caplog.text
            await connect("no-such-host.invalid:1234", insecure=True, passphrase="sesame")
        assert warning in caplog.text
        assert "sesame" not in caplog.text


@pytest.mark.anyio
class TestTls:
    async def test_to_a_plain_port(self, trusting: ClientTls) -> None:
        async with serving() as port:
            for tls in (None, trusting, ClientTls(trust_server=True)):
                text = await refusal(f"localhost:{port}", tls=tls)
                assert "serves without TLS: to connect in plain text, give --tls-grpc-insecure" in text

    async def test_that_is_left_out(self, secure: Any, mutual: Any) -> None:
        for credentials in (secure, mutual):
            async with serving(credentials) as port:
                text = await refusal(f"localhost:{port}", insecure=True)
                assert "serves with TLS: leave out --tls-grpc-insecure" in text

    async def test_of_an_unknown_authority(self, secure: Any) -> None:
        async with serving(secure) as port:
            text = await refusal(f"localhost:{port}")
            assert "is signed by an authority unknown here: give that one's certificate with --tls-ca" in text

    async def test_that_is_self_signed(self, authority: Authority) -> None:
        own = Pair(authority.certificate, authority.key)
        async with serving(await asyncio.to_thread(unchecked, own)) as port:
            text = await refusal(f"localhost:{port}")
            assert "is signed by itself: where it is the right one, give it with --tls-ca" in text

    async def test_of_another_authority(self, secure: Any, tmp_path: Path) -> None:
        tls = await asyncio.to_thread(lambda: ClientTls.from_files(Authority(tmp_path, "other").certificate))
        async with serving(secure) as port:
            text = await refusal(f"localhost:{port}", tls=tls)
            assert "is not signed by the authority given with --tls-ca or JMP_GRPC_CA" in text

    @pytest.mark.parametrize(
        ("start", "end", "text"), [(-3, -2, "has expired"), (2, 3, "is not valid yet; is the clock right")]
    )
    async def test_at_another_time(
        self, authority: Authority, trusting: ClientTls, start: int, end: int, text: str
    ) -> None:
        pair = await asyncio.to_thread(authority.issue, f"from{start}", valid_from=start, valid_to=end)
        async with serving(await asyncio.to_thread(unchecked, pair)) as port:
            for tls in (trusting, ClientTls(trust_server=True)):
                assert f"the certificate of the exporter at localhost:{port} {text}" in await refusal(
                    f"localhost:{port}", tls=tls
                )

    async def test_of_another_host(self, authority: Authority, trusting: ClientTls) -> None:
        pair = await asyncio.to_thread(authority.issue, "elsewhere", hosts=["board.lab", "10.0.0.7"])
        async with serving(await asyncio.to_thread(unchecked, pair)) as port:
            for host in ("localhost", "127.0.0.1"):
                for tls in (trusting, ClientTls(trust_server=True)):
                    text = await refusal(f"{host}:{port}", tls=tls)
                    assert f"is not for {host}: connect by the name it is for, board.lab, 10.0.0.7" in text


@pytest.mark.anyio
class TestAClientCertificate:
    async def test_that_is_missing(self, mutual: Any, trusting: ClientTls) -> None:
        async with serving(mutual) as port:
            text = await refusal(f"localhost:{port}", tls=trusting)
            assert "wants a client certificate: give one with --tls-cert and --tls-key" in text

    async def test_of_another_authority(self, mutual: Any, trusting: ClientTls, tmp_path: Path) -> None:
        stranger = await asyncio.to_thread(lambda: Authority(tmp_path, "stranger").issue("client"))
        tls = ClientTls(trusting.ca, stranger.certificate, stranger.key)
        async with serving(mutual) as port:
            text = await refusal(f"localhost:{port}", tls=tls)
            assert f"refuses the client certificate {stranger.certificate}: is it signed by an authority" in text

    async def test_that_has_expired(self, authority: Authority, mutual: Any, trusting: ClientTls) -> None:
        old = await asyncio.to_thread(authority.issue, "old-client", valid_from=-3, valid_to=-2)
        async with serving(mutual) as port:
            text = await refusal(f"localhost:{port}", tls=ClientTls(trusting.ca, old.certificate, old.key))
            assert f"refuses the client certificate: {old.certificate}: the certificate has expired" in text


@pytest.mark.anyio
class TestNobodyThere:
    @pytest.mark.parametrize("insecure", [True, False])
    async def test_on_a_closed_port(self, insecure: bool) -> None:
        with taken_port() as port:
            for host in ("127.0.0.1", "localhost"):
                text = await refusal(f"{host}:{port}", insecure=insecure)
                assert "no exporter listens at" in text

    @pytest.mark.parametrize("insecure", [True, False])
    async def test_by_that_name(self, insecure: bool) -> None:
        # How long it takes is up to the name server.
        text = await refusal("no-such-host.invalid:1234", insecure=insecure, seconds=15)
        assert "no host 'no-such-host.invalid' is known here" in text

    @pytest.mark.parametrize("insecure", [True, False])
    async def test_who_speaks(self, insecure: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            text = await refusal(address, insecure=insecure, connect_timeout=0.2, seconds=5)
            assert "accepts connections and then says nothing: it hangs, or is no exporter" in text

    async def test_who_takes_the_call(self) -> None:
        """A full queue of connections, as of a machine that drops what it gets."""
        with socket.socket() as listener, ExitStack() as callers:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            for _ in range(8):
                caller = callers.enter_context(socket.socket())
                caller.setblocking(False)
                caller.connect_ex(address)
            text = await refusal(f"127.0.0.1:{address[1]}", insecure=True, connect_timeout=0.2, seconds=5)
            assert f"no answer from 127.0.0.1:{address[1]}: is the machine on" in text

    async def test_but_a_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with taken_port() as port:
            monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{port}")
            text = await refusal("board.invalid:1234", insecure=True)
        assert f"by way of the proxy 127.0.0.1:{port}" in text
        assert "add board.invalid to no_proxy" in text
        assert "secret" not in text


@pytest.mark.anyio
class TestSomebodyElse:
    @pytest.mark.parametrize("insecure", [True, False])
    @pytest.mark.parametrize("data", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.7\r\n"])
    async def test_speaks(self, data: bytes, insecure: bool) -> None:
        async with answering(data) as port:
            text = await refusal(f"127.0.0.1:{port}", insecure=insecure)
            assert "is no Jumpstarter exporter: check host and port" in text

    async def test_speaks_over_tls(self, server: Pair, trusting: ClientTls) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        await asyncio.to_thread(context.load_cert_chain, server.certificate, server.key)
        async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n", context=context) as port:
            text = await refusal(f"localhost:{port}", tls=trusting)
            assert "is no Jumpstarter exporter: check host and port" in text

    async def test_serves_grpc(self) -> None:
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            text = await refusal(f"127.0.0.1:{port}", insecure=True)
        finally:
            await server.stop(None)
        assert "is no Jumpstarter exporter, though it speaks HTTP/2" in text


@pytest.mark.anyio
class TestASocket:
    async def test_that_is_gone(self, tmp_path: Path) -> None:
        text = await refusal(str(tmp_path / "socket"))
        assert f"there is no socket {tmp_path / 'socket'}: has the shell or the exporter that made it ended?" in text

    async def test_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "is neither a socket nor host:port" in await refusal(str(tmp_path / "file"))

    async def test_that_nobody_listens_on(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "socket"))
            assert "nobody listens on the socket" in await refusal(str(tmp_path / "socket"))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
    async def test_that_is_somebody_elses(self, tmp_path: Path) -> None:
        (tmp_path / "closed").mkdir(mode=0)
        assert "Permission denied" in await refusal(str(tmp_path / "closed" / "socket"))
