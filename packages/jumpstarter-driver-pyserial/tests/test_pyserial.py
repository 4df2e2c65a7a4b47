"""The published names, and what published drivers do with them."""

from __future__ import annotations

import os
import tty
from collections.abc import Iterator
from dataclasses import dataclass as standard_dataclass
from dataclasses import field
from typing import Any
from unittest.mock import patch

import pytest
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export
from jumpstarter_driver_pyserial.client import Console, PySerialClient
from jumpstarter_driver_pyserial.driver import PySerial
from jumpstarter_driver_serial.console import Console as SerialConsole
from pydantic.dataclasses import dataclass


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    master, slave = os.openpty()
    for fd in (master, slave):
        tty.setraw(fd)
    yield master, os.ttyname(slave)
    os.close(slave)
    os.close(master)


def test_published_names(pty: tuple[int, str]) -> None:
    master, path = pty
    with serve(PySerial(url=path)) as client:
        assert type(client) is PySerialClient
        with client.pexpect() as console:
            console.send(b"version\r")
            assert os.read(master, 8) == b"version\r"
            os.write(master, b"U-Boot\r\n=> ")
            console.expect_exact(b"=> ", timeout=30)
            assert console.before == b"U-Boot\r\n"
    assert Console is SerialConsole


@dataclass(kw_only=True)
class BoardConfig(Driver):
    """How drivers of boards with a port of their own set its URL: in a base that the serial driver gives way to."""

    device: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self.url = f"/dev/{self.device}"


@dataclass(kw_only=True)
class BoardSerial(PySerial, BoardConfig):
    url: str = field(init=False)


def test_subclass_that_finds_its_port(pty: tuple[int, str]) -> None:
    master, path = pty
    driver = BoardSerial(device=path.removeprefix("/dev/"))
    assert driver.url == path
    with serve(driver) as client, client.stream() as stream:
        stream.send(b"found")
        assert os.read(master, 5) == b"found"
    with pytest.raises(ConfigurationError, match="/dev/ttyAbsent"):
        BoardSerial(device="ttyAbsent")


@standard_dataclass(kw_only=True)
class Prompt(Driver):
    """Uses its serial child on the exporter's side."""

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    async def ask(self, question: str) -> str:
        async with self.children["serial"].connect() as stream:
            await stream.send(question.encode())
            answer = b""
            while not answer.endswith(b"\n"):
                answer += await stream.receive()
        return answer.decode()


def test_as_a_child_on_the_exporters_side() -> None:
    with serve(Prompt(children={"serial": PySerial(url="loop://")})) as client:
        for question in ("one\n", "two\n"):
            assert client.call("ask", question) == question


def test_tests_of_published_drivers_replace_serial_for_url() -> None:
    with patch("jumpstarter_driver_pyserial.driver.serial_for_url") as made:
        driver: Any = PySerial(url="/dev/ttyAbsent")
    assert driver.url == "/dev/ttyAbsent"
    assert made.called
