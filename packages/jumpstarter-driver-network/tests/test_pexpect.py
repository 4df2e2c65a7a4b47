from __future__ import annotations

import hashlib
import logging
import os
import random
import select
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

import pexpect
import pytest
from anyio import BrokenResourceError, to_thread
from jumpstarter.common.utils import serve, serve_async
from jumpstarter_driver_network.adapters import PexpectAdapter, pexpect_async
from jumpstarter_driver_network.driver import EchoNetwork, TcpNetwork


def login(connection: socket.socket) -> None:
    lines = connection.makefile("rb")
    connection.sendall(b"login: ")
    user = lines.readline().strip()
    connection.sendall(b"welcome " + user + b"\r\n# ")
    while (command := lines.readline().strip()) != b"exit":
        connection.sendall(b"ran " + command + b"\r\n# ")


def test_a_session_logs_in_and_runs_commands(tcp_server):
    host, port = tcp_server(login)
    with serve(TcpNetwork(host=host, port=port)) as client, PexpectAdapter(client=client) as session:
        session.expect_exact(b"login: ", timeout=10)
        session.sendline(b"root")
        session.expect(rb"welcome (\w+)\r\n# ", timeout=10)
        assert session.match.group(1) == b"root"
        session.sendline(b"uname")
        session.expect_exact(b"# ", timeout=10)
        assert session.before == b"ran uname\r\n"
        session.sendline(b"exit")
        session.expect(pexpect.EOF, timeout=10)


def test_a_10_mb_boot_log_arrives_byte_for_byte(tcp_server):
    noise = random.Random(7)
    log = b"".join(b"[%d] \xe4\xff\x00%b\r\n" % (number, noise.randbytes(90)) for number in range(100_000))
    assert len(log) > 9_000_000

    def boot(connection: socket.socket) -> None:
        connection.sendall(log + b"buildroot login: ")
        connection.recv(100)
        connection.sendall(log)

    host, port = tcp_server(boot)
    with serve(TcpNetwork(host=host, port=port)) as client, PexpectAdapter(client=client) as session:
        session.expect(rb"buildroot login: ", timeout=60)
        assert hashlib.sha256(session.before).digest() == hashlib.sha256(log).digest()
        session.sendline(b"root")
        assert hashlib.sha256(session.read()).digest() == hashlib.sha256(log).digest()


def test_a_big_paste_arrives_also_right_before_the_end(tcp_server):
    received: Future[bytes] = Future()

    def collect(connection: socket.socket) -> None:
        received.set_result(b"".join(iter(partial(connection.recv, 65536), b"")))

    paste = os.urandom(2_000_000)
    host, port = tcp_server(collect)
    with serve(TcpNetwork(host=host, port=port)) as client:
        with PexpectAdapter(client=client) as session:
            session.send(paste)
            session.send(b"poweroff\n")
        assert received.result(10) == paste + b"poweroff\n"


def break_off(handlers, connection: socket.socket) -> None:
    connection.sendall(b"booting")
    connection.recv(100)
    handlers.reset(connection)


def test_a_stream_that_fails_is_eof_and_its_cause_is_logged_and_raised_at_the_end(
    tcp_server, handlers, caplog: pytest.LogCaptureFixture
):
    host, port = tcp_server(partial(break_off, handlers))
    cause = f"tcp://{host}:{port}: Connection reset by peer"

    def boot(client) -> None:
        with PexpectAdapter(client=client) as session:
            session.expect_exact(b"booting", timeout=10)
            session.sendline(b"")
            session.expect(pexpect.EOF, timeout=10)
            assert cause in caplog.text

    with serve(TcpNetwork(host=host, port=port)) as client, pytest.raises(BrokenResourceError, match=cause):
        boot(client)
    assert [record.levelno for record in caplog.records if cause in record.getMessage()] == [logging.WARNING]


def test_a_stream_that_fails_is_a_note_on_the_error_of_the_body(tcp_server, handlers):
    host, port = tcp_server(partial(break_off, handlers))

    def boot(client) -> None:
        with PexpectAdapter(client=client) as session:
            session.sendline(b"")
            session.expect_exact(b"login: ", timeout=10)

    with serve(TcpNetwork(host=host, port=port)) as client, pytest.raises(pexpect.EOF) as caught:
        boot(client)
    assert caught.value.__notes__ == [
        f"The driver's stream had failed: stream connect: EndpointLost: tcp://{host}:{port}: Connection reset by peer"
    ]


def test_a_stream_that_cannot_be_opened_raises_at_once(free_port: int):
    with serve(TcpNetwork(host="127.0.0.1", port=free_port)) as client:
        with pytest.raises(ConnectionError, match="Connection refused"), PexpectAdapter(client=client):
            pass


def test_sessions_leave_nothing_behind(leaves_nothing):
    with serve(EchoNetwork()) as client:

        def use(close: bool) -> None:
            with PexpectAdapter(client=client) as session:
                session.sendline(b"ping")
                session.expect_exact(b"ping", timeout=10)
                if close:
                    session.close()

        use(close=False)
        with leaves_nothing(client):
            use(close=False)
            use(close=True)


def test_a_driver_that_takes_nothing_more_is_reported(tcp_server):
    reported = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reported.set()

    def ignore(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reported.wait(30)

    def paste_and_leave(client) -> None:
        client.logger.addHandler(watch)
        with PexpectAdapter(client=client) as session:
            os.set_blocking(session.child_fd, False)
            while select.select([], [session.child_fd], [], 0.5)[1]:
                with suppress(BlockingIOError):
                    session.send(bytes(65536))

    watch = Watch(logging.WARNING)
    host, port = tcp_server(ignore)
    with serve(TcpNetwork(host=host, port=port)) as client:
        with pytest.raises(TimeoutError, match="the driver took none for 3 s"):
            paste_and_leave(client)
        client.logger.removeHandler(watch)


@pytest.mark.anyio
async def test_a_session_beside_an_event_loop():
    async with serve_async(EchoNetwork()) as client, pexpect_async(client=client) as session:
        await to_thread.run_sync(session.sendline, b"ping")
        assert await to_thread.run_sync(partial(session.expect_exact, b"ping", timeout=10)) == 0
        session.sendline(b"pong")
        assert await session.expect_exact(b"pong", timeout=10, async_=True) == 0
