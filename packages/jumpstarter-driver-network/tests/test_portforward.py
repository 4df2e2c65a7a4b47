from __future__ import annotations

import hashlib
import http.client
import http.server
import logging
import os
import select
import socket
import struct
import threading
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from anyio import connect_tcp, connect_unix
from jumpstarter.common.utils import serve, serve_async
from jumpstarter_driver_network.adapters import (
    TcpPortforwardAdapter,
    UnixPortforwardAdapter,
    tcp_portforward_async,
    unix_portforward_async,
)
from jumpstarter_driver_network.driver import EchoNetwork, TcpNetwork, UnixNetwork

SECONDS = 10


@pytest.fixture
def console():
    """A stream that waits for its client, and never ends by itself."""
    with serve(EchoNetwork()) as client:
        yield client


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=SECONDS)


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(partial(connection.recv, 65536), b""))


def exchange(address: tuple[str, int], data: bytes) -> bytes:
    with connect(address) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def test_a_real_http_client_downloads_from_a_real_http_server(tmp_path: Path):
    image = os.urandom(3_000_000)
    (tmp_path / "image.bin").write_bytes(image)
    handler = partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            host, port = server.server_address[:2]
            with serve(TcpNetwork(host=str(host), port=port)) as client:
                with TcpPortforwardAdapter(client=client) as (local_host, local_port):
                    with urllib.request.urlopen(
                        f"http://{local_host}:{local_port}/image.bin", timeout=SECONDS
                    ) as reply:
                        assert reply.read() == image
                    keep_alive = http.client.HTTPConnection(local_host, local_port, timeout=SECONDS)
                    for _ in range(3):
                        keep_alive.request("GET", "/image.bin")
                        assert len(keep_alive.getresponse().read()) == len(image)
                    keep_alive.close()
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_50_connections_at_once(tcp_server, handlers):
    together = threading.Barrier(51)

    def serve_one(connection: socket.socket) -> None:
        together.wait(SECONDS)
        handlers.echo_after_end(connection)

    host, port = tcp_server(serve_one)
    with serve(TcpNetwork(host=host, port=port)) as client, TcpPortforwardAdapter(client=client) as address:
        with ThreadPoolExecutor(50) as pool:
            requests = [b"%d " % number * 10_000 for number in range(50)]
            replies = [pool.submit(exchange, address, request) for request in requests]
            together.wait(SECONDS)
            assert [reply.result() for reply in replies] == requests


def test_the_server_may_end_first(tcp_server):
    received: Future[bytes] = Future()

    def serve_one(connection: socket.socket) -> None:
        connection.sendall(b"greeting")
        connection.shutdown(socket.SHUT_WR)
        received.set_result(read_all(connection))

    host, port = tcp_server(serve_one)
    with serve(TcpNetwork(host=host, port=port)) as client, TcpPortforwardAdapter(client=client) as address:
        with connect(address) as connection:
            assert read_all(connection) == b"greeting"
            connection.sendall(b"still listening?")
            connection.shutdown(socket.SHUT_WR)
            assert received.result(SECONDS) == b"still listening?"


def test_20_mb_each_way(tcp_server, handlers):
    host, port = tcp_server(handlers.echo)
    data = os.urandom(20_000_000)
    with serve(TcpNetwork(host=host, port=port)) as client, TcpPortforwardAdapter(client=client) as address:
        with connect(address) as connection, ThreadPoolExecutor(1) as pool:
            echoed = pool.submit(read_all, connection)
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert hashlib.sha256(echoed.result()).digest() == hashlib.sha256(data).digest()


def test_a_reader_that_stops_holds_the_server_back(tcp_server):
    sent: Future[int] = Future()

    def flood(connection: socket.socket) -> None:
        connection.settimeout(1)
        total = 0
        try:
            while total < 500_000_000:
                total += connection.send(bytes(1_000_000))
        except TimeoutError:
            sent.set_result(total)
            raise
        sent.set_result(total)

    host, port = tcp_server(flood)
    with serve(TcpNetwork(host=host, port=port)) as client, TcpPortforwardAdapter(client=client) as address:
        with connect(address) as connection:
            total = sent.result(60)
            assert total < 100_000_000
            assert len(read_all(connection)) == total


def test_a_server_that_stops_reading_holds_the_local_program_back(tcp_server):
    go_on = threading.Event()
    received: Future[int] = Future()

    def read_late(connection: socket.socket) -> None:
        go_on.wait(60)
        received.set_result(len(read_all(connection)))

    host, port = tcp_server(read_late)
    with serve(TcpNetwork(host=host, port=port)) as client, TcpPortforwardAdapter(client=client) as address:
        with connect(address) as connection:
            connection.setblocking(False)
            sent = 0
            while sent < 500_000_000 and select.select([], [connection], [], 1)[1]:
                sent += connection.send(bytes(65536))
            assert sent < 100_000_000
            connection.settimeout(SECONDS)
            connection.shutdown(socket.SHUT_WR)
            go_on.set()
            assert connection.recv(1) == b""
    assert received.result(SECONDS) == sent


def test_a_refused_connection_is_reset_with_its_cause_logged(
    free_port: int, caplog: pytest.LogCaptureFixture, tcp_server, handlers
):
    with serve(TcpNetwork(host="127.0.0.1", port=free_port)) as client, TcpPortforwardAdapter(client=client) as address:
        for _ in range(2):
            with connect(address) as connection, pytest.raises(ConnectionResetError):
                connection.recv(100)
        assert caplog.text.count(f"cannot connect to tcp://127.0.0.1:{free_port}: Connection refused") == 2


def test_a_server_reset_resets_that_connection_only(tcp_server, handlers, caplog: pytest.LogCaptureFixture):
    def break_off_on_request(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            if data == b"break":
                handlers.reset(connection)
                return
            connection.sendall(data)

    host, port = tcp_server(break_off_on_request)
    with serve(TcpNetwork(host=host, port=port)) as client, TcpPortforwardAdapter(client=client) as address:
        with connect(address) as good, connect(address) as bad:
            bad.sendall(b"break")
            with pytest.raises(ConnectionResetError):
                bad.recv(100)
            good.sendall(b"ping")
            assert good.recv(100) == b"ping"
        assert exchange(address, b"ping") == b"ping"
    [warning] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"tcp://{host}:{port}: Connection reset by peer" in warning


def test_a_local_program_that_breaks_off_is_no_warning(console, leaves_nothing, caplog: pytest.LogCaptureFixture):
    with TcpPortforwardAdapter(client=console) as address:
        exchange(address, b"warm up")
        with leaves_nothing(console):
            with connect(address) as connection:
                connection.sendall(b"ping")
                assert connection.recv(100) == b"ping"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_leaving_the_context_ends_open_connections_and_leaves_nothing(console, leaves_nothing):
    with TcpPortforwardAdapter(client=console) as address:
        exchange(address, b"warm up")
    with leaves_nothing(console):
        with TcpPortforwardAdapter(client=console) as address:
            connections = [connect(address) for _ in range(5)]
            for connection in connections:
                connection.sendall(b"ping")
                assert connection.recv(100) == b"ping"
        for connection in connections:
            with connection, pytest.raises(ConnectionResetError):
                connection.recv(100)
        with pytest.raises(ConnectionRefusedError):
            connect(address)


def test_a_local_port_in_use_is_named(console):
    with TcpPortforwardAdapter(client=console) as (host, port):
        with pytest.raises(OSError, match=f"cannot listen on {host}:{port}: Address already in use"):
            with TcpPortforwardAdapter(client=console, local_port=port):
                pass


@pytest.mark.parametrize("error", [LookupError("x"), KeyboardInterrupt(), SystemExit(2)])
def test_an_error_in_the_body_leaves_as_it_is(console, error: BaseException):
    with pytest.raises(type(error)) as caught:
        with TcpPortforwardAdapter(client=console) as address:
            raise error
    assert caught.value is error
    with pytest.raises(ConnectionRefusedError):
        connect(address)
    with console.stream() as stream:
        stream.send(b"ping")
        assert stream.receive() == b"ping"


def test_unix_port_forward(unix_server, handlers, tmp_path: Path):
    server = unix_server(handlers.echo_after_end)
    with serve(UnixNetwork(path=server)) as client:
        with UnixPortforwardAdapter(client=client, path=tmp_path / "local") as path:
            assert path == tmp_path / "local"
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(SECONDS)
                connection.connect(str(path))
                connection.sendall(b"question" * 100_000)
                connection.shutdown(socket.SHUT_WR)
                assert read_all(connection) == b"question" * 100_000
        assert not path.exists()
        with UnixPortforwardAdapter(client=client) as private:
            assert private.parent.stat().st_mode & 0o777 == 0o700
        assert not private.parent.exists()


@pytest.mark.anyio
async def test_port_forwards_on_an_event_loop():
    async with serve_async(EchoNetwork()) as client:
        async with tcp_portforward_async(client=client) as address, unix_portforward_async(client=client) as path:
            async with await connect_tcp(*address) as by_port, await connect_unix(path) as by_path:
                for connection in (by_port, by_path):
                    await connection.send(b"ping")
                    assert await connection.receive() == b"ping"
