from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack

import pytest
from anyio import BrokenResourceError, EndOfStream
from jumpstarter.client.core import DriverConnectionError
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve
from jumpstarter_driver_network.adapters import NovncAdapter
from jumpstarter_driver_network.driver import TcpNetwork, WebsocketNetwork
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_websocket


@pytest.fixture
def websocket_server() -> Iterator[Callable[[Callable[[ServerConnection], None]], str]]:
    """Start a WebSocket server with a handler; gives its URL."""
    with ExitStack() as stack:

        def start(handler: Callable[[ServerConnection], None]) -> str:
            server = stack.enter_context(serve_websocket(handler, "127.0.0.1", 0, max_size=None))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(server.shutdown)
            host, port = server.socket.getsockname()
            return f"ws://{host}:{port}/console"

        yield start


def test_messages_are_pieces_also_empty_and_big_ones(websocket_server):
    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    url = websocket_server(echo)
    with serve(WebsocketNetwork(url=url)) as client, client.stream() as stream:
        for piece in (b"one", b"", bytes(900_000), "ünï".encode()):
            stream.send(piece)
            assert stream.receive() == piece


def test_text_arrives_as_utf8_and_closing_is_the_end(websocket_server):
    def greet(connection: ServerConnection) -> None:
        connection.send("grüß dich")

    url = websocket_server(greet)
    with serve(WebsocketNetwork(url=url)) as client, client.stream() as stream:
        assert stream.receive() == "grüß dich".encode()
        with pytest.raises(EndOfStream):
            stream.receive()


def test_closing_the_stream_closes_the_websocket(websocket_server):
    code: Future[int | None] = Future()

    def wait(connection: ServerConnection) -> None:
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
        code.set_result(closed.value.rcvd.code if closed.value.rcvd else None)

    url = websocket_server(wait)
    with serve(WebsocketNetwork(url=url)) as client, client.stream():
        pass
    assert code.result(10) == 1000


def test_a_server_that_breaks_off_is_an_error_that_names_it(websocket_server):
    url = websocket_server(lambda connection: connection.socket.close())
    with serve(WebsocketNetwork(url=url)) as client, client.stream() as stream:
        with pytest.raises(BrokenResourceError, match=url):
            stream.receive()


def test_errors_name_the_url_without_its_secrets(free_port: int, tcp_server):
    with serve(WebsocketNetwork(url=f"ws://me:hunter2@127.0.0.1:{free_port}/a?token=hunter2")) as client:
        with pytest.raises(DriverConnectionError, match=rf"ws://127\.0\.0\.1:{free_port}/a: Connection refused$"):
            client.stream().__enter__()
    host, port = tcp_server(lambda connection: connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n"))
    with serve(WebsocketNetwork(url=f"ws://{host}:{port}/a")) as client:
        with pytest.raises(DriverConnectionError, match=f"cannot connect to ws://{host}:{port}/a: .*404"):
            client.stream().__enter__()


def test_the_url_is_the_address_unless_private():
    with serve(WebsocketNetwork(url="wss://board.example/console")) as client:
        assert client.address() == "wss://board.example/console"
    with serve(WebsocketNetwork(url="wss://board.example/console", enable_address=False)) as client:
        with pytest.raises(ValueError, match="enable_address is not true"):
            client.address()
    with pytest.raises(ConfigurationError, match="url must start with ws:// or wss://, not 'http://board'"):
        WebsocketNetwork(url="http://board")


def viewer_url(page: str) -> str:
    host, port = (page.partition(f"{key}=")[2].partition("&")[0] for key in ("host", "port"))
    return f"ws://{host}:{port}"


@pytest.mark.parametrize(("encrypt", "flag"), [(True, "encrypt=1"), (False, "encrypt=0")])
def test_a_viewer_reaches_the_vnc_server(tcp_server, handlers, encrypt: bool, flag: str):
    host, port = tcp_server(handlers.echo)
    with serve(TcpNetwork(host=host, port=port)) as client, NovncAdapter(client=client, encrypt=encrypt) as page:
        assert page.startswith(
            f"https://novnc.com/noVNC/vnc.html?{flag}&autoconnect=1&reconnect=1&host=127.0.0.1&port="
        )
        for _ in range(2):
            with connect(viewer_url(page), origin="https://novnc.com", subprotocols=["binary"]) as viewer:
                assert viewer.subprotocol == "binary"
                viewer.send(b"RFB 003.008\n")
                assert viewer.recv(timeout=10) == b"RFB 003.008\n"


def test_a_viewer_is_closed_when_the_vnc_server_ends(tcp_server):
    host, port = tcp_server(lambda connection: connection.sendall(b"bye"))
    with serve(TcpNetwork(host=host, port=port)) as client, NovncAdapter(client=client) as page:
        with connect(viewer_url(page)) as viewer:
            assert list(viewer) == [b"bye"]


def test_a_viewer_is_told_why_the_vnc_server_cannot_be_reached(free_port: int, caplog: pytest.LogCaptureFixture):
    with serve(TcpNetwork(host="127.0.0.1", port=free_port)) as client, NovncAdapter(client=client) as page:
        with connect(viewer_url(page)) as viewer, pytest.raises(ConnectionClosed) as closed:
            viewer.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    assert "Connection refused" in caplog.text


def test_other_web_pages_are_refused(tcp_server, handlers):
    host, port = tcp_server(handlers.echo)
    with serve(TcpNetwork(host=host, port=port)) as client, NovncAdapter(client=client) as page:
        with pytest.raises(InvalidStatus, match="403"):
            connect(viewer_url(page), origin="https://elsewhere.example")


def test_leaving_the_context_closes_open_viewers(tcp_server, handlers, leaves_nothing):
    host, port = tcp_server(handlers.echo)

    def use(client) -> None:
        with ExitStack() as stack:
            with NovncAdapter(client=client) as page:
                viewer = stack.enter_context(connect(viewer_url(page)))
                viewer.send(b"ping")
                assert viewer.recv(timeout=10) == b"ping"
            with pytest.raises(ConnectionClosed):
                viewer.recv(timeout=10)

    with serve(TcpNetwork(host=host, port=port)) as client:
        use(client)
        with leaves_nothing(client):
            use(client)
