"""Every kind of pyserial URL against a real peer."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import serial
from anyio import BrokenResourceError
from jumpstarter.common.utils import serve
from jumpstarter_driver_serial.driver import Serial
from serial.rfc2217 import PortManager
from serial.urlhandler import protocol_loop

# pyserial 3.5 calls Thread.setDaemon and setName.
old_pyserial = pytest.mark.filterwarnings(r"ignore:set(Daemon|Name)\(\):DeprecationWarning")


def receive(stream: Any, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        got += stream.receive(timeout=30)
    return bytes(got)


@contextmanager
def tcp_server(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """The TCP port of a server that handles each connection in a thread of its own."""
    threads: list[threading.Thread] = []

    def serve_one(connection: socket.socket) -> None:
        with connection:
            handle(connection)

    def accept() -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve_one, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for thread in (acceptor, *threads):
        thread.join(30)
        assert not thread.is_alive()


def test_loop(caplog: pytest.LogCaptureFixture) -> None:
    data = os.urandom(200_000)
    with serve(Serial(url="loop://?logging=debug")) as client, client.stream() as stream:
        sender = threading.Thread(target=stream.send, args=(data,))
        sender.start()
        assert receive(stream, len(data)) == data
        sender.join()
        with caplog.at_level(logging.INFO, "pySerial.loop"):
            client.set_dtr(False)
            client.set_rts(False)
            client.send_break(0.01)
        states = [line for line in caplog.messages if line.startswith("_update_")]
        assert states[-4:] == [
            "_update_dtr_state(False) -> state of DSR",
            "_update_rts_state(False) -> state of CTS",
            "_update_break_state(True)",
            "_update_break_state(False)",
        ]


def test_a_full_loop_can_be_closed() -> None:
    driver = Serial(url="loop://", baudrate=4_000_000)
    with serve(driver) as client, client.stream() as stream:
        sender = threading.Thread(target=_send_until_broken, args=(stream,))
        sender.start()
        # Nothing is taken from this stream, so it fills up to the sender.
        sender.join(1)
        client.call("close")
        sender.join(30)
        assert not sender.is_alive()


def _send_until_broken(stream: Any) -> None:
    with suppress(BrokenResourceError):
        while True:
            stream.send(bytes(1_000_000))


def test_socket_gives_its_first_bytes_and_is_shared_both_ways() -> None:
    banner, data = b"welcome\r\n" * 1000, os.urandom(3_000_000)

    def echo(connection: socket.socket) -> None:
        connection.sendall(banner)
        while piece := connection.recv(65536):
            connection.sendall(piece)

    with tcp_server(echo) as port, serve(Serial(url=f"socket://127.0.0.1:{port}")) as client, client.stream() as stream:
        assert receive(stream, len(banner)) == banner
        sender = threading.Thread(target=stream.send, args=(data,))
        sender.start()
        assert receive(stream, len(data)) == data
        sender.join()
        for call in (lambda: client.set_dtr(True), client.send_break):
            with pytest.raises(NotImplementedError, match="socket"):
                call()


def test_a_socket_that_is_hung_up_and_dialled_again() -> None:
    def hang_up(connection: socket.socket) -> None:
        connection.sendall(b"bye")

    with tcp_server(hang_up) as port:
        url = f"socket://127.0.0.1:{port}"
        with serve(Serial(url=url)) as client:
            for _ in range(2):
                with client.stream() as stream:
                    assert receive(stream, 3) == b"bye"
                    with pytest.raises(BrokenResourceError, match=f"serial port {url} is gone: it was hung up"):
                        stream.receive(timeout=30)
    with serve(Serial(url=url)) as client:
        with pytest.raises(ConnectionError, match=f"serial port {url} cannot be opened: "), client.stream() as stream:
            stream.receive(timeout=30)


class Line(protocol_loop.Serial):
    """A loop that notes what is done to its control lines."""

    breaks: list[bool]

    def _update_break_state(self) -> None:
        self.breaks = [*getattr(self, "breaks", []), self.break_condition]


@old_pyserial
def test_rfc2217_carries_data_framing_and_control_lines() -> None:
    line = Line("loop://", timeout=0.1)
    data = os.urandom(20_000) + b"\xff" * 100

    def remote_port(connection: socket.socket) -> None:
        done = threading.Event()
        sending = threading.Lock()

        def send(piece: bytes) -> None:
            with sending, suppress(OSError):
                connection.sendall(piece)

        manager = PortManager(line, type("Connection", (), {"write": staticmethod(send)})())

        def echo() -> None:
            while not done.is_set():
                if piece := line.read(1) + line.read(line.in_waiting):
                    send(b"".join(manager.escape(piece)))

        echoing = threading.Thread(target=echo, daemon=True)
        echoing.start()
        with suppress(OSError):
            while piece := connection.recv(4096):
                line.write(b"".join(manager.filter(piece)))
        done.set()
        echoing.join()

    with tcp_server(remote_port) as port:
        driver = Serial(
            url=f"rfc2217://127.0.0.1:{port}", baudrate=57600, bytesize=7, parity="E", stopbits=2, rtscts=False
        )
        with serve(driver) as client, client.stream() as stream:
            sender = threading.Thread(target=stream.send, args=(data,))
            sender.start()
            assert receive(stream, len(data)) == data
            sender.join()
            assert (line.baudrate, line.bytesize, line.parity, line.stopbits) == (57600, 7, "E", 2)
            assert line.dsr is True
            client.set_dtr(False)
            assert (line.dsr, line.cts) == (False, True)
            client.set_rts(False)
            assert line.cts is False
            client.send_break(0.01)
            assert line.breaks[-2:] == [True, False]
    line.close()


@old_pyserial
@pytest.mark.peer("ser2net")
def test_rfc2217_with_ser2net(board: Any, tmp_path: Path) -> None:
    config = tmp_path / "ser2net.yaml"
    config.write_text(
        f"connection: &board\n  accepter: telnet(rfc2217),stdio\n  connector: serialdev,{board.path},115200n81,local\n"
    )
    data = os.urandom(50_000)

    processes: list[subprocess.Popen[bytes]] = []

    def ser2net(connection: socket.socket) -> None:
        command = ["ser2net", "-n", "-d", "-c", str(config)]
        processes.append(subprocess.Popen(command, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL))

    # A pseudo-terminal has no control lines, so ser2net does not answer for them.
    with tcp_server(ser2net) as port, serve(Serial(url=f"rfc2217://127.0.0.1:{port}?ign_set_control")) as client:
        with client.stream() as stream:
            board.say_in_background(data)
            assert receive(stream, len(data)) == data
            sender = threading.Thread(target=stream.send, args=(data,))
            sender.start()
            assert board.hear(len(data)) == data
            sender.join()
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.peer("socat")
def test_two_drivers_back_to_back_over_socat(tmp_path: Path) -> None:
    ends = [tmp_path / "ttyA", tmp_path / "ttyB"]
    command = ["socat", "-d", "-d", *(f"pty,raw,echo=0,link={end}" for end in ends)]
    data = os.urandom(500_000)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as socat:
        assert socat.stderr is not None
        while "starting data transfer loop" not in socat.stderr.readline():
            pass
        with serve(Serial(url=str(ends[0]))) as left, serve(Serial(url=str(ends[1]))) as right:
            with left.stream() as here, right.stream() as there:
                for a, b in ((here, there), (there, here)):
                    sender = threading.Thread(target=a.send, args=(data,))
                    sender.start()
                    assert receive(b, len(data)) == data
                    sender.join()
                socat.terminate()
                with pytest.raises(BrokenResourceError, match=f"serial port {ends[0]} is gone: "):
                    here.receive(timeout=30)


def test_a_pattern_finds_no_device() -> None:
    from jumpstarter.common.exceptions import ConfigurationError

    with pytest.raises(ConfigurationError, match="hwgrep://no-such-device"):
        Serial(url="hwgrep://no-such-device")
    with serve(Serial(url="hwgrep://no-such-device", check_present=False)) as client:
        with pytest.raises(ConnectionError, match="cannot be opened"), client.stream() as stream:
            stream.receive(timeout=30)


def test_a_port_is_not_shared_with_another_program(board: Any) -> None:
    with serial.Serial(board.url, exclusive=True), serve(Serial(url=board.url)) as client:
        with pytest.raises(ConnectionError, match=f"serial port {board.url} cannot be opened: .*lock"):
            with client.stream() as stream:
                stream.receive(timeout=30)
