"""pexpect sessions."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import Any

import pexpect
import pytest
from anyio import BrokenResourceError
from jumpstarter.common.utils import serve
from jumpstarter_driver_serial.driver import Serial


def test_a_ten_megabyte_latin_1_boot_log(board: Any) -> None:
    letters = [chr(code) for code in range(256) if code not in (10, 13)]
    pick = random.Random(1)
    lines = ["".join(pick.choices(letters, k=pick.randrange(200))) for _ in range(100_000)]
    log = "\r\n".join(lines)[:10_000_000].encode("latin-1")
    with serve(Serial(url=board.url)) as client, client.pexpect() as console:
        board.say_in_background(log + b"\r\nlogin: ")
        got = bytearray()
        while console.expect_exact([b"\r\nlogin: ", b"\n"], timeout=30):
            got += console.before + console.after
        got += console.before
        assert sha256(got).digest() == sha256(log).digest()
        console.sendline(b"r\xf6\xf6t")
        assert board.hear(5) == b"r\xf6\xf6t\n"


def test_open_lasts_until_close(board: Any) -> None:
    with serve(Serial(url=board.url)) as client:
        console = client.open()
        board.say(b"=> ")
        console.expect_exact(b"=> ", timeout=30)
        client.close()
        assert not console.isalive()
        second = client.open()
        third = client.open()
        assert not second.isalive()
        board.say(b"=> ")
        third.expect_exact(b"=> ", timeout=30)
    assert not third.isalive()


def test_a_session_on_an_unplugged_port_ends_with_the_cause(board: Any) -> None:
    with serve(Serial(url=board.url)) as client:
        session = client.pexpect()
        console = session.__enter__()
        board.say(b"panic")
        console.expect_exact(b"panic", timeout=30)
        board.unplug()
        console.expect_exact(pexpect.EOF, timeout=30)
        with pytest.raises((ConnectionError, BrokenResourceError), match=f"serial port {board.url} is gone"):
            session.__exit__(None, None, None)
