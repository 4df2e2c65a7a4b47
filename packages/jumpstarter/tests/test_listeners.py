from __future__ import annotations

import errno
import logging
import os
import resource
import select
import socket
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    connect_tcp,
    connect_unix,
    create_task_group,
    fail_after,
    to_thread,
    wait_all_tasks_blocked,
)
from anyio.abc import SocketAttribute, SocketStream
from jumpstarter.common import TemporaryTcpListener, TemporaryUnixListener

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def deadline(anyio_backend: str):
    with fail_after(20):
        yield


async def echo(stream: SocketStream) -> None:
    async for data in stream:
        await stream.send(data)


async def receive_all(stream: SocketStream) -> bytes:
    return b"".join([data async for data in stream])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_tcp_listener_serves_each_connection(host: str):
    async with TemporaryTcpListener(echo, local_host=host) as address:
        clients = [await connect_tcp(*address) for _ in range(5)]
        for number, client in enumerate(clients):
            await client.send(b"%d" % number)
        for number, client in enumerate(clients):
            assert await client.receive() == b"%d" % number
            await client.send_eof()
            assert await receive_all(client) == b""
            await client.aclose()


async def test_tcp_listener_takes_the_given_port_and_frees_it():
    async with TemporaryTcpListener(echo) as (host, port):
        pass
    async with TemporaryTcpListener(echo, local_port=port) as again:
        assert again == (host, port)


async def test_tcp_listener_names_an_address_in_use():
    async with TemporaryTcpListener(echo, reuse_port=False) as (host, port):
        with pytest.raises(OSError, match=f"cannot listen on {host}:{port}: .*in use") as caught:
            async with TemporaryTcpListener(echo, local_port=port, reuse_port=False):
                pass
        assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("192.0.2.1", 0), ("no-such-host.invalid", 0)])
async def test_tcp_listener_names_an_address_it_cannot_have(host: str, port: int):
    with pytest.raises(OSError, match=f"cannot listen on {host}:{port}: "):
        async with TemporaryTcpListener(echo, local_host=host, local_port=port):
            pass


@pytest.mark.parametrize("listener", [TemporaryTcpListener, TemporaryUnixListener])
async def test_a_handler_that_reads_slowly_holds_its_peer_back(listener):
    reading, go_on = Event(), Event()
    received = 0

    async def read_slowly(stream: SocketStream) -> None:
        nonlocal received
        received += len(await stream.receive(1))
        reading.set()
        await go_on.wait()
        async for data in stream:
            received += len(data)

    async with listener(read_slowly) as address:
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        with socket.socket(family) as peer:
            sent = await to_thread.run_sync(send_until_held_back, peer, address)
            assert sent < 50_000_000
            await reading.wait()
            go_on.set()
            await to_thread.run_sync(read_to_end, peer)
    assert received == sent


def send_until_held_back(peer: socket.socket, address: tuple[str, int] | Path) -> int:
    peer.connect(address if isinstance(address, tuple) else str(address))
    peer.setblocking(False)
    sent = 0
    while sent < 200_000_000 and select.select([], [peer], [], 0.3)[1]:
        with suppress(BlockingIOError):
            sent += peer.send(bytes(65536))
    return sent


def read_to_end(peer: socket.socket) -> None:
    peer.settimeout(10)
    peer.shutdown(socket.SHUT_WR)
    assert peer.recv(1) == b""


async def test_a_closed_stream_says_so():
    closed = Event()

    async def close_while_reading(stream: SocketStream) -> None:
        async def read() -> None:
            with pytest.raises(ClosedResourceError):
                await stream.receive()

        async with create_task_group() as group:
            group.start_soon(read)
            await wait_all_tasks_blocked()
            await stream.aclose()
        for use in (stream.receive, stream.send_eof, partial(stream.send, b"x")):
            with pytest.raises(ClosedResourceError):
                await use()
        closed.set()

    async with TemporaryTcpListener(close_while_reading) as address, await connect_tcp(*address):
        await closed.wait()


async def test_the_stream_tells_its_addresses():
    told: list[object] = []

    async def tell(stream: SocketStream) -> None:
        told.append(stream.extra(SocketAttribute.remote_address))
        told.append(stream.extra(SocketAttribute.local_address))

    async with TemporaryTcpListener(tell) as address, await connect_tcp(*address) as client:
        with pytest.raises(EndOfStream):
            await client.receive()
        assert told == [client.extra(SocketAttribute.local_address), address]


async def test_a_failing_handler_resets_its_connection_only(caplog: pytest.LogCaptureFixture):
    async def fail_on_request(stream: SocketStream) -> None:
        async for data in stream:
            if data == b"fail":
                raise LookupError("no such board")
            await stream.send(data)

    async with TemporaryTcpListener(fail_on_request) as address:
        async with await connect_tcp(*address) as good, await connect_tcp(*address) as bad:
            await bad.send(b"fail")
            with pytest.raises(BrokenResourceError) as caught:
                await bad.receive()
            assert isinstance(caught.value.__cause__, ConnectionResetError)
            await good.send(b"ping")
            assert await good.receive() == b"ping"
        async with await connect_tcp(*address) as later:
            await later.send(b"ping")
            assert await later.receive() == b"ping"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"{address[0]}:{address[1]}: connection ended: no such board"]


async def test_leaving_the_context_ends_handlers_and_connections():
    ended = Event()

    async def hang(stream: SocketStream) -> None:
        try:
            await Event().wait()
        finally:
            ended.set()

    before = psutil.Process().num_fds()
    async with TemporaryTcpListener(hang) as address:
        client = await connect_tcp(*address)
        await wait_all_tasks_blocked()
    assert ended.is_set()
    with pytest.raises(BrokenResourceError):
        await client.receive()
    await client.aclose()
    with pytest.raises(OSError, match="connection attempts failed"):
        await connect_tcp(*address)
    await wait_all_tasks_blocked()
    assert psutil.Process().num_fds() == before


@pytest.mark.parametrize("listener", [TemporaryTcpListener, TemporaryUnixListener])
async def test_an_error_of_the_body_leaves_as_it_is(listener):
    with pytest.raises(LookupError, match="from the body"):
        async with listener(echo):
            raise LookupError("from the body")


async def test_running_out_of_descriptors_does_not_end_the_listener():
    refused = Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (
                "cannot accept a connection: " in record.getMessage()
                and os.strerror(errno.EMFILE) in record.getMessage()
            ):
                refused.set()

    watch = Watch()
    log = logging.getLogger("jumpstarter.common.listeners")
    log.addHandler(watch)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        async with TemporaryTcpListener(echo) as address:
            client = socket.socket()
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
            with pytest.raises(BlockingIOError):
                client.connect(address)
            await refused.wait()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client.close()
            async with await connect_tcp(*address) as later:
                await later.send(b"ping")
                assert await later.receive() == b"ping"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        log.removeHandler(watch)


async def test_unix_listener_lives_in_a_private_directory_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with TemporaryUnixListener(echo) as path:
        assert path.parent.parent == tmp_path
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        async with await connect_unix(path) as client:
            await client.send(b"ping")
            await client.send_eof()
            assert await receive_all(client) == b"ping"
    assert not list(tmp_path.iterdir())


async def test_unix_listener_falls_back_to_the_temporary_directory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent/runtime")
    async with TemporaryUnixListener(echo) as path:
        assert path.is_socket()
    assert not path.parent.exists()


async def test_unix_listener_at_a_given_path_replaces_a_stale_socket(tmp_path: Path):
    path = tmp_path / "board"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with TemporaryUnixListener(echo, path) as given:
        assert given == path
        async with await connect_unix(path) as client:
            await client.send_eof()
            with pytest.raises(EndOfStream):
                await client.receive()
    assert not path.exists()


async def test_unix_listener_leaves_what_is_not_its_own(tmp_path: Path):
    live, file = tmp_path / "live", tmp_path / "file"
    file.write_text("notes")
    async with TemporaryUnixListener(echo, live):
        with pytest.raises(OSError, match=f"cannot listen on {live}: another process listens on it"):
            async with TemporaryUnixListener(echo, live):
                pass
        async with await connect_unix(live) as client:
            await client.send(b"ping")
            assert await client.receive() == b"ping"
    with pytest.raises(OSError, match=f"cannot listen on {file}: .*in use"):
        async with TemporaryUnixListener(echo, file):
            pass
    assert file.read_text() == "notes"


@pytest.mark.parametrize("name", ["x" * 200, "missing/socket"])
async def test_unix_listener_names_a_path_it_cannot_have(tmp_path: Path, name: str):
    with pytest.raises(OSError, match=f"cannot listen on {tmp_path / name}: "):
        async with TemporaryUnixListener(echo, tmp_path / name):
            pass
