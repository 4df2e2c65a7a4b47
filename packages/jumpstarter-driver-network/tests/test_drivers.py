from __future__ import annotations

import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from anyio import BrokenResourceError, EndOfStream
from jumpstarter.client.core import DriverConnectionError, DriverInvalidArgument, DriverOSError, DriverTimeout
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve, serve_async
from jumpstarter_driver_network.client import NetworkClient
from jumpstarter_driver_network.driver import EchoNetwork, TcpNetwork, UdpNetwork, UnixNetwork


def receive_all(stream) -> bytes:
    return b"".join(stream)


def receive_exactly(stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += stream.receive()
    return data


def test_tcp_carries_bytes_both_ways(tcp_server, handlers):
    host, port = tcp_server(handlers.echo)
    with serve(TcpNetwork(host=host, port=port)) as client:
        assert isinstance(client, NetworkClient)
        with client.stream() as one, client.stream() as two:
            one.send(b"first")
            two.send(b"second")
            assert receive_exactly(one, 5) == b"first"
            assert receive_exactly(two, 6) == b"second"


@pytest.mark.anyio
async def test_tcp_from_an_event_loop(tcp_server, handlers):
    host, port = tcp_server(handlers.echo_after_end)
    async with serve_async(TcpNetwork(host=host, port=port)) as client:
        async with client.stream_async() as stream:
            await stream.send(b"all of it")
            await stream.send_eof()
            assert b"".join([data async for data in stream]) == b"all of it"


def test_tcp_half_close_by_the_client(tcp_server, handlers):
    host, port = tcp_server(handlers.echo_after_end)
    with serve(TcpNetwork(host=host, port=port)) as client, client.stream() as stream:
        stream.send(b"question")
        stream.send_eof()
        assert receive_all(stream) == b"question"


def test_tcp_half_close_by_the_server(tcp_server):
    received: list[bytes] = []

    def serve_one(connection: socket.socket) -> None:
        connection.sendall(b"greeting")
        connection.shutdown(socket.SHUT_WR)
        received.extend(iter(lambda: connection.recv(65536), b""))
        done.set_result(None)

    from concurrent.futures import Future

    done: Future[None] = Future()
    host, port = tcp_server(serve_one)
    with serve(TcpNetwork(host=host, port=port)) as client, client.stream() as stream:
        assert receive_all(stream) == b"greeting"
        stream.send(b"still ")
        stream.send(b"listening?")
        stream.send_eof()
        done.result(10)
    assert b"".join(received) == b"still listening?"


def test_tcp_carries_10_mb_each_way(tcp_server, handlers):
    host, port = tcp_server(handlers.echo)
    data = os.urandom(10_000_000)

    def send(stream) -> None:
        for start in range(0, len(data), 300_000):
            stream.send(data[start : start + 300_000])
        stream.send_eof()

    with serve(TcpNetwork(host=host, port=port)) as client, client.stream() as stream, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send, stream)
        assert hashlib.sha256(receive_all(stream)).digest() == hashlib.sha256(data).digest()
        sent.result()


@pytest.mark.parametrize(
    ("driver", "address"),
    [
        (TcpNetwork(host="board.example", port=22), "tcp://board.example:22"),
        (TcpNetwork(host="fe80::1", port=22), "tcp://[fe80::1]:22"),
        (UdpNetwork(host="board.example", port=69), "udp://board.example:69"),
    ],
)
def test_address_of_an_endpoint(driver, address: str):
    with serve(driver) as client:
        assert client.address() == address


@pytest.mark.parametrize("driver", [TcpNetwork, UdpNetwork])
def test_address_can_be_kept_private(driver):
    with serve(driver(host="board.example", port=22, enable_address=False)) as client:
        with pytest.raises(DriverInvalidArgument, match="enable_address is not true in the exporter configuration"):
            client.address()


def test_an_endpoint_without_address_says_so():
    with serve(EchoNetwork()) as client:
        with pytest.raises(NotImplementedError, match="address"):
            client.address()


def test_tcp_connection_refused_names_address_and_cause(free_port: int):
    with serve(TcpNetwork(host="127.0.0.1", port=free_port)) as client:
        expected = rf"cannot connect to tcp://127\.0\.0\.1:{free_port}: Connection refused"
        with pytest.raises(DriverConnectionError, match=expected), client.stream():
            pass


def test_tcp_unknown_host_names_it():
    with serve(TcpNetwork(host="no-such-board.invalid", port=22)) as client:
        with (
            pytest.raises(DriverOSError, match=r"cannot connect to tcp://no-such-board\.invalid:22: .*known"),
            client.stream(),
        ):
            pass


def test_tcp_connecting_has_a_deadline():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        host, port = deaf.getsockname()
        with socket.create_connection((host, port)):
            with serve(TcpNetwork(host=host, port=port, connect_timeout=0.2)) as client:
                with (
                    pytest.raises(DriverTimeout, match=rf"tcp://{host}:{port} does not answer within 0\.2 s"),
                    client.stream(),
                ):
                    pass


def test_tcp_reset_reaches_the_client_with_its_cause(tcp_server, handlers):
    def break_off(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"half of")
        connection.recv(100)
        handlers.reset(connection)

    host, port = tcp_server(break_off)
    with serve(TcpNetwork(host=host, port=port)) as client, client.stream() as stream:
        stream.send(b"go")
        assert receive_exactly(stream, 7) == b"half of"
        stream.send(b"on")
        with pytest.raises(BrokenResourceError, match=f"tcp://{host}:{port}: Connection reset by peer") as caught:
            stream.receive()
        assert isinstance(caught.value.__cause__, DriverConnectionError)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TcpNetwork(host="", port=22), "TcpNetwork: host must be text that is not empty"),
        (lambda: TcpNetwork(host="board", port=0), "TcpNetwork: port must be a number from 1 to 65535, not 0"),
        (lambda: TcpNetwork(host="board", port=65536), "not 65536"),
        (
            lambda: TcpNetwork(host="board", port=22, connect_timeout=0),
            "connect_timeout must be above 0 seconds, not 0",
        ),
        (lambda: UdpNetwork(host="board", port=-1), "UdpNetwork: port must be"),
        (lambda: UnixNetwork(path=""), "UnixNetwork: path must be text"),
    ],
)
def test_bad_configuration_is_refused_at_once(make, message: str):
    with pytest.raises(ConfigurationError, match=message):
        make()


def udp_echo() -> socket.socket:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(10)
    return server


def test_udp_keeps_datagrams_apart_also_empty_ones():
    with udp_echo() as server:
        host, port = server.getsockname()
        with serve(UdpNetwork(host=host, port=port)) as client, client.stream() as stream:
            for datagram in (b"one", b"", b"two", bytes(60_000)):
                stream.send(datagram)
                received, peer = server.recvfrom(65535)
                assert received == datagram
                server.sendto(datagram.upper(), peer)
                assert stream.receive() == datagram.upper()


def test_udp_names_a_port_that_nobody_listens_on():
    with udp_echo() as server:
        host, port = server.getsockname()
    with serve(UdpNetwork(host=host, port=port)) as client, client.stream() as stream:
        stream.send(b"anybody?")
        with pytest.raises(BrokenResourceError, match=f"udp://{host}:{port}: Connection refused"):
            stream.receive()


def test_udp_names_a_datagram_that_is_too_long():
    with udp_echo() as server:
        host, port = server.getsockname()
        with serve(UdpNetwork(host=host, port=port)) as client, client.stream() as stream:
            stream.send(bytes(70_000))
            with pytest.raises(
                BrokenResourceError, match=f"udp://{host}:{port}: a datagram of 70000 bytes: Message too long"
            ):
                stream.receive()


def test_udp_receives_after_the_client_ended_sending():
    with udp_echo() as server:
        host, port = server.getsockname()
        with serve(UdpNetwork(host=host, port=port)) as client, client.stream() as stream:
            stream.send(b"ping")
            _, peer = server.recvfrom(100)
            stream.send_eof()
            server.sendto(b"pong", peer)
            assert stream.receive() == b"pong"


def test_udp_unknown_host_names_it():
    with serve(UdpNetwork(host="no-such-board.invalid", port=69)) as client:
        with pytest.raises(DriverOSError, match=r"udp://no-such-board\.invalid:69"), client.stream():
            pass


def test_unix_carries_bytes_and_half_close(unix_server, handlers):
    path = unix_server(handlers.echo_after_end)
    with serve(UnixNetwork(path=path)) as client, client.stream() as stream:
        stream.send(b"question")
        stream.send_eof()
        assert receive_all(stream) == b"question"


def test_unix_names_a_path_where_nothing_listens(tmp_path):
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(stale))
    with serve(UnixNetwork(path=str(stale))) as client:
        with (
            pytest.raises(DriverConnectionError, match=f"cannot connect to unix:{stale}: Connection refused"),
            client.stream(),
        ):
            pass
    with serve(UnixNetwork(path=str(tmp_path / "missing"))) as client:
        with pytest.raises(DriverOSError, match=f"unix:{tmp_path}/missing: No such file or directory"), client.stream():
            pass


def test_unix_names_a_server_that_is_busy(tmp_path):
    path = str(tmp_path / "busy")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as waiting:
        server.bind(path)
        server.listen(0)
        waiting.connect(path)
        with serve(UnixNetwork(path=path)) as client:
            with (
                pytest.raises(DriverConnectionError, match=f"unix:{path}: its queue of connections is full"),
                client.stream(),
            ):
                pass


def test_echo_gives_back_each_piece_and_then_the_end():
    with serve(EchoNetwork()) as client, client.stream() as stream:
        for piece in (b"one", b"", b"three"):
            stream.send(piece)
        stream.send_eof()
        assert [stream.receive() for _ in range(3)] == [b"one", b"", b"three"]
        with pytest.raises(EndOfStream):
            stream.receive()


def test_closed_streams_leave_nothing_behind(tcp_server, handlers, leaves_nothing):
    host, port = tcp_server(handlers.echo_after_end)
    with serve(TcpNetwork(host=host, port=port)) as client:

        def use() -> None:
            with client.stream() as stream:
                stream.send(b"x" * 100_000)
                stream.send_eof()
                assert len(receive_all(stream)) == 100_000

        use()
        with leaves_nothing(client):
            for _ in range(5):
                use()
