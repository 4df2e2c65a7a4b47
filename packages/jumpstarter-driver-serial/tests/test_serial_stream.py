"""One connection to a serial port, over gRPC."""

from __future__ import annotations

import os
import termios
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from anyio import BrokenResourceError, to_thread
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve, serve_async
from jumpstarter_driver_serial.driver import Serial

TEN_MB = 10_000_000


def receive(stream: Any, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        got += stream.receive(timeout=30)
    return bytes(got)


def test_ten_megabytes_each_way_at_once(board: Any) -> None:
    there, back = os.urandom(TEN_MB), os.urandom(TEN_MB)
    heard = bytearray()
    listener = threading.Thread(target=lambda: heard.extend(board.hear(TEN_MB)), daemon=True)
    with serve(Serial(url=board.url)) as client, client.stream() as stream:
        listener.start()
        board.say_in_background(back)
        got = bytearray()
        reader = threading.Thread(target=lambda: got.extend(receive(stream, TEN_MB)), daemon=True)
        reader.start()
        for start in range(0, TEN_MB, 65536):
            stream.send(there[start : start + 65536])
        for thread in (listener, reader):
            thread.join(60)
    assert sha256(heard).digest() == sha256(there).digest()
    assert sha256(got).digest() == sha256(back).digest()


@pytest.mark.anyio
async def test_async_stream(board: Any) -> None:
    driver = await to_thread.run_sync(lambda: Serial(url=board.url))
    async with serve_async(driver) as client, client.stream_async("connect") as stream:
        await stream.send(b"version\r")
        assert await to_thread.run_sync(board.hear, 8) == b"version\r"
        board.say(b"2023.01\r\n")
        got = b""
        while len(got) < 9:
            got += await stream.receive()
        assert got == b"2023.01\r\n"


def test_what_arrives_while_nobody_is_connected_goes_to_the_next(board: Any) -> None:
    with serve(Serial(url=board.url)) as client:
        with client.stream():
            pass
        board.say(b"boot\r\n")
        with client.stream() as stream:
            assert receive(stream, 6) == b"boot\r\n"
        board.say(b"login: ")
        with client.stream() as stream:
            assert receive(stream, 7) == b"login: "


def test_what_arrived_before_the_first_connection_is_read(board: Any) -> None:
    board.say(b"U-Boot 2023.01\r\n")
    with serve(Serial(url=board.url)) as client, client.stream() as stream:
        assert receive(stream, 16) == b"U-Boot 2023.01\r\n"


def test_only_the_newest_is_kept_and_the_loss_is_logged(board: Any, caplog: pytest.LogCaptureFixture) -> None:
    log = b"".join(b"%07d\n" % line for line in range(100_000))
    with serve(Serial(url=board.url)) as client:
        with client.stream():
            pass
        board.say(log)
        with client.stream() as stream:
            got = stream.receive(timeout=30)
            while not got.endswith(log[-8:]):
                got += stream.receive(timeout=30)
    assert log.endswith(got)
    # The terminal itself holds some KiB that the port had not read yet.
    assert 64 * 1024 <= len(got) < 256 * 1024
    assert f"first {len(log) - len(got)} bytes" in caplog.text


def test_unplugged_while_reading_then_plugged_in_again(board: Any) -> None:
    with serve(Serial(url=board.url)) as client:
        with client.stream() as first, client.stream() as second:
            board.say(b"last words")
            assert receive(first, 10) == b"last words"
            board.unplug()
            with pytest.raises(BrokenResourceError, match=f"serial port {board.url} is gone: "):
                first.receive(timeout=30)
            assert receive(second, 10) == b"last words"
            with pytest.raises(BrokenResourceError, match=f"serial port {board.url} is gone: "):
                second.receive(timeout=30)
        with pytest.raises(ConnectionError, match=f"serial port {board.url} cannot be opened: "):
            with client.stream() as stream:
                stream.receive(timeout=30)
        board.plug()
        with client.stream() as again:
            board.say(b"back")
            assert receive(again, 4) == b"back"
            again.send(b"hello")
            assert board.hear(5) == b"hello"


def test_unplugged_while_nobody_is_connected(board: Any) -> None:
    with serve(Serial(url=board.url)) as client:
        with client.stream():
            pass
        board.unplug()
        board.plug()
        with client.stream() as stream:
            stream.send(b"hello")
            assert board.hear(5) == b"hello"


def test_close_ends_connections_and_the_next_use_reopens(board: Any) -> None:
    with serve(Serial(url=board.url)) as client:
        with client.stream() as stream:
            stream.send(b"x")
            assert board.hear(1) == b"x"
            client.call("close")
            client.call("close")
            with pytest.raises(BrokenResourceError, match=f"serial port {board.url} was closed"):
                stream.receive(timeout=30)
        with client.stream() as stream:
            board.say(b"again")
            assert receive(stream, 5) == b"again"


def test_what_was_sent_before_the_client_closed_arrives(board: Any) -> None:
    data = os.urandom(50_000)
    with serve(Serial(url=board.url)) as client:
        heard: list[bytes] = []
        listener = threading.Thread(target=lambda: heard.append(board.hear(len(data))), daemon=True)
        with client.stream() as stream:
            stream.send(data)
            listener.start()
        listener.join(30)
    assert heard == [data]


def test_a_path_must_be_present(tmp_path: Path) -> None:
    absent = str(tmp_path / "ttyAbsent")
    with pytest.raises(ConfigurationError, match=f"{absent}.*No such file.*check_present: false"):
        Serial(url=absent)
    Serial(url=absent, check_present=False)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"parity": "Q"}, "parity"),
        ({"bytesize": 9}, "byte size"),
        ({"stopbits": 3}, "stop bit"),
        ({"baudrate": -1}, "baudrate"),
        ({"cps": 0}, "cps must be above 0"),
        ({"stall_timeout": 0}, "stall_timeout must be above 0"),
        ({"url": "nowhere://x"}, "nowhere"),
    ],
)
def test_bad_configuration_is_refused(board: Any, config: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Serial(**{"url": board.url, **config})


def test_hupcl(board: Any) -> None:
    for disable in (False, True):
        attributes = termios.tcgetattr(board.slave)
        attributes[2] |= termios.HUPCL
        termios.tcsetattr(board.slave, termios.TCSANOW, attributes)
        with serve(Serial(url=board.url, disable_hupcl=disable)) as client, client.stream() as stream:
            stream.send(b"x")
            assert bool(termios.tcgetattr(board.slave)[2] & termios.HUPCL) is not disable
            assert board.hear(1) == b"x"


def test_a_pseudo_terminal_says_what_it_cannot_do(board: Any) -> None:
    with serve(Serial(url=board.url)) as client:
        for call in (
            lambda: client.set_dtr(True),
            lambda: client.set_rts(False),
            lambda: client.send_break(),
        ):
            with pytest.raises(NotImplementedError, match=f"serial port {board.url}: .*pseudo-terminal"):
                call()
        for duration in (0, -1, 61, float("nan")):
            with pytest.raises(ValueError, match="a break lasts"):
                client.send_break(duration)
