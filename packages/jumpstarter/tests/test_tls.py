"""Certificates: what is found wrong with them before they are used, and connections that depend on them."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from jumpstarter.client.client import client_from_path
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.common.exceptions import ConfigurationError, ConnectionError
from jumpstarter.common.utils import env
from jumpstarter.driver import Driver, export
from jumpstarter.exporter import Session
from jumpstarter.rpc.tls import ClientTls, check_pair, read_authorities, server_credentials
from jumpstarter_testing.certificates import Authority, Pair


class Echo(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def echo(self, value: Any) -> Any:
        return value


@asynccontextmanager
async def serving(credentials: Any) -> AsyncGenerator[int]:
    async with Session(root_device=Echo()) as session:
        async with session.serve_tcp_async("127.0.0.1", 0, tls_credentials=credentials) as port:
            session.update_status(ExporterStatus.LEASE_READY)
            yield port


async def talk(address: str, tls: ClientTls) -> Any:
    with ExitStack() as stack:
        async with client_from_path(address, BlockingPortal(), stack, [], unsafe=True, tls=tls) as client:
            return await client.call_async("echo", "hello")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "stranger")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue()


@pytest.fixture(scope="module")
def client(authority: Authority) -> Pair:
    return authority.issue("client")


def joined(pair: Pair, path: Path) -> Path:
    path.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
    return path


class TestAPair:
    def test_that_fits_tells_its_names(self, server: Pair) -> None:
        assert check_pair(server.certificate, server.key) == ["localhost", "127.0.0.1", "0:0:0:0:0:0:0:1"]

    def test_in_one_file(self, server: Pair, tmp_path: Path) -> None:
        assert "localhost" in check_pair(joined(server, tmp_path / "both.pem"))

    def test_with_its_chain(self, authority: Authority, server: Pair, tmp_path: Path) -> None:
        chain = tmp_path / "chain.pem"
        chain.write_bytes(server.certificate.read_bytes() + authority.certificate.read_bytes())
        assert "localhost" in check_pair(chain, server.key)

    def test_that_is_none(self, server: Pair, client: Pair) -> None:
        with pytest.raises(ConfigurationError, match=r"client\.key: not the private key of .*server\.pem"):
            check_pair(server.certificate, client.key)

    def test_that_is_swapped(self, server: Pair) -> None:
        with pytest.raises(ConfigurationError, match=r"server\.key: expected a certificate in PEM; .*swapped\?"):
            check_pair(server.key, server.certificate)

    def test_without_a_key(self, server: Pair) -> None:
        with pytest.raises(ConfigurationError, match=r"server\.pem: holds no private key; name the file of the key"):
            check_pair(server.certificate)

    @pytest.mark.parametrize(
        ("start", "end", "text"), [(-3, -2, "the certificate has expired"), (2, 3, "is not valid yet; .*clock")]
    )
    def test_at_another_time(self, authority: Authority, start: int, end: int, text: str) -> None:
        pair = authority.issue(f"from{start}", valid_from=start, valid_to=end)
        with pytest.raises(
            ConfigurationError, match=rf"from{start}\.pem: {text}|from{start}\.pem: the certificate {text}"
        ):
            check_pair(pair.certificate, pair.key)

    def test_with_an_encrypted_key(self, authority: Authority) -> None:
        pair = authority.issue("locked", password=b"secret")
        with pytest.raises(ConfigurationError, match=r"locked\.key: the private key is encrypted; .*openssl pkey -in"):
            check_pair(pair.certificate, pair.key)

    @pytest.mark.parametrize("which", ["certificate", "key"])
    def test_of_which_one_is_absent(self, server: Pair, tmp_path: Path, which: str) -> None:
        with pytest.raises(ConfigurationError, match=r"absent\.pem: No such file"):
            check_pair(**{"certificate": server.certificate, "key": server.key, which: tmp_path / "absent.pem"})

    @pytest.mark.parametrize("which", ["certificate", "key"])
    def test_of_which_one_is_a_directory(self, server: Pair, tmp_path: Path, which: str) -> None:
        with pytest.raises(ConfigurationError, match="not a file"):
            check_pair(**{"certificate": server.certificate, "key": server.key, which: tmp_path})

    def test_of_which_one_is_a_fifo(self, server: Pair, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(ConfigurationError, match="fifo: not a file"):
            check_pair(server.certificate, tmp_path / "fifo")

    @pytest.mark.parametrize("data", [b"", b"nonsense", bytes(range(256))])
    def test_of_which_one_is_something_else(self, server: Pair, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(ConfigurationError, match=r"file: expected a certificate in PEM$"):
            check_pair(tmp_path / "file", server.key)
        with pytest.raises(ConfigurationError, match=r"file: expected a private key in PEM$"):
            check_pair(server.certificate, tmp_path / "file")

    def test_of_which_one_is_damaged(self, server: Pair, tmp_path: Path) -> None:
        (tmp_path / "damaged.pem").write_bytes(server.certificate.read_bytes().replace(b"M", b"N"))
        with pytest.raises(ConfigurationError, match=r"damaged\.pem.*cannot be used"):
            check_pair(tmp_path / "damaged.pem", server.key)


class TestAnAuthority:
    def test_that_is_damaged(self, authority: Authority, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_bytes(authority.certificate.read_bytes().replace(b"M", b"N"))
        with pytest.raises(ConfigurationError, match=r"ca\.pem: not a certificate that can be used"):
            read_authorities(tmp_path / "ca.pem")

    def test_that_is_a_key(self, server: Pair) -> None:
        with pytest.raises(ConfigurationError, match=r"server\.key: expected a certificate in PEM; it holds a private"):
            ClientTls.from_files(ca=server.key)

    def test_key_without_certificate(self, server: Pair) -> None:
        with pytest.raises(ConfigurationError, match=r"server\.key: a private key needs its certificate"):
            ClientTls.from_files(key=server.key)


@pytest.fixture
def one_sided(server: Pair) -> Any:
    return server_credentials(server.certificate, server.key)


@pytest.fixture
def two_sided(authority: Authority, server: Pair) -> Any:
    return server_credentials(server.certificate, server.key, authority.certificate)


@pytest.fixture
def trusting(authority: Authority) -> ClientTls:
    return ClientTls.from_files(authority.certificate)


@pytest.mark.anyio
class TestAConnection:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    async def test_with_the_right_authority(self, one_sided: Any, trusting: ClientTls, host: str) -> None:
        async with serving(one_sided) as port:
            assert await talk(f"{host}:{port}", trusting) == "hello"

    @pytest.mark.parametrize("files", [1, 2])
    async def test_on_both_sides(
        self, two_sided: Any, trusting: ClientTls, client: Pair, tmp_path: Path, files: int
    ) -> None:
        shown = (client.certificate, client.key) if files == 2 else (joined(client, tmp_path / "client.pem"), None)
        async with serving(two_sided) as port:
            assert await talk(f"localhost:{port}", ClientTls(trusting.ca, *shown)) == "hello"

    async def test_on_both_sides_trusting_whoever_answers(self, two_sided: Any, client: Pair) -> None:
        async with serving(two_sided) as port:
            tls = ClientTls(certificate=client.certificate, key=client.key, trust_server=True)
            assert await talk(f"localhost:{port}", tls) == "hello"

    async def test_with_an_authority_that_the_system_trusts(
        self, monkeypatch: pytest.MonkeyPatch, authority: Authority, one_sided: Any
    ) -> None:
        monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(authority.certificate))
        async with serving(one_sided) as port:
            assert await talk(f"localhost:{port}", ClientTls()) == "hello"


class TestTheEnvironment:
    @pytest.fixture(autouse=True)
    def shell(self, monkeypatch: pytest.MonkeyPatch, authority: Authority, server: Pair) -> Any:
        credentials = server_credentials(server.certificate, server.key, authority.certificate)
        monkeypatch.setenv("JMP_DRIVERS_ALLOW", "UNSAFE")
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving(credentials)) as port:
            monkeypatch.setenv("JUMPSTARTER_HOST", f"localhost:{port}")
            yield

    def test_gives_authority_and_certificate(
        self, monkeypatch: pytest.MonkeyPatch, authority: Authority, client: Pair
    ) -> None:
        monkeypatch.setenv("JMP_GRPC_CA", str(authority.certificate))
        monkeypatch.setenv("JMP_GRPC_CERT", str(client.certificate))
        monkeypatch.setenv("JMP_GRPC_KEY", str(client.key))
        with env() as root:
            assert root.call("echo", 1) == 1

    def test_names_what_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JMP_GRPC_CA", "/nowhere/ca.pem")
        with pytest.raises(ConfigurationError, match=r"/nowhere/ca\.pem: No such file"), env():
            pass

    def test_without_a_certificate(self, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
        monkeypatch.setenv("JMP_GRPC_CA", str(authority.certificate))
        with pytest.raises(ConnectionError, match=r"wants a client certificate: .* JMP_GRPC_CERT"), env():
            pass
